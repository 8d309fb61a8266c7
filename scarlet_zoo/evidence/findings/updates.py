"""How the ranking depends on the updates of each architecture: NAO-V2's first claim (arXiv 1909.10815, abstract).

The larger the pool that a supernet draws its paths from, the fewer steps there are for each architecture. The pool
holds the architectures that are ranked, and others up to the wanted size.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.preprocessing import space_preprocessing
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.supernet import save_supernet
from scarlet_zoo.nas.nao.proposals import draw_different
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.ranking.ground_truth import GroundTruth
from scarlet_zoo.nas.ranking.schedule import Schedule
from scarlet_zoo.nas.strategies.base import StrategyOptions
from scarlet_zoo.nas.strategies.spos import Spos
from scarlet_zoo.nas.train_supernet import SUPERNET_FILE
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.utils.agreement import kendall_tau
from scarlet_zoo.utils.jobs import stored_result

_CALIBRATION, _VALIDATION = 1000, 2000


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A supernet trained on a pool of architectures.

    Attributes:
        truth: ground truth whose architectures are ranked, and are in the pool.
        size: number of architectures in the pool; None draws paths from the whole space.
        schedule: schedule of the training.
    """

    truth: GroundTruth
    size: int | None
    schedule: Schedule

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, the ground truth by its title."""
        return {"truth": self.truth.plan.title, "size": self.size, "schedule": asdict(self.schedule)}

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The ranked architectures, then others, each once.

        Raises:
            ScarletError: the pool is smaller than the number of ranked architectures.
        """
        ranked, wanted = self.truth.archs, self.size or 0
        if wanted < len(ranked):
            raise ScarletError(f"pool: got size {wanted}, wanted {len(ranked)} or more, all that are ranked")
        drawn = draw_different(self.truth.plan.search_space, wanted, random.Random(f"{self.schedule.seed} pool"))
        return tuple(dict.fromkeys((*ranked, *drawn)))[:wanted]


class Pooled(Spos):
    """SPOS with paths that are drawn uniformly from a pool.

    Args:
        pool: the pool, with its space and schedule.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.truth.plan.search_space, self.skip_default, StrategyOptions(), pool.schedule.seed)
        self.pool = pool.archs

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return one architecture of the pool, for this step."""
        return (random.Random(f"{self.seed} {step}").choice(self.pool),)


def train_and_rank(pool: Pool, out: Path) -> dict[str, Any]:
    """Train on a pool and rank, or read the result if it exists.

    Returns:
        ``steps``, ``updates`` (steps for each architecture of the pool), ``tau`` (tau-b with the ground truth),
        ``accuracy`` (mean, in percent), ``spread`` (standard deviation, in points), and ``asked``, the fields of the
        pool.
    """
    return stored_result(out / "updates.json", pool.to_dict(), lambda: _ranked(pool, out))


def _ranked(pool: Pool, out: Path) -> dict[str, Any]:
    plan = pool.truth.plan
    torch.set_num_threads(1)
    seed, space = pool.schedule.seed, plan.search_space
    torch.manual_seed(seed)
    strategy = Pooled(pool) if pool.size else Spos(space, Spos.skip_default, StrategyOptions(), seed)
    data = DataPlan(name=plan.data, images=plan.pictures).open(space_preprocessing(space))
    done = train(strategy, data, pool.schedule.settings(), out, identity={"pool": str(pool.size)})
    strategy.supernet.load_state_dict(done.state)
    save_supernet(strategy.supernet, out / SUPERNET_FILE, strategy.metadata())
    bench = OneShot(out / SUPERNET_FILE, (plan.data, None, None), _CALIBRATION, _VALIDATION)
    accuracies = [bench.accuracy(arch) for arch in pool.truth.archs]
    return {"steps": done.steps, "updates": done.steps / (pool.size or space.size),
            "tau": kendall_tau(accuracies, pool.truth.final.mean(axis=0)),
            "accuracy": float(np.mean(accuracies)), "spread": float(np.std(accuracies, ddof=1))}  # fmt: skip
