"""Libraries raise exceptions of many kinds for ONNX files of any origin; here they become one line with the file."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.latency import MeasurementError, reason_of

F = TypeVar("F", bound=Callable[..., Any])


def of_strange_file(what: str) -> Callable[[F], F]:
    """Make a function that works on a file of any origin raise :class:`ArtifactError` for whatever libraries raise.

    Args:
        what: what cannot be done with the file, such as ``quantised``.

    Returns:
        A decorator for a function whose first argument is the file's path, or has it as its ``path``.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except (ScarletError, MeasurementError):
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.filename is not None:
                    raise
                file = args[0] if args else next(iter(kwargs.values()))
                reason = f"{type(error).__name__}: {reason_of(error)}"
                raise ArtifactError(f"{Path(getattr(file, 'path', file))}: cannot be {what}: {reason}") from error

        return cast("F", guarded)

    return decorate
