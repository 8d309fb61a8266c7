"""The strategies by name, one file for each paper on weight-sharing supernets.

All of them answer one question: why do the scores of a supernet's paths rank networks differently than the accuracies
of the same networks trained stand-alone?
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
from scarlet_zoo.nas.strategies.ofa import BigNas, Ofa
from scarlet_zoo.nas.strategies.parsec import Parsec
from scarlet_zoo.nas.strategies.pi_nas import PiNas
from scarlet_zoo.nas.strategies.sandwich import Sandwich
from scarlet_zoo.nas.strategies.scarlet import Scarlet
from scarlet_zoo.nas.strategies.spos import Spos
from scarlet_zoo.nas.strategies.st_nas import StNas

STRATEGIES: Mapping[str, type[Strategy]] = {
    kind.name: kind
    for kind in (Spos, FairNas, Scarlet, NaoV2, StNas, PiNas, BnNas, Sandwich, Parsec, MixPath, Ofa, BigNas)
}
# The default recipe: the best in benchmarks/results/rank.json of those that do not extend the given space.
DEFAULT, DEFAULT_SKIP = Scarlet.name, "plain"


def find_strategy(name: str) -> type[Strategy]:
    """Return the class of a strategy by its name.

    Raises:
        UnknownNameError: no such strategy; the message lists all of them.
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
    """Create a strategy with a new supernet of a chain space, which the strategy may extend.

    Args:
        name: name of the strategy; None for the default recipe, :data:`DEFAULT` with :data:`DEFAULT_SKIP`.
        space: search space with the number of classes of the data.
        skip: the module on skips; the default of the strategy, or of the default recipe, when left out.
        options: options of the strategy, by name, as text.
        seed: seed of the strategy's draws; the supernet's weights are drawn from torch's global generator.

    Raises:
        UnknownNameError: no such strategy.
        TrainingError: an unknown option, or a value that its type does not allow.
    """
    if name is None:
        name, skip = DEFAULT, skip or DEFAULT_SKIP
    kind = find_strategy(name)
    chosen = read_options(kind.Options, options or {}, name)
    return kind(kind.extended(space, chosen), skip or kind.skip_default, chosen, seed)


def scorer_of(bench: OneShot, name: str | None = None) -> Score:
    """Return how a strategy scores architectures of a trained supernet; by default the strategy that trained it.

    Raises:
        UnknownNameError: no such strategy.
    """
    return find_strategy(name or bench.metadata.get("strategy", Scarlet.name)).scorer(bench)
