"""The class names of networks."""

from __future__ import annotations

from collections.abc import Sequence

from scarlet_zoo.errors import ScarletError

IMAGENET_CLASSES = 1000


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
    return tuple(given)
