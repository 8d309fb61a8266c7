"""Compile kernels with numba and run them on the OpenMP threads of torch.

A kernel takes one address: that of its numbers and of the addresses of its tensors, all int64. It runs on all threads
of torch's team (:mod:`scarlet_zoo.training.team`) at once. Its work is divided into PARTS, of which each thread does
some; sums over parts are taken in a fixed order, so the number of threads does not change a bit of the results.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
from numba import types
from numba.extending import intrinsic

from scarlet_zoo.training.team import PARTS, team

Kernel = Any  # numba's compiled function, with an ``address``
F = TypeVar("F", bound=Callable[..., Any])

ROWS = 64  # Rows that are summed in float32 before their sum joins the total in float64.

_TEAM = team()
for _name, _address in (_TEAM.addresses if _TEAM is not None else {}).items():
    llvmlite.binding.add_symbol(_name, _address)
thread: Any = types.ExternalFunction("scarlet_thread", types.int32())
threads: Any = types.ExternalFunction("scarlet_threads", types.int32())
barrier: Any = types.ExternalFunction("scarlet_barrier", types.void())

# A product and a sum may be rounded once. More freedom would also assume that no value is infinite or no number, and a
# training that diverges must be seen.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}


def compiled(function: F) -> F:
    """Compile a function that kernels call."""
    return cast(F, numba.njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """Compile a function into those that call it."""
    return cast(F, numba.njit(inline="always", **_OPTIONS)(function))


def kernel(function: Callable[[Any], None]) -> Kernel:
    """Compile a kernel; the result is kept on disk where a folder for it can be written to.

    numba compiles it anew when the file of the kernel changes, and does not see a change of this one.
    """
    signature = types.void(types.CPointer(types.int64))
    try:
        return numba.cfunc(signature, cache=True, **_OPTIONS)(function)
    except (RuntimeError, OSError):  # there is no folder, or no room in it
        return numba.cfunc(signature, **_OPTIONS)(function)


def run(made: Kernel, numbers: list[int], most: int) -> None:
    """Run a kernel on torch's team.

    Args:
        made: a compiled kernel.
        numbers: what it takes: numbers, and addresses of tensors that are alive until this returns.
        most: number of threads.
    """
    given = (ctypes.c_int64 * len(numbers))(*numbers)
    assert _TEAM is not None, "callers ask for the team first"
    _TEAM.start(made.address, ctypes.addressof(given), min(most, PARTS), 0)


def _address_of(kind: Any) -> Any:
    """A function for kernels: an address as a pointer to numbers of a kind."""

    @intrinsic
    def pointer(_: Any, address: Any) -> Any:  # noqa: ARG001 - numba matches the call's arguments by name
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), code

    return pointer


floats, doubles = _address_of(types.float32), _address_of(types.float64)


@inlined
def own_parts() -> tuple[int, int]:
    """The first of this thread's parts, and the one after its last."""
    return PARTS * thread() // threads(), PARTS * (thread() + 1) // threads()
