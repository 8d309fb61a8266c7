"""One network of the gallery: what its card, its row and its point show."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from scarlet_zoo.arch.cost import LayerCost
from scarlet_zoo.measurement.gallery.latencies import Latency

MEASURED, PUBLISHED, OWN = "measured", "published", "own"
# What the kinds of accuracy are called, behind the name of the data.
KINDS = {
    MEASURED: "measured by this project",
    PUBLISHED: "as published, not measured here",
    OWN: "measured by whoever made this page",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """An accuracy of a network.

    Attributes:
        data: the images, such as ``CIFAR-10, JPEG``.
        kind: a key of :data:`KINDS`.
        top1: top-1 accuracy in percent.
        images, low, high: number of images and the 95 % interval in percent; None where the number is not known.
        source: where the figure is from.
    """

    data: str
    kind: str
    top1: float
    source: str
    images: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def data_set(self) -> str:
        """The data and who measured on it: accuracies of different data sets are never drawn together."""
        return f"{self.data}, {KINDS[self.kind]}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A network of the gallery.

    Attributes:
        id: its name in files and addresses of the page.
        title: what it is called on the page.
        network: the network's name.
        facts: rows of its card: what, and the value as text.
        params, macs, macs_note: parameters and multiply-adds for one image, and how they were counted.
        drawing: the rows of its drawing; empty where there is none.
        points, latencies: its accuracies and latencies.
        file, bytes, sha256, precision: its file in the gallery; the first three are None where there is no file.
        why_not: why it cannot be tried in the page; None if it can.
        run: what the page needs to run it: the input, labels, preprocessing and checked answers; empty if it cannot.
        code: lines that load the file in an app, by language.
        trained: whether its weights are trained.
    """

    id: str
    title: str
    network: str
    facts: tuple[tuple[str, str], ...]
    params: int
    macs: int | None
    macs_note: str
    drawing: tuple[LayerCost, ...]
    points: tuple[Point, ...]
    latencies: tuple[Latency, ...]
    file: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    precision: str = "float32"
    why_not: str | None = None
    run: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    trained: bool = True

    def for_page(self) -> dict[str, Any]:
        """What the page's scripts need to draw and filter it, as JSON values."""
        return {
            "id": self.id, "title": self.title, "macs": self.macs, "params": self.params, "bytes": self.bytes,
            "precision": self.precision, "runs": self.why_not is None and self.file is not None, "file": self.file,
            "points": [{"set": point.data_set, "top1": point.top1, "low": point.low, "high": point.high}
                       for point in self.points],
            "latencies": [{"group": one.group, "p50": one.p50_ms, "low": one.low_ms, "high": one.high_ms,
                           "stable": one.stable, "same": one.sha256 == self.sha256, "date": one.date}
                          for one in self.latencies],
        }  # fmt: skip

    def run_json(self) -> str:
        """The text of the file with which the page runs the network."""
        return json.dumps(self.run, ensure_ascii=True) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` says of it."""
        return {"id": self.id, "network": self.network, "file": self.file, "bytes": self.bytes, "sha256": self.sha256,
                "precision": self.precision, "params": self.params, "macs": self.macs, "runs": self.for_page()["runs"],
                "why_not": self.why_not, "data_sets": [point.data_set for point in self.points],
                "latencies": len(self.latencies)}  # fmt: skip
