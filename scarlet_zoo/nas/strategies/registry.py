"""The recipes of the papers on weight-sharing supernets: one file each, chosen by name.

They are answers to one question: why do the scores of a supernet's paths disagree with the accuracies of the same
networks trained on their own?
"""

from __future__ import annotations

from collections.abc import Mapping

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import unknown_name
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.strategies.base import Score, Strategy, read_options
from scarlet_zoo.nas.strategies.bn_nas import BnNas
from scarlet_zoo.nas.strategies.fairnas import FairNas
from scarlet_zoo.nas.strategies.mixpath import MixPath
from scarlet_zoo.nas.strategies.nao_v2 import NaoV2
from scarlet_zoo.nas.strategies.parsec import Parsec
from scarlet_zoo.nas.strategies.pi_nas import PiNas
from scarlet_zoo.nas.strategies.sandwich import Sandwich
from scarlet_zoo.nas.strategies.scarlet import Scarlet
from scarlet_zoo.nas.strategies.spos import Spos
from scarlet_zoo.nas.strategies.st_nas import StNas

STRATEGIES: Mapping[str, type[Strategy]] = {
    kind.name: kind for kind in (Spos, FairNas, Scarlet, NaoV2, StNas, PiNas, BnNas, Sandwich, Parsec, MixPath)
}
# What trains where nobody says how: of the recipes that keep to the space that is asked for, the first in
# benchmarks/results/rank.json.
DEFAULT, DEFAULT_SKIP = Scarlet.name, "plain"


def find_strategy(name: str) -> type[Strategy]:
    """The strategy of a name.

    Raises:
        UnknownNameError: no such strategy; the message lists them.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name]


def create_strategy(
    name: str | None,
    space: SearchSpace,
    skip: str | None = None,
    options: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Strategy:
    """A strategy with a fresh supernet of a chain space, extended as the strategy asks.

    Args:
        name: of the strategy; None is the default recipe, :data:`DEFAULT` with :data:`DEFAULT_SKIP`.
        space: with the classes of the data.
        skip: what stands on skips; the strategy's own choice when left out, or the default recipe's.
        options: by name, as text.
        seed: of what it draws; the supernet's weights come from torch's own generator.

    Raises:
        UnknownNameError: no such strategy.
        TrainingError: an option that it does not have, or of the wrong kind.
    """
    if name is None:
        name, skip = DEFAULT, skip or DEFAULT_SKIP
    kind = find_strategy(name)
    chosen = read_options(kind.Options, options or {}, name)
    return kind(kind.extended(space, chosen), skip or kind.skip_default, chosen, seed)


def scorer_of(bench: OneShot, name: str | None = None) -> Score:
    """How a strategy scores the architectures of a trained supernet; the one that trained it when left out.

    Raises:
        UnknownNameError: no such strategy.
    """
    return find_strategy(name or bench.metadata.get("strategy", Scarlet.name)).scorer(bench)
