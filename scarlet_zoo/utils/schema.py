"""What pydantic finds wrong with a value, said on one line as this package's errors are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST = 60
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def first_fault(error: ValidationError, known: Iterable[str] = ()) -> str:
    """The first fault that pydantic found: where it is, what stands there and what was wanted.

    Args:
        error: of a validation.
        known: names of the fields that there are, for one that is unknown.
    """
    fault = error.errors(include_url=False)[0]
    where = ".".join(map(str, fault["loc"]))
    if fault["type"] in _MISSING:
        return f"missing field {where!r}"
    if fault["type"] in _UNKNOWN:
        names = " ".join(sorted(known))
        return f"unknown field {where!r}{f', wanted one of {names}' if names else ''}"
    wanted = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{where}: got {_shown(fault['input'])}, wanted {wanted}"


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
