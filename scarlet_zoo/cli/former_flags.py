"""Flags under the names that they had before: still taken, and no longer shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperCommand

_FORMER: dict[str, set[str]] = {}


def taking(former: Mapping[str, str]) -> type[TyperCommand]:
    """A command that takes flags under former names, too.

    Args:
        former: the flag of today by its former name.
    """
    for old, new in former.items():
        _FORMER.setdefault(new, set()).add(old)

    class Command(TyperCommand):
        """A verb with hidden names of its flags.

        Attributes:
            former_flags: the flag of today by its former name.
        """

        former_flags: ClassVar[Mapping[str, str]] = former

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Parse with every former name replaced; what stands behind ``--`` is no flag."""
            end = args.index("--") if "--" in args else len(args)
            return super().parse_args(ctx, [*(_today(text, former) for text in args[:end]), *args[end:]])

    return Command


def former_names(flag: str) -> set[str]:
    """The names under which a flag is taken as well."""
    return _FORMER.get(flag, set())


def _today(text: str, former: Mapping[str, str]) -> str:
    name, mark, value = text.partition("=")
    return f"{former.get(name, name)}{mark}{value}"
