"""What an architecture is, which architectures exist, and what they cost; loads no torch."""

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import SKIP, Choice

__all__ = ["SKIP", "Arch", "Choice"]
