"""The choices of a search space's layers: MBConv blocks, the skip, and sets of parallel blocks.

In MixPath (arXiv 2001.05887) a layer activates any 1 to m of its paths. Here each set of paths is one token: the tokens
of its blocks, joined by ``+`` in the order of the space's candidates, so that a set has exactly one name. The skip is
in no set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from scarlet_zoo.arch.limits import MOST_EXPANSION, MOST_KERNEL, MOST_PATHS

# How pydantic checks the parts of a search space: no conversions, no unknown fields, existing instances checked again.
STRICT = ConfigDict(strict=True, extra="forbid", revalidate_instances="always")


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate of a layer: an inverted residual block (MBConv) or :data:`SKIP`.

    Attributes:
        expand_ratio: hidden channels over input channels; 0 marks the skip.
        kernel_size: side of the depthwise kernel, in pixels.
        squeeze_excite: whether a squeeze-and-excitation gate follows the depthwise convolution.
        beside: further blocks on the same input; the outputs of all of them are added.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    expand_ratio: Annotated[int, Field(ge=0, le=MOST_EXPANSION)]
    kernel_size: Annotated[int, Field(ge=0, le=MOST_KERNEL)]
    squeeze_excite: bool = False
    beside: Annotated[tuple[Choice, ...], Field(max_length=MOST_PATHS)] = ()

    @property
    def is_skip(self) -> bool:
        """Whether this choice is the skip."""
        return self.expand_ratio == 0

    @property
    def blocks(self) -> tuple[Choice, ...]:
        """The blocks of a set as single choices; a single choice returns itself."""
        return (replace(self, beside=()), *self.beside) if self.beside else (self,)


SKIP = Choice(expand_ratio=0, kernel_size=0)

# The separator of the tokens in a set.
JOIN = "+"
Named = tuple[str, Choice]


def choice_fields(choice: Choice) -> dict[str, Any]:
    """Return a choice as JSON values; the key ``beside`` is present only for sets."""
    fields = asdict(choice)
    return fields if choice.beside else {key: value for key, value in fields.items() if key != "beside"}


def mbconv_choices(
    expand_ratios: Iterable[int] = (3, 6), kernel_sizes: Iterable[int] = (3, 5, 7), squeeze_excite: bool = True
) -> tuple[tuple[str, Choice], ...]:
    """Return the MBConv candidates and the skip with their tokens, ``e<ratio>k<kernel>[se]`` and ``id``.

    The order is that of the released genotypes: index = 6 * se + 3 * (ratio == 6) + (kernel - 3) / 2.

    Args:
        expand_ratios: hidden channels over input channels.
        kernel_sizes: sides of the depthwise kernels, in pixels.
        squeeze_excite: whether each block is also offered with a squeeze-and-excitation gate.
    """
    gates = (False, True) if squeeze_excite else (False,)
    blocks = [Choice(e, k, se) for se in gates for e in expand_ratios for k in kernel_sizes]
    return (*((block_token(block), block) for block in blocks), ("id", SKIP))


def block_token(block: Choice) -> str:
    """Return the token of an MBConv candidate: ``e<ratio>k<kernel>[se]``."""
    return f"e{block.expand_ratio}k{block.kernel_size}{'se' * block.squeeze_excite}"


def path_sets(choices: Iterable[Named], most: int) -> Iterator[Named]:
    """Yield the token and the choice of every set of 2 to ``most`` blocks of these candidates."""
    blocks = [(token, choice) for token, choice in choices if not choice.is_skip]
    for count in range(2, most + 1):
        for members in combinations(blocks, count):
            (_, first), *others = members
            yield JOIN.join(token for token, _ in members), replace(first, beside=tuple(c for _, c in others))


def members_of(token: str) -> list[str]:
    """Return the tokens of a set's blocks; for a token that is not a set, the token itself."""
    return token.split(JOIN)


def without_sets(tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the tokens that are not sets."""
    return tuple(token for token in tokens if JOIN not in token)
