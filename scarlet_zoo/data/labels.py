"""What the classes of a network are called."""

from __future__ import annotations

from collections.abc import Sequence

from scarlet_zoo.errors import ScarletError

IMAGENET_CLASSES = 1000


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names of ImageNet-1k in the order of the logits, as timm tells them."""
    # The file's only way to timm, and with it to torch: who brings labels waits for neither.
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(str(info.index_to_description(index)) for index in range(IMAGENET_CLASSES))


def labels_of(given: Sequence[str] | None, classes: int, source: str) -> tuple[str, ...] | None:
    """The names of a trained network's classes: the given ones, else ImageNet's for 1000, else unknown.

    Args:
        given: what the file or the network says of itself.
        classes: how many logits it gives.
        source: its name, for the message.

    Raises:
        ScarletError: another number of names than of logits.
    """
    if given is None:
        return imagenet_labels() if classes == IMAGENET_CLASSES else None
    if len(given) != classes:
        raise ScarletError(f"{source}: carries {len(given)} labels, wanted {classes}, one a logit")
    return tuple(given)
