"""The images of a data set as they are, without a network's colours: to look at them, and as files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.splits import in_order
from scarlet_zoo.utils.files import make_folder, replacing


def plain_preprocessing(name: str, side: int) -> Preprocessing:
    """Return a preprocessing whose result is the pixels themselves, from 0 to 1: mean 0 and deviation 1.

    Args:
        name: name of the data set; Fashion-MNIST's images stay as they are, 28 pixels in grey.
        side: side in pixels that the images of other data sets are resized and cropped to, in colour.
    """
    channels, side = (1, 28) if name == "fashion-mnist" else (3, side)
    return Preprocessing((side, side), (0.0,) * channels, (1.0,) * channels, "bilinear", 1.0)


def save_images(name: str, part: str, count: int, out: Path, folder: Path | None = None) -> list[Path]:
    """Write the images of a part, up to ``count`` spread evenly over it, as PNG files ``<position>_<class>.png``.

    Images of Fashion-MNIST are written unchanged, others are resized and cropped to 224 x 224 pixels.

    Args:
        name: name of the data set, as for :func:`open_data`.
        part: ``train``, ``validation`` or ``test``.
        count: largest number of images.
        out: folder that the files are written to.
        folder: where the data is, or where it is downloaded to.

    Returns:
        The paths of the files.

    Raises:
        DatasetError: there is no such data set or part.
    """
    plain = plain_preprocessing(name, 224)
    data = open_data(name, plain, folder)
    images, targets = next(in_order(data.part(part), count, count))
    make_folder(out)
    files = []
    for position, (pixels, target) in enumerate(zip(plain.restore(images.numpy()), targets.tolist(), strict=True)):
        label = "".join(mark if mark.isalnum() else "_" for mark in data.classes[target])
        files.append(out / f"{position:04}_{label}.png")
        with replacing(files[-1]) as temporary:
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary, format="PNG")
    return files
