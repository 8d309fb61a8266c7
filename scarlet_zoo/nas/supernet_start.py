"""The trained supernet that another one starts from, for the same classes or for others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import Supernet, load_supernet
from scarlet_zoo.training.start import warn_of_other_split

_HEAD = "classifier."


@dataclass(frozen=True)
class SupernetStart:
    """A trained supernet, and what its file says.

    Attributes:
        file: its file.
        supernet: the supernet.
        described: the metadata of the file.
    """

    file: Path
    supernet: Supernet
    described: dict[str, str]

    @classmethod
    def read(cls, file: Path) -> SupernetStart:
        """Read a supernet's file.

        Raises:
            CheckpointError: the file is missing, broken, or not a supernet.
        """
        return cls(file, *load_supernet(file))

    @property
    def strategy(self) -> str | None:
        """Name of the strategy that trained it."""
        return self.described.get("strategy")

    @property
    def skip(self) -> str:
        """The module on its skips."""
        return self.supernet.skip

    @property
    def space(self) -> SearchSpace:
        """Its space, as its strategy may have extended it."""
        return self.supernet.space

    def load_into(self, supernet: Supernet, images: ImageData) -> dict[str, Any]:
        """Copy the weights into a supernet of the same space, and the classifier if it is for the same classes.

        Returns:
            Where the weights come from, as JSON values.

        Raises:
            TrainingError: the supernet is of another space, or has other skips.
        """
        wanted, own = supernet.space, self.supernet.space
        if replace(own, num_classes=wanted.num_classes) != wanted:
            raise TrainingError(f"{self.file}: got a supernet of the space {own.name!r}, wanted one of {wanted.name!r}")
        if supernet.skip != self.skip:
            raise TrainingError(f"{self.file}: got a supernet with skips {self.skip!r}, wanted {supernet.skip!r}")
        kept = stated_labels(self.described, self.file) == tuple(images.classes)
        warn_of_other_split(self.file, self.described, images)
        taken = {key: value for key, value in self.supernet.state_dict().items() if kept or not key.startswith(_HEAD)}
        supernet.load_state_dict({**supernet.state_dict(), **taken})
        return {"weights": f"supernet {self.file.name}", "sha256": self.described.get("sha256", ""),
                "head": "kept" if kept else "new", "data": self.described.get("data")}  # fmt: skip

    def words(self, facts: dict[str, Any]) -> str:
        """The facts in words that are part of the run's identity."""
        return f"supernet {facts['sha256'][:12]}, {facts['head']} head"
