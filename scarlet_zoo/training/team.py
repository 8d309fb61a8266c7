"""The OpenMP threads of torch, for code of ours: a function in machine code runs on each of them.

torch's operators run on a team of threads that its copy of GNU OpenMP keeps. A second team beside it would be asleep
when it is needed, and take the processor from the first one while that waits; waking a thread takes as long as a small
layer. So our kernels use torch's team. Only GNU OpenMP has the entry points: there are none on macOS and Windows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

PARTS = 32  # into which the work of a kernel is divided: more than most machines have cores
# Names that a kernel calls, and what GNU OpenMP calls them.
SYMBOLS = {"scarlet_thread": "omp_get_thread_num", "scarlet_threads": "omp_get_num_threads",
           "scarlet_barrier": "GOMP_barrier"}  # fmt: skip


class Team(NamedTuple):
    """The entry points of torch's OpenMP.

    Attributes:
        start: runs the function at an address with the address of its data on so many threads (and a fourth
            argument, 0); returns when all are done.
        addresses: addresses of the functions of :data:`SYMBOLS`, by the names that kernels call.
    """

    start: Callable[[int, int, int, int], None]
    addresses: dict[str, int]


@cache
def team() -> Team | None:
    """Return torch's team; None where torch has another OpenMP than GNU's, or none."""
    # torch loads its OpenMP as a dependency of this file, so a symbol found through it is that of torch's own copy.
    file = Path(torch.__file__).parent / "lib" / "libtorch_global_deps.so"
    try:
        library = ctypes.CDLL(str(file))
        start = library.GOMP_parallel
        found = {name: ctypes.cast(getattr(library, own), ctypes.c_void_p).value for name, own in SYMBOLS.items()}
    except (OSError, AttributeError):
        return None
    start.argtypes, start.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return Team(start, {name: address for name, address in found.items() if address is not None})
