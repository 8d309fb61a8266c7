"""Sets of paths as the tokens of a search space: several blocks of a layer at once, their outputs summed.

In MixPath (arXiv 2001.05887) a layer activates any 1 to m of its paths. Here a set is a token of its own, the tokens
of its blocks joined by ``+`` in the order of the space's candidates, so that a set has one name only; the skip stands
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

from scarlet_zoo.arch import Choice

JOIN = "+"
Named = tuple[str, Choice]


def path_sets(choices: Iterable[Named], most: int) -> Iterator[Named]:
    """Token and meaning of every set of 2 to ``most`` blocks of these candidates."""
    blocks = [(token, choice) for token, choice in choices if not choice.is_skip]
    for count in range(2, most + 1):
        for members in combinations(blocks, count):
            (_, first), *others = members
            yield JOIN.join(token for token, _ in members), replace(first, beside=tuple(c for _, c in others))


def members_of(token: str) -> list[str]:
    """The tokens of the single blocks in a set; of a token that is no set, itself."""
    return token.split(JOIN)


def without_sets(tokens: Iterable[str]) -> tuple[str, ...]:
    """The tokens that are no sets."""
    return tuple(token for token in tokens if JOIN not in token)
