"""Former names of flags: accepted with a warning for one minor version, and no longer shown in the help."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperCommand

from scarlet_zoo.errors import ScarletWarning

_FORMER: dict[str, set[str]] = {}


def taking(former: Mapping[str, str]) -> type[TyperCommand]:
    """A command class that also accepts flags under their former names.

    Args:
        former: maps each former name to the current flag.
    """
    for old, new in former.items():
        _FORMER.setdefault(new, set()).add(old)

    class Command(TyperCommand):
        """A command whose flags have hidden former names.

        Attributes:
            former_flags: maps each former name to the current flag.
        """

        former_flags: ClassVar[Mapping[str, str]] = former

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Parse arguments with former names replaced; arguments after ``--`` are not flags."""
            end = args.index("--") if "--" in args else len(args)
            return super().parse_args(ctx, [*(_current(text, former) for text in args[:end]), *args[end:]])

    return Command


def former_names(flag: str) -> set[str]:
    """Former names of a flag, which are still accepted."""
    return _FORMER.get(flag, set())


def _current(text: str, former: Mapping[str, str]) -> str:
    name, mark, value = text.partition("=")
    if name not in former:
        return text
    line = f"{name}: is now {former[name]}; the former name goes with the next minor version"
    warnings.warn(line, ScarletWarning, stacklevel=2)
    return f"{former[name]}{mark}{value}"
