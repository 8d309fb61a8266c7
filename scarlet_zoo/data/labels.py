"""The class names of networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from scarlet_zoo.errors import ScarletError

IMAGENET_CLASSES = 1000


def imagenet_labels() -> tuple[str, ...]:
    """Return the 1000 class names of ImageNet-1k in the order of the logits, from timm."""
    # Imported here, because timm loads torch, and callers with their own labels need neither.
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(str(info.index_to_description(index)) for index in range(IMAGENET_CLASSES))


def labels_of(given: Sequence[str] | None, classes: int, source: str) -> tuple[str, ...] | None:
    """Return a trained network's class names: the given ones, else ImageNet's for 1000 classes, else None.

    Args:
        given: the names in the network's file or configuration, if it has any.
        classes: number of logits.
        source: name of the network or file, for the error message.

    Raises:
        ScarletError: the numbers of names and of logits differ.
    """
    if given is None:
        return imagenet_labels() if classes == IMAGENET_CLASSES else None
    if len(given) != classes:
        raise ScarletError(f"{source}: got {len(given)} labels, wanted {classes}, one for each logit")
    return tuple(given)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names from a file: one a line, or in JSON a list, ``{index: name}`` or ``{name: index}``.

    Raises:
        ScarletError: the file cannot be read, or does not give one name for each index from 0.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScarletError(f"{path}: not a text file, wanted one class name a line, or JSON") from error
    except OSError as error:
        raise ScarletError(f"{path}: cannot be read: {error.strerror}, wanted a file of class names") from error
    if text.lstrip().startswith(("[", "{")):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ScarletError(f"{path}: not valid JSON: {error}") from error
    else:
        content = [line.strip() for line in text.rstrip().split("\n")]
    names = names_in(content)
    if not names or not all(names):
        raise ScarletError(f"{path}: got no name for some class, wanted a name for each index from 0, none empty")
    return names


def names_in(content: object) -> tuple[str, ...] | None:
    """Return class names in the order of their indices, or None if these are no class names.

    Args:
        content: a list of names, ``{index: name}`` or ``{name: index}``. A name may be a list, such as ImageNet's
            ``["n01440764", "tench"]``; its last part is taken.
    """
    if isinstance(content, Mapping):
        pairs = dict(content)
        if all(isinstance(index, int) for index in pairs.values()):
            pairs = {index: name for name, index in pairs.items()}
        keyed = {str(index): name for index, name in pairs.items()}
        if len(keyed) != len(content) or set(keyed) != {str(index) for index in range(len(keyed))}:
            return None
        content = [keyed[str(index)] for index in range(len(keyed))]
    if not isinstance(content, (list, tuple)):
        return None
    names = [name[-1] if isinstance(name, (list, tuple)) and name else name for name in content]
    return tuple(names) if all(isinstance(name, str) for name in names) else None
