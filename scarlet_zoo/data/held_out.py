"""What a trained file states about the images of its training, and whether others are divided in the same way."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scarlet_zoo.data.partition import Division, check_division
from scarlet_zoo.errors import DatasetError, ScarletWarning

# Its division has always been a function of the number of validation images alone.
_FIXED = "fashion-mnist"
_KEYS = ("data", "validation", "split")


def stated_training(metadata: Mapping[str, str]) -> dict[str, str]:
    """What the metadata of a weights file or an exported file state about the images of the training."""
    return {key: metadata[key] for key in _KEYS if key in metadata}


@dataclass(frozen=True)
class TrainingImages:
    """The images that a file's network was trained on, as its metadata state them.

    Attributes:
        source: the file or the network's name, for messages.
        metadata: the metadata of the weights, of which ``data``, ``validation`` and ``split`` are read.
    """

    source: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> str | None:
        """The name or the folder of the data set; None if the file does not state it."""
        return self.metadata.get("data")

    @property
    def by_class(self) -> bool:
        """Whether validation images were taken from every class, as they are since files state which ones these are."""
        return self.data is None or "split" in self.metadata

    def are_of(self, data: str) -> bool:
        """Whether the network was trained on the data set of this name or folder."""
        if self.data is None or not (Path(data).exists() and Path(self.data).exists()):
            return self.data == data
        return Path(data).resolve() == Path(self.data).resolve()

    def require(self, here: Division | None, data: str, held: int | None, *, others: bool = False) -> None:
        """Check that the validation images of a data set are none of those that the network was trained on.

        A file that does not state its division is taken with a warning.

        Args:
            here: how the data set is divided now; None if that is not known.
            data: its name or folder.
            held: the number of validation images that was asked for; None for the usual number.
            others: whether a data set of another name and with other images is taken, with a warning.

        Raises:
            DatasetError: the divisions differ.
        """
        if here is None:
            return
        if "split" not in self.metadata:
            self._require_number(here, data)
            return
        trained = Division.from_json(self.metadata["split"], self.source)
        if others and trained.images != here.images and not self.are_of(data):
            named = f" ({self.data})" if self.data is not None else ""
            warnings.warn(f"{data}: {self.source} was trained on other images{named}, and it cannot be checked "
                          "whether these are among them", ScarletWarning, stacklevel=3)  # fmt: skip
            return
        check_division(trained, here, self.source, data, held)

    def _require_number(self, here: Division, data: str) -> None:
        stated = self.metadata.get("validation")
        if stated is None or not self.are_of(data):
            return
        if data != _FIXED:
            warnings.warn(
                f"{self.source}: was written before files stated which images are for validation, so it cannot be "
                "checked whether it was trained on some of these",
                ScarletWarning,
                stacklevel=4,
            )
        elif int(stated) != here.validation:
            raise DatasetError(f"{data}: got {here.validation:,} validation images, but {self.source} was trained with "
                               f"{int(stated):,}, so images that were trained on would be counted; wanted --validation "
                               f"{int(stated)}")  # fmt: skip
