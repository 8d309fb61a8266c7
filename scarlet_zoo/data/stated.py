"""What the metadata of a file state of its classes and channels, read strictly."""

from __future__ import annotations

from collections.abc import Mapping

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.utils.reading import parse_json


def stated_labels(metadata: Mapping[str, str], where: object) -> tuple[str, ...] | None:
    """Return the class names that the metadata of a file state, in the order of the logits; None if they state none.

    Args:
        metadata: the metadata.
        where: the file, for the error.

    Raises:
        ArtifactError: what they state is no list of names.
    """
    text = metadata.get("labels")
    if not text:
        return None
    try:
        names = parse_json(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArtifactError(f"{where}: labels in its metadata: got {text[:40]!r}, wanted a list of class names in JSON")
    return tuple(names)


def stated_counts(metadata: Mapping[str, str], where: object) -> dict[str, int]:
    """Return the numbers of classes and channels that the metadata of a file state, by name.

    Args:
        metadata: the metadata.
        where: the file, for the error.

    Raises:
        ArtifactError: what they state is no number of that kind.
    """
    found = {}
    for key, least in (("num_classes", 0), ("in_chans", 1)):
        text = metadata.get(key)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text) >= least):
            raise ArtifactError(
                f"{where}: {key} in its metadata: got {text[:40]!r}, wanted a whole number from {least}"
            )
        found[key] = int(text)
    return found
