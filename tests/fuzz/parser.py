"""What a parser under attack is, and the usual makers of its hostile input."""

from collections.abc import Callable
from dataclasses import dataclass

import examples
import hostile

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.latency import MeasurementError

REFUSALS = (ScarletError, MeasurementError)


@dataclass(frozen=True)
class Parser:
    """A parser under attack.

    Attributes:
        make: makes the input of a case from a random generator.
        read: reads it.
        refusals: the exceptions by which it refuses.
    """

    make: Callable
    read: Callable
    refusals: tuple = REFUSALS


def a_file(name, content):
    """A case's file of this name and content."""
    path = examples.folder() / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def json_of(example):
    return lambda rng: hostile.json_text(rng, example())


def text_of(*texts):
    return lambda rng: hostile.text(rng, rng.choice(texts))


def of_file(name, read):
    return lambda content: read(a_file(name, content))


def bytes_of(make, *kinds):
    return lambda rng: hostile.content(rng, make(rng.choice(kinds)))


def toml_of(example):
    return lambda rng: hostile.toml_text(rng, example() if callable(example) else example)
