"""The limits of a search space: what a file may declare before anything is built of it.

Each is far above what mobile networks have, and low enough that a space within all of them is checked, counted and
built in seconds and without exhausting memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scarlet_zoo.errors import ArchError

if TYPE_CHECKING:
    from scarlet_zoo.arch.choices import Choice
    from scarlet_zoo.arch.space import SearchSpace

MOST_CHANNELS = 16384  # four times the widest layer of timm's EfficientNets
MOST_STAGES = 64
MOST_LAYERS = 256  # in all; EfficientNet-L2 has 88 blocks
MOST_KERNEL = 63  # the large kernels of papers end at 61
MOST_EXPANSION = 64
MOST_IN_CHANS = 64
MOST_SIDE = 4096  # pixels
MOST_CLASSES = 100_000
MOST_TOKENS = 1024  # of a layer: all sets of up to four of a dozen blocks are 793
MOST_PATHS = 16  # blocks side by side; MixPath has up to 4
MOST_OPTIONS = 16_384  # of all layers: a table of costs has a row for each
MOST_LETTERS = 400  # of a name or a token, which errors and identity strings repeat
MOST_TEXT = 8 * 2**20  # of a definition in JSON; that of scarlet+paths4 has 0.4 MB
_LISTED = 40
MOST_PARAMS = 250_000_000  # of all candidates together, which are those of a supernet: 1 GB in float32
MOST_FEATURES = 2**24  # elements of the largest feature map of one image: 64 MiB in float32
MOST_MACS = 10**11  # of the largest network: that of EfficientNet-B7 is 3.8e10


def some_of(names: Iterable[str]) -> str:
    """Return names for an error message, of many only the first."""
    known = list(names)
    return " ".join([*known[:_LISTED], *(["..."] if len(known) > _LISTED else [])])


def check_sets(blocks: int, most: int, where: str) -> None:
    """Check the number of sets of 2 to ``most`` of a layer's blocks, before they are made.

    Raises:
        ArchError: with the blocks themselves there are more than :data:`MOST_TOKENS`.
    """
    count = sum(math.comb(blocks, size) for size in range(1, most + 1))
    if count >= MOST_TOKENS:
        raise ArchError(f"{where}: got sets of up to {most} of {blocks} paths, which are {count:,}, "
                        f"wanted fewer than {MOST_TOKENS:,}")  # fmt: skip


def check_whole(space: SearchSpace) -> None:
    """Check what the fields of a space amount to together, in closed form.

    The figures are upper bounds that take a block's widths before rounding, so they are a little above the exact costs.

    Raises:
        ArchError: the options, the parameters, the largest feature map or the multiply-adds are above the limits.
    """
    options = sum(len(layer.tokens) for layer in space.layers)
    _check(space, "choices of all layers", options, MOST_OPTIONS)
    params, features, macs = _totals(space)
    _check(space, "parameters of all candidates together", params, MOST_PARAMS)
    _check(space, "elements in the largest feature map", features, MOST_FEATURES)
    _check(space, "multiply-adds of the largest network", macs, MOST_MACS)


def _check(space: SearchSpace, what: str, got: int, most: int) -> None:
    if got > most:
        shown = f"{got:,}" if got < 10**15 else f"{float(got):.1e}"
        raise ArchError(f"search space {space.name!r}: got {shown} {what}, wanted at most {most:,}")


def _totals(space: SearchSpace) -> tuple[int, int, int]:
    """Parameters of all candidates, elements of the largest feature map, and multiply-adds of the largest network."""
    size = -(-space.input_size // space.stem_stride)
    stem, first, head, meaning = space.stem_width, space.first_width, space.head_width, dict(space.choices)
    params = stem * (9 * space.in_chans + 9 + first)
    macs = params * size**2
    features = max(space.in_chans * space.input_size**2, max(stem, first) * size**2)
    maps = [(first, size)]
    for layer in space.layers:
        out = -(-size // layer.stride)
        costs = {token: _cost(meaning[token], maps[-1], (layer.width, out)) for token in layer.tokens}
        params += sum(cost[0] for token, cost in costs.items() if not meaning[token].beside)
        features = max(features, layer.width * out**2, *(cost[1] for cost in costs.values()))
        macs += max(cost[2] for cost in costs.values())
        maps.append((layer.width, out))
        size = out
    branches = [_cost(space.branch_operator, maps[source], maps[target]) for source, target in space.branches]
    last = maps[-1][0] * head
    return (params + sum(cost[0] for cost in branches) + last + head * space.num_classes,
            max(features, head * size**2, *(cost[1] for cost in branches), 0),
            macs + sum(cost[2] for cost in branches) + last * size**2 + head * space.num_classes)  # fmt: skip


def _cost(choice: Choice, source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int]:
    """Parameters, elements of the largest feature map, and multiply-adds of a block or a set of blocks."""
    rows = [_block(block, source, target) for block in choice.blocks if not block.is_skip]
    return sum(row[0] for row in rows), max((row[1] for row in rows), default=0), sum(row[2] for row in rows)


def _block(block: Choice, source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int]:
    (in_chs, in_size), (out_chs, out_size) = source, target
    hidden = in_chs * block.expand_ratio + 8
    depthwise = hidden * block.kernel_size**2
    gate = hidden * hidden // 2 if block.squeeze_excite else 0
    macs = hidden * in_chs * in_size**2 + (depthwise + hidden * out_chs) * out_size**2 + gate
    return hidden * (in_chs + out_chs) + depthwise + gate, hidden * in_size**2, macs
