"""Turn pydantic's validation errors into one-line messages in the style of this package's errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST = 60
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
# pydantic's words, and plainer ones for people who write TOML.
_PLAIN = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "greater than or equal to": "at least",
    "greater than": "more than",
    "less than or equal to": "at most",
}


def first_fault(error: ValidationError, fields: Iterable[str] = ()) -> str:
    """Describe the first fault of a validation error: which field, what it holds, and what was wanted.

    Args:
        error: the validation error.
        fields: names of the allowed fields, in order. They are listed when a field is unknown, and name the
            positional arguments of a constructor.
    """
    fault, names = error.errors(include_url=False)[0], list(fields)
    first, *inner = fault["loc"] or ("",)
    where = ".".join(map(str, (names[first] if isinstance(first, int) and names else first, *inner)))
    if fault["type"] in _MISSING:
        return f"missing field {where!r}"
    if fault["type"] in _UNKNOWN:
        wanted = f", wanted one of {' '.join(sorted(names))}" if names else ""
        return f"unknown field {where!r}{wanted}"
    # Such as "Input should be a valid integer", "Tuple should have at least 1 item after validation, not 0".
    wanted = re.sub(r"^\w+ should (be|have|match) | after validation, not \d+$|^Value error, ", "", fault["msg"])
    for theirs, plain in _PLAIN.items():
        wanted = wanted.replace(theirs, plain)
    return f"{where}: got {_shown(fault['input'])}, wanted {wanted}" if where else wanted


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
