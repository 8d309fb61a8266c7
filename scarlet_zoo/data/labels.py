"""The class names of networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.names import in_utf8
from scarlet_zoo.utils.reading import bounded_text, parse_json, whole_number

IMAGENET_CLASSES = 1000


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Return the 1000 class names of ImageNet-1k in the order of the logits, from timm."""
    # Imported here, because timm loads torch, and callers with their own labels need neither.
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(str(info.index_to_description(index)) for index in range(IMAGENET_CLASSES))


def wordnet_ids(classes: int) -> tuple[str, ...] | None:
    """Return the WordNet ids (``n01440764``) of ImageNet's classes in the order of the logits, from timm.

    Args:
        classes: number of logits, from which timm tells ImageNet-1k from 12k, 21k and 22k.

    Returns:
        The ids; None if no ImageNet has so many classes.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": classes})
    return None if subset is None else tuple(ImageNetInfo(subset).label_names())


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
    return tuple(map(in_utf8, given))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read class names, in the order of the logits, from a file that others wrote.

    Args:
        path: a text file with one name a line; or JSON: a list of names, an object that gives each index its name
            (or each name its index), or a Hugging Face ``config.json`` with ``id2label``. A name may be a pair of
            WordNet id and name, as in Keras's ``imagenet_class_index.json``.

    Raises:
        ScarletError: the file cannot be read, has another format, or leaves an index without a name.
    """
    path = Path(path)
    try:
        text = bounded_text(path, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ScarletError(f"labels {path}: no such file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ScarletError(f"labels {path}: cannot be read: {reason}") from error
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
        names = _json_labels(text, path)
    else:
        names = [line.strip() for line in text.rstrip().splitlines()]
    if not names:
        raise ScarletError(f"labels {path}: is empty, wanted one class name a line, or a list in JSON")
    for index, name in enumerate(names):
        if not name:
            raise ScarletError(f"labels {path}: class {index} has an empty name")
    return tuple(names)


def _json_labels(text: str, path: Path) -> list[str]:
    wanted = "wanted a list of names, or an object that gives each index its name"
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ScarletError(f"labels {path}: is not JSON ({error}), {wanted}") from error
    if isinstance(value, dict) and isinstance(value.get("id2label"), dict):
        value = value["id2label"]
    if isinstance(value, dict):
        value = _in_order(value, path)
    if not isinstance(value, list):
        raise ScarletError(f"labels {path}: got {type(value).__name__}, {wanted}")
    return [_name(entry, path, index) for index, entry in enumerate(value)]


def _in_order(names: Mapping[str, Any], path: Path) -> list[Any]:
    """The names of an object ``{index: name}`` or ``{name: index}``, by index."""
    if names and all(type(index) is int for index in names.values()):
        pairs = [(index, name) for name, index in names.items()]
    else:
        bad = [key for key in names if whole_number(key) is None]
        if bad:
            raise ScarletError(f"labels {path}: got {bad[0]!r} as an index, wanted a whole number for each name")
        pairs = [(int(index), name) for index, name in names.items()]
    by_index = dict(pairs)
    missing = next((index for index in range(len(pairs)) if index not in by_index), None)
    if missing is not None:
        raise ScarletError(
            f"labels {path}: index {missing} is missing among {len(pairs)}, wanted every index from 0, each once"
        )
    return [by_index[index] for index in range(len(pairs))]


def _name(entry: Any, path: Path, index: int) -> str:
    if isinstance(entry, list) and len(entry) == 2:
        entry = entry[1]  # (WordNet id, name)
    if not isinstance(entry, str):
        raise ScarletError(f"labels {path}: class {index}: got {json.dumps(entry)[:60]}, wanted a name")
    return entry.strip()


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
