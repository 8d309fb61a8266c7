"""How much a ranking depends on the draw of a supernet's weights.

ST-NAS (arXiv 2005.10511) scores an architecture by a mean over weights drawn from their posterior, because a single
set of shared weights ranks noisily. This experiment ranks with each draw by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.ranking.ground_truth import GroundTruth
from scarlet_zoo.nas.ranking.schedule import Schedule
from scarlet_zoo.nas.train_supernet import SUPERNET_FILE, train_supernet
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.utils.agreement import Numbers, kendall_tau
from scarlet_zoo.utils.jobs import stored_result

_CALIBRATION, _VALIDATION = 1000, 1000


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A supernet whose weights are drawn several times at the end of its training.

    Attributes:
        truth: ground truth whose architectures are ranked.
        temperature: temperature of the posterior; 0 takes weights of plain stochastic gradient descent at the same
            learning rate.
        samples: number of draws, 2 or more.
        schedule: schedule of the training.
    """

    truth: GroundTruth
    temperature: float
    samples: int = 8
    schedule: Schedule

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, the ground truth by its title."""
        return {"truth": self.truth.plan.title, "temperature": self.temperature, "samples": self.samples,
                "schedule": asdict(self.schedule)}  # fmt: skip


def draw_and_rank(draws: Draws, out: Path) -> dict[str, Any]:
    """Train and score every architecture with every draw, or read the result if it exists.

    Returns:
        ``stability`` (see :func:`stability_of`), ``accuracies`` (draws, architectures), and ``asked``, the fields of
        ``draws``.
    """
    return stored_result(out / "stability.json", draws.to_dict(), lambda: _ranked(draws, out))


def _ranked(draws: Draws, out: Path) -> dict[str, Any]:
    plan = draws.truth.plan
    options = {"branches": "false", "samples": str(draws.samples), "temperature": str(draws.temperature)}
    data, settings = DataPlan(name=plan.data, images=plan.pictures), draws.schedule.settings()
    train_supernet(plan.search_space, data=data, out=out, settings=settings, strategy="st-nas", options=options)
    bench = OneShot(out / SUPERNET_FILE, (plan.data, None, None), _CALIBRATION, _VALIDATION)
    names = bench.metadata["posterior"].split()
    accuracies = np.array([_accuracies(bench, out / name, draws.truth.archs) for name in names])
    final = draws.truth.final.mean(axis=0)
    return {"stability": stability_of(accuracies, final), "accuracies": accuracies.round(3).tolist()}


def _accuracies(bench: OneShot, sample: Path, archs: Sequence[Arch]) -> list[float]:
    weights = load_supernet(sample)[0]
    return [bench.accuracy(arch, weights) for arch in archs]


def stability_of(accuracies: Numbers, truth: Numbers) -> list[dict[str, float]]:
    """Compute how well means over draws agree and rank, for each number of draws that are averaged.

    Args:
        accuracies: (draws, architectures), 2 draws or more, in the order in which they were drawn.
        truth: accuracies of the ground truth, (architectures,).

    Returns:
        Rows ``averaged`` (number of draws), ``each_other`` (tau-b between the means of two adjacent disjoint groups of
        draws, averaged over the pairs) and ``truth`` (tau-b of a mean with the truth, averaged over the groups).

    Raises:
        ScarletError: fewer than two draws.
    """
    count = len(accuracies)
    if count < 2:
        raise ScarletError(f"rank stability: got {count} draws of weights, wanted 2 or more")
    rows = []
    for averaged in (size for size in (2**power for power in range(count)) if 2 * size <= count):
        means = [accuracies[at : at + averaged].mean(axis=0) for at in range(0, count - averaged + 1, averaged)]
        pairs = [kendall_tau(one, other) for one, other in pairwise(means)]
        rows.append({"averaged": averaged, "each_other": float(np.mean(pairs)),
                     "truth": float(np.mean([kendall_tau(mean, truth) for mean in means]))})  # fmt: skip
    return rows
