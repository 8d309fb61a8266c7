"""Every error that a caller of this package can cause.

The command line prints each of them as one line on stderr and ends with exit code 2 (1 for
:class:`CheckFailedError`). So a message holds no newline, and says what is wrong, where, what was got
and what was wanted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_LONGEST = 100  # letters of a name in an error
_FILE_ENDINGS = (".onnx", ".ort", ".pt", ".pth", ".tar", ".ckpt", ".safetensors", ".bin", ".toml", ".json", ".tflite",
                 ".pte", ".xml", ".param", ".mlpackage")  # fmt: skip


class ScarletError(ValueError):
    """Bad input: the base class of all errors that the caller can correct."""


class ScarletWarning(UserWarning):
    """Input that was used, but perhaps not as meant; the command line prints each as one line on stderr."""


class ArchError(ScarletError):
    """An identity string, a token or a search space that cannot be decoded."""


class TableError(ScarletError):
    """A latency table that cannot be built or read, or cannot be used as requested."""


class UnknownNameError(ScarletError):
    """A name that no registry knows; the message lists similar names."""


def unknown_name(kind: str, name: str, known: Iterable[str], listed_by: str | None = None) -> UnknownNameError:
    """Make the error for an unknown name; it lists up to four similar names, or else the first eight known ones.

    If the name looks like a file name, the message says whether such a file exists instead.

    Args:
        kind: what the name should be the name of.
        name: the unknown name.
        known: all names.
        listed_by: the command that lists all names, where there are too many for a message.
    """
    if looks_like_a_file(name):
        return UnknownNameError(f"{name}: {_found_at(name)}, wanted the name of a {kind}")
    name, names = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...", list(known)
    if listed_by is not None:
        near = difflib.get_close_matches(name, names, n=4)
        meant = f", did you mean {' or '.join(near)}? '{listed_by}' lists all {len(names)} {kind}s"
        others = f", wanted one of the {len(names)} {kind}s that '{listed_by}' lists"
        return UnknownNameError(f"{kind} {name!r}: unknown{meant if near else others}")
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.4) or names[:8]
    return UnknownNameError(f"{kind} {name!r}: unknown, wanted one of {' '.join(near)}")


def unknown_network(name: str, known: Iterable[str]) -> UnknownNameError:
    """Make the error for an unknown name of a network, which may also be a file's without its folder or ending."""
    beside = (Path(folder) / f"{name}{ending}" for folder in ("", "out") for ending in _FILE_ENDINGS)
    found = next((path for path in beside if _found_at(str(path)) == "is a file"), None)
    if found is not None:
        return UnknownNameError(f"model {name!r}: unknown, wanted a network's name, or {found} to take that file")
    return UnknownNameError(f"{unknown_name('model', name, known)}; a file is given with its folder and its ending")


def _found_at(name: str) -> str:
    try:
        return "is a file" if Path(name).is_file() else "is a folder" if Path(name).is_dir() else "no such file"
    except (OSError, ValueError):  # longer than any file's name
        return "is no file's name"


def looks_like_a_file(name: str) -> bool:
    """Whether this name is probably meant as a file, by its ending or its first character."""
    return name.lower().endswith(_FILE_ENDINGS) or name.startswith((".", "/", "~")) or "\\" in name


class CheckpointError(ScarletError):
    """A weights file that cannot be read, or that belongs to another network."""


class HeadlessError(CheckpointError):
    """A weights file that has all of a network but its classifier."""


class PretrainedError(CheckpointError):
    """Pretrained weights that exist, and that cannot be got here and now."""


class FoldError(ScarletError):
    """A model that cannot be folded as it is, for example one in train mode."""


class ExportError(ScarletError):
    """An export that cannot be written, or that does not give what was requested."""


class ArtifactError(ScarletError):
    """A file that is not a usable ONNX network."""


class RecordError(ScarletError):
    """A record of measurements that cannot be read, or cannot be compared with another one."""


class DatasetError(ScarletError):
    """Labelled images that are missing, damaged, or do not fit the network."""


class TrainingError(ScarletError):
    """A training or a search that cannot be run or continued as requested."""


class DivergedError(TrainingError):
    """A training whose loss is no longer a finite number."""


class CheckFailedError(ScarletError):
    """A check ran and failed (exit code 1)."""
