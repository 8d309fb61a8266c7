"""What the layers of a search space may choose from: MBConv blocks, the skip, and sets of blocks side by side.

In MixPath (arXiv 2001.05887) a layer activates any 1 to m of its paths. Here a set is a token of its own, the tokens
of its blocks joined by ``+`` in the order of the space's candidates, so that a set has one name only; the skip stands
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

# For what pydantic checks as part of a search space: no conversions, no other fields, and values made elsewhere too.
STRICT = ConfigDict(strict=True, extra="forbid", revalidate_instances="always")


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate of a layer: an inverted residual block (MBConv) or :data:`SKIP`.

    Attributes:
        expand_ratio: hidden channels over input channels; 0 marks the skip.
        kernel_size: side of the depthwise kernel, in pixels.
        squeeze_excite: whether a squeeze-and-excitation gate follows the depthwise convolution.
        beside: further blocks on the same input, whose outputs are added (:mod:`scarlet_zoo.arch.choices`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    expand_ratio: Annotated[int, Field(ge=0)]
    kernel_size: Annotated[int, Field(ge=0)]
    squeeze_excite: bool = False
    beside: tuple[Choice, ...] = ()

    @property
    def is_skip(self) -> bool:
        """Whether the layer is left out."""
        return self.expand_ratio == 0

    @property
    def blocks(self) -> tuple[Choice, ...]:
        """The blocks of a set, each as a choice of its own; of a single one, itself."""
        return (replace(self, beside=()), *self.beside) if self.beside else (self,)


SKIP = Choice(expand_ratio=0, kernel_size=0)

# Between the tokens of a set.
JOIN = "+"
Named = tuple[str, Choice]


def choice_fields(choice: Choice) -> dict[str, Any]:
    """As JSON values; blocks beside it only where there are some."""
    fields = asdict(choice)
    return fields if choice.beside else {key: value for key, value in fields.items() if key != "beside"}


def mbconv_choices(
    expand_ratios: Iterable[int] = (3, 6), kernel_sizes: Iterable[int] = (3, 5, 7), squeeze_excite: bool = True
) -> tuple[tuple[str, Choice], ...]:
    """MBConv candidates and the skip, named ``e<ratio>k<kernel>[se]`` and ``id``.

    The order is that of the released genotypes: index = 6 * se + 3 * (ratio == 6) + (kernel - 3) / 2.
    """
    gates = (False, True) if squeeze_excite else (False,)
    blocks = [Choice(e, k, se) for se in gates for e in expand_ratios for k in kernel_sizes]
    return (*((block_token(block), block) for block in blocks), ("id", SKIP))


def block_token(block: Choice) -> str:
    """How an MBConv candidate is named: ``e<ratio>k<kernel>[se]``."""
    return f"e{block.expand_ratio}k{block.kernel_size}{'se' * block.squeeze_excite}"


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
