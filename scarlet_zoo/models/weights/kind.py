"""What kind of file a weights file is, by its first bytes; without torch, so a wrong one is refused at once."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from scarlet_zoo.errors import CheckpointError

# Weights that are asked for by a word rather than as a file.
WORDS = ("auto", "random", "pretrained")
_HEAD = 512
# torch.save writes an archive, and before 1.6 a pickle of protocol 2, which begins with these bytes.
_PICKLE = re.compile(rb"\x80[\x02-\x05]")


def check_given(weights: str) -> None:
    """Check weights as they are given, a word or a file, as far as that takes no time.

    Raises:
        CheckpointError: the file is missing, or is no weights file.
    """
    if weights not in WORDS:
        head_of(Path(weights))


def is_safetensors(path: Path, head: bytes) -> bool:
    """Whether a weights file is read as safetensors, by its ending or its first bytes."""
    return path.suffix == ".safetensors" or head[8:9] == b"{"


def head_of(path: Path) -> bytes:
    """The first bytes of a weights file.

    Raises:
        CheckpointError: the file is missing or cannot be read, or it is neither safetensors nor an archive nor a
            pickle.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path}: is a pipe or a device, wanted a weights file")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file, wanted a weights file (.safetensors, .pth, .pth.tar)") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}, wanted a weights file") from error
    if not head:
        raise CheckpointError(f"{path}: empty file, wanted a weights file")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|\?xml)", head, re.IGNORECASE):
        raise CheckpointError(
            f"{path}: got a web page, wanted a weights file: the download link needs a browser or a login"
        )
    if not (is_safetensors(path, head) or _PICKLE.match(head) or head.startswith(b"PK") or _ends_as_archive(path)):
        raise CheckpointError(
            f"{path}: not a weights file, wanted safetensors, or a checkpoint that torch.save wrote (.pth, .pth.tar)"
        )
    return head


def _ends_as_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except Exception:  # zipfile raises many kinds for a damaged directory
        return False
