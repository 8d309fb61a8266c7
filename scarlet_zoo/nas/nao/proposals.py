"""Proposals of architectures: distinct random ones, or new ones that a predictor expects to be better."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.nas.nao.predictor import EpdSettings, Tokens, fit_epd, generate

Accept = Callable[[Arch], bool]
Archive = Sequence[tuple[Arch, float]]
# A space with at most this many architectures is enumerated.
_FEW = 4096


def anything(arch: Arch) -> bool:  # noqa: ARG001
    """Accept every architecture."""
    return True


def draw_different(
    space: SearchSpace, count: int, rng: random.Random, known: Collection[Tokens] = (), accept: Accept = anything,
    max_tries: int = 1000,
) -> list[Arch]:  # fmt: skip
    """Draw distinct architectures uniformly among those that are accepted and not known.

    Args:
        space: the search space.
        count: how many to draw; fewer come back if no more are found.
        rng: random generator.
        known: decisions of the architectures that must not be drawn.
        accept: whether an architecture may be drawn.
        max_tries: draws for each architecture before giving up.
    """
    taken = set(known)
    found: list[Arch] = []
    for arch in _candidates(space, rng, count * max_tries):
        if len(found) == count:
            break
        if arch.decisions not in taken and accept(arch):
            taken.add(arch.decisions)
            found.append(arch)
    return found


def _candidates(space: SearchSpace, rng: random.Random, tries: int) -> Iterator[Arch]:
    if math.prod(map(len, space.decisions)) <= _FEW:
        rows = list(itertools.product(*space.decisions))
        rng.shuffle(rows)
        return (Arch.of(space, row) for row in rows)
    return (Arch.sample(space, rng) for _ in range(tries))


def propose(
    archive: Archive, count: int, settings: EpdSettings, seed: int, accept: Accept = anything,
    starts: Sequence[Arch] | None = None, max_tries: int = 1000,
) -> list[Arch]:  # fmt: skip
    """Propose new architectures that an encoder, predictor and decoder expects to be better than an archive's.

    If the model finds too few, mutations of the best are added, then uniform draws; the authors' code proposes fewer.
    The result depends only on the arguments.

    Args:
        archive: architectures and their scores, at least one; a higher score is better.
        count: how many to propose; fewer come back if no more are found.
        settings: of the encoder, predictor and decoder.
        seed: seed of all random numbers.
        accept: whether an architecture may be proposed.
        starts: architectures of the archive that the ascent may start from; all when None.
        max_tries: uniform draws for each missing architecture before giving up.
    """
    space = archive[0][0].space
    ranked = [arch for arch, _ in sorted(archive, key=lambda row: -row[1])]
    wanted = {arch.decisions for arch in ranked if starts is None} | {arch.decisions for arch in starts or ()}
    most = min(settings.seeds, max(1, int(settings.seed_share * len(archive))))
    best = [arch for arch in ranked if arch.decisions in wanted][:most] or ranked[:most]
    known = {arch.decisions for arch in ranked}
    epd = fit_epd(
        space.decisions, [arch.decisions for arch, _ in archive], [worth for _, worth in archive], settings, seed
    )
    rows = generate(
        epd, [arch.decisions for arch in best], count, known, settings, lambda row: accept(Arch.of(space, row))
    )
    found = [Arch.of(space, row) for row in rows]
    rng = random.Random(f"{seed} proposals")
    found += _mutated(best, count - len(found), rng, known | set(rows), accept)
    known |= {arch.decisions for arch in found}
    return found + draw_different(space, count - len(found), rng, known, accept, max_tries)


def _mutated(
    best: Sequence[Arch], count: int, rng: random.Random, known: Collection[Tokens], accept: Accept
) -> list[Arch]:
    """Mutations with two redrawn decisions on average; at most a hundred draws for each."""
    taken, found = set(known), list[Arch]()
    for _ in range(100 * count):
        if len(found) == count:
            break
        parent = rng.choice(best)
        arch = parent.mutate(rng, min(2 / len(parent.decisions), 1.0))
        if arch.decisions not in taken and accept(arch):
            taken.add(arch.decisions)
            found.append(arch)
    return found
