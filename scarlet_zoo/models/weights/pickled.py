"""Refuse pickles that stand for far more than they hold.

A pickle of a hundred bytes can nest a pair of pairs a hundred deep by naming each level twice. Nothing of it is code,
but the hash and the text of such a value take as many steps as the unfolded value has parts. Here the parts are
counted without making the value.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

_MOST_PARTS = 10**8  # of a whole checkpoint, unfolded; a network of a thousand tensors has some ten thousand
_PICKLES = 5  # at the start of a legacy file: magic number, protocol, system, the object, the keys of its storages
_RECORD = "data.pkl"
# Opcodes by what they do to the stack; all others take and give what pickletools says.
_TO_MARK = {"TUPLE", "LIST", "DICT", "FROZENSET", "INST", "OBJ"}
_INTO_BELOW = {"APPENDS", "ADDITEMS", "SETITEMS"}
_JOINED = {"TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BINPERSID"}
_KEPT, _NAMED = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_ADDED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}

Parts = list[int]  # one number, which grows with a list or a dictionary that several places name


def check_parts(path: Path) -> None:
    """Check how many parts the pickle of a checkpoint has when it is unfolded; what is no pickle passes.

    Raises:
        ValueError: they are more than any checkpoint has.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == _RECORD:
                    with archive.open(name) as record:
                        _count(record)
        return
    with path.open("rb") as file:
        for _ in range(_PICKLES):
            if not _count(file):
                return


def _count(file: IO[bytes]) -> bool:
    """Count the parts of one pickle; false where it is none, which the reader of the pickle will say better."""
    stack: list[Parts | None] = []  # None is a mark
    memo: dict[Any, Parts] = {}
    try:
        for opcode, argument, _ in pickletools.genops(file):
            _step(opcode, argument, stack, memo)
            if stack and (top := stack[-1]) is not None and top[0] > _MOST_PARTS:
                raise OverflowError
    except OverflowError as error:
        raise ValueError(f"its pickle unfolds to more than {_MOST_PARTS:,} parts") from error
    except (ValueError, IndexError, KeyError, TypeError, EOFError, pickle.UnpicklingError):
        return False
    return True


def _step(opcode: pickletools.OpcodeInfo, argument: Any, stack: list[Parts | None], memo: dict[Any, Parts]) -> None:
    name = opcode.name
    if name in _KEPT:
        memo[len(memo) if name == "MEMOIZE" else argument] = _top(stack)
    elif name in _NAMED:
        stack.append(memo[argument])
    elif name in ("MARK", "DUP"):
        stack.append(None if name == "MARK" else stack[-1])
    elif name in _TO_MARK or name in _INTO_BELOW or name == "POP_MARK":
        parts = _sum(_until_mark(stack))
        if name in _TO_MARK:
            stack.append([1 + parts])
        elif name in _INTO_BELOW:
            _top(stack)[0] += parts
    elif name in _ADDED:
        parts = _sum([stack.pop() for _ in range(_ADDED[name])])
        _top(stack)[0] += parts
    else:
        parts = _sum([stack.pop() for _ in opcode.stack_before])
        stack.extend([1 + (parts if name in _JOINED else 0)] for _ in opcode.stack_after)


def _top(stack: list[Parts | None]) -> Parts:
    top = stack[-1]
    if top is None:
        raise IndexError
    return top


def _until_mark(stack: list[Parts | None]) -> list[Parts | None]:
    """Take what lies above the last mark, and the mark, off the stack."""
    place = len(stack) - 1 - stack[::-1].index(None)
    taken = stack[place + 1 :]
    del stack[place:]
    return taken


def _sum(parts: Iterable[Parts | None]) -> int:
    return sum(part[0] for part in parts if part is not None)
