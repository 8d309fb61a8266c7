"""Networks that cost as much as one of ours: architectures of a space, and networks of others by their input's size."""

from __future__ import annotations

import numpy as np

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.nas.search.encoding import Encoded
from scarlet_zoo.nas.search.objectives import Limit
from scarlet_zoo.nas.search.reach import Reach

_SIDES = range(28, 113, 4)
_LEAST = 0.94  # of the cost


def drawn(space: SearchSpace, macs: int, count: int) -> list[Arch]:
    """Random architectures of a space with at most so many multiply-adds and at least 94 % of them, always the same.

    Args:
        space: the search space.
        macs: the most multiply-adds of one image.
        count: number of architectures.
    """
    reach = Reach(space, [Limit.parse(f"macs<={macs}"), Limit.parse(f"macs>={_LEAST * macs}")])
    found: dict[tuple[int, ...], Encoded] = {}
    reach.complete(found, 4 * count, np.random.default_rng(0), tell=False)
    return [reach.encoding.arch(row) for row in list(found.values())[-count:]]  # the first ones are extreme


def side_of(name: str, macs: int, channels: int) -> int:
    """The input side in pixels at which a network for ten classes comes closest to so many multiply-adds.

    The sides are multiples of 4 from 28 to 112; images are scaled up to them.

    Args:
        name: a name of timm's.
        macs: multiply-adds of one image.
        channels: channels of the input.
    """
    model = create_model(name, in_chans=channels, num_classes=10).eval()
    return min(_SIDES, key=lambda side: abs(model_cost(model, (channels, side, side)).macs - macs))
