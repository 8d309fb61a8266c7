"""Traits of an architecture that need no weights: its size, and what it consists of.

Such counts, called graph features, predict accuracy better than zero-cost scores do (GRAF, Kadlecova et al., ICML 2024,
arXiv 2404.16551).
"""

from __future__ import annotations

import math

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import cost_table
from scarlet_zoo.arch.space import SearchSpace

LOG_MACS, LOG_PARAMS = "log macs", "log params"


def trait_names(space: SearchSpace) -> tuple[str, ...]:
    """Return the names of the traits of a space's architectures, in their order."""
    blocks = [block for _, choice in space.choices for block in choice.blocks]
    expansions = sorted({block.expand_ratio for block in blocks if not block.is_skip})
    kernels = sorted({block.kernel_size for block in blocks if not block.is_skip})
    names = [LOG_MACS, LOG_PARAMS, "skips"]
    names += [f"expansion {ratio}" for ratio in expansions] + [f"kernel {size}" for size in kernels] + ["gates"]
    return (*names, *(["branches"] if space.branches else []))


def traits(arch: Arch) -> dict[str, float]:
    """Return the traits of an architecture by name, see :func:`trait_names`.

    ``log macs`` and ``log params`` are natural logarithms of multiply-adds and parameters. The others are numbers of
    layers that are skipped, of blocks by expansion and by side of the kernel, of blocks with squeeze and excitation
    (``gates``), and of branches.
    """
    params, macs = cost_table(arch.space).params_and_macs(arch)
    found = dict.fromkeys(trait_names(arch.space), 0.0)
    found |= {LOG_MACS: math.log(macs), LOG_PARAMS: math.log(params)}
    for choice in (arch.space.choice(token) for token in arch.tokens):
        if choice.is_skip:
            found["skips"] += 1
            continue
        for block in choice.blocks:
            found[f"expansion {block.expand_ratio}"] += 1
            found[f"kernel {block.kernel_size}"] += 1
            found["gates"] += block.squeeze_excite
    return found if not arch.space.branches else {**found, "branches": float(len(arch.branches))}
