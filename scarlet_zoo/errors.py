"""Every error that a caller of this package can cause.

The command line turns each of them into one line on stderr and exit code 2 (1 for
:class:`CheckFailedError`), so a message says what is wrong, where, what was got and what was wanted,
and holds no newline.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_FILE_ENDINGS = (".onnx", ".ort", ".pt", ".pth", ".tar", ".ckpt", ".safetensors", ".bin", ".toml", ".json", ".tflite",
                 ".pte", ".xml", ".param", ".mlpackage")  # fmt: skip


class ScarletError(ValueError):
    """Bad input: the base of all errors that are the caller's to mend."""


class ArchError(ScarletError):
    """An identity string, a token or a search space that does not decode."""


class TableError(ScarletError):
    """A latency table that cannot be made, read, or used for what was asked."""


class UnknownNameError(ScarletError):
    """A name that no registry knows; the message lists the near ones."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is none of the known ones, with the near ones, or all of few.

    A name that looks like a file is told apart: whoever gave it meant a file.
    """
    if looks_like_a_file(name):
        found = "is a file" if Path(name).is_file() else "is a folder" if Path(name).is_dir() else "no such file"
        return UnknownNameError(f"{name}: {found}, wanted the name of a {kind}")
    names = list(known)
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.4) or names[:8]
    return UnknownNameError(f"{kind} {name!r}: unknown, wanted one of {' '.join(near)}")


def looks_like_a_file(name: str) -> bool:
    """Whether somebody who gives this name means a file."""
    return name.lower().endswith(_FILE_ENDINGS) or name.startswith((".", "/", "~")) or "\\" in name


class CheckpointError(ScarletError):
    """A weights file that cannot be read, or is for another network."""


class FoldError(ScarletError):
    """A model that cannot be folded as it stands, in train mode for one."""


class ExportError(ScarletError):
    """An export that cannot be written, or is not what was asked for."""


class ArtifactError(ScarletError):
    """A file that is no usable ONNX network."""


class RecordError(ScarletError):
    """A record of measurements that cannot be read, or not be compared with another."""


class DatasetError(ScarletError):
    """Pictures with labels that are not there, not sound, or for another network."""


class TrainingError(ScarletError):
    """A training or a search that cannot be run, or not be continued, as asked."""


class DivergedError(TrainingError):
    """A training whose loss is no longer a number."""


class CheckFailedError(ScarletError):
    """A check ran and its answer is no (exit code 1)."""
