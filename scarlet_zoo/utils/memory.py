"""Keep the memory that large tensors leave, where the C library would give it back at once."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Options of mallopt (glibc, malloc.h), and the values that the library begins with.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_LIBRARY_TRIM_THRESHOLD, _LIBRARY_MMAP_MAX = 128 * 1024, 65_536
_NO_LIMIT = 2**31 - 1

# What torch, numpy and ONNX Runtime say where the system gives no more memory.
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "bad allocation", "Failed to allocate memory", "Unable to allocate")

_blocks = 0  # that are open, one within another


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let freed memory be used again within the block, and give it back at the end of the outermost one.

    glibc maps each tensor above 32 MB anew and unmaps it when it is freed, so the kernel clears its pages one by one
    at every step of a training: the layers that write such a tensor take several times as long. Other C libraries are
    left as they are.
    """
    global _blocks
    library = _glibc()
    _blocks += 1
    if library is not None and _blocks == 1:
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _NO_LIMIT)
    try:
        yield
    finally:
        _blocks -= 1
        if library is not None and not _blocks:
            library.mallopt(_MMAP_MAX, _LIBRARY_MMAP_MAX)
            library.mallopt(_TRIM_THRESHOLD, _LIBRARY_TRIM_THRESHOLD)
            library.malloc_trim(0)


def _glibc() -> Any:
    """The C library of this process if it is glibc, else None."""
    try:
        library = ctypes.CDLL(None)
        found = (library.gnu_get_libc_version, library.mallopt, library.malloc_trim)
    except (OSError, AttributeError, TypeError):  # another library; Windows has no process-wide table of symbols
        return None
    return library if all(found) else None


def lacks_memory(error: Exception) -> bool:
    """Whether an exception of any library says that there is not enough memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)
