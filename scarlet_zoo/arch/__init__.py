"""Architectures, the search spaces and networks that have a name, and their cost; this package never loads torch."""

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import SKIP, Choice

__all__ = ["SKIP", "Arch", "Choice"]
