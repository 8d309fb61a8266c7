"""Weight entanglement: the choices of a layer are slices of one block, so that all of them train the same weights.

As in once-for-all (arXiv 1908.09791, section 3.3) and BigNAS (arXiv 2003.11142, section 3.1): a smaller kernel is the
centre of the largest, a smaller expansion the first hidden channels. Batch norms and the squeeze-and-excitation gate
are sliced in the same way, as BigNAS does. Once-for-all also learns a matrix that turns a large kernel's centre into a
smaller kernel, which is left out here. The last batch norm, behind the projection, is whole in every choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from timm.models import _efficientnet_blocks as timm_blocks
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import LayerPlan
from scarlet_zoo.arch.choices import Choice
from scarlet_zoo.models.blocks import mbconv_arguments


class EntangledBlocks(nn.Module):
    """A layer of a supernet whose blocks are slices of one block.

    Args:
        choices: the plain network's module for each token.
        meanings: the choice that each token names.
        plan: the layer's plan.
        activation: activation inside the blocks, by timm's name.

    Attributes:
        whole: the block with the largest expansion and kernel, and a gate if any choice has one: all of the weights.
        forms: for each token a block without weights of its own, which computes with slices of the whole.
        skips: the skip's module, by its token; empty if the layer cannot be skipped.
    """

    def __init__(
        self, choices: Mapping[str, nn.Module], meanings: Mapping[str, Choice], plan: LayerPlan, activation: str
    ) -> None:
        super().__init__()
        blocks = {token: module for token, module in choices.items() if not meanings[token].is_skip}
        named = [meanings[token] for token in blocks]
        largest = Choice(
            expand_ratio=max(choice.expand_ratio for choice in named),
            kernel_size=max(choice.kernel_size for choice in named),
            squeeze_excite=any(choice.squeeze_excite for choice in named),
        )
        self.whole = timm_blocks.InvertedResidual(**mbconv_arguments(plan, largest, activation))
        efficientnet_init_weights(self.whole)
        self.whole.has_skip = bool(next(iter(blocks.values())).has_skip)
        self.skips = nn.ModuleDict({token: module for token, module in choices.items() if token not in blocks})
        self._shapes = {token: _shapes(block) for token, block in blocks.items()}
        self.forms = nn.ModuleDict({token: _without_tensors(block) for token, block in blocks.items()})

    def forward(self, x: Tensor, token: str) -> Tensor:
        """Return the output of a token's block, which is computed with slices of the whole."""
        if token in self.skips:
            skipped: Tensor = self.skips[token](x)
            return skipped
        form = self.forms[token]
        with _holding(form, self.slices(token)):
            y: Tensor = form(x)
        return y

    def names_in(self, block: str, token: str) -> dict[str, str]:
        """Map the name of a token's module here to its name in a plain network, where it is named ``block``."""
        return {f"skips.{token}" if token in self.skips else f"forms.{token}": block}

    def slices(self, token: str) -> dict[str, Tensor]:
        """Return the slices of the whole by the names of a block's tensors; what changes a slice changes the whole."""
        whole = {**dict(self.whole.named_parameters()), **dict(self.whole.named_buffers())}
        return {name: _slice(whole[name], shape) for name, shape in self._shapes[token].items()}


def _slice(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The first channels of a tensor, and the centre of its kernel."""
    part = []
    for axis, (have, want) in enumerate(zip(tensor.shape, shape, strict=True)):
        start = 0 if axis < 2 else (have - want) // 2
        part.append(slice(start, start + want))
    return tensor[tuple(part)]


def _shapes(block: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in block.state_dict().items()}


def _places(block: nn.Module, name: str) -> tuple[nn.Module, str]:
    owner, _, attribute = name.rpartition(".")
    return block.get_submodule(owner), attribute


def _without_tensors(block: Any) -> nn.Module:
    """Take a block's parameters and buffers away, so that they are plain attributes, None while the block rests."""
    for name in list(block.state_dict()):
        owner, attribute = _places(block, name)
        owner._parameters.pop(attribute, None)
        owner._buffers.pop(attribute, None)
        _put(owner, attribute, None)
    form: nn.Module = block
    return form


@contextmanager
def _holding(form: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a block its tensors while the ``with`` block runs."""
    places = [(*_places(form, name), tensor) for name, tensor in tensors.items()]
    try:
        for owner, attribute, tensor in places:
            _put(owner, attribute, tensor)
        yield
    finally:
        for owner, attribute, _ in places:
            _put(owner, attribute, None)


def _put(owner: nn.Module, attribute: str, tensor: Tensor | None) -> None:
    """Set a tensor as a plain attribute, which is not in the state; a norm at rest must not ask for statistics."""
    object.__setattr__(owner, attribute, tensor)
    if attribute == "running_mean":
        object.__setattr__(owner, "track_running_stats", tensor is not None)
