"""Measure inside a supernet: similarity of the outputs of parallel choices, and shifts from path to path.

All similarities are cosines: of whole feature maps, flattened over channels and pixels and averaged over images, or of
gradients, flattened over the parameters of a block.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.batchnorm import batch_statistics
from scarlet_zoo.models.supernet import Supernet


@dataclass(frozen=True, slots=True)
class LayerSimilarity:
    """Similarity of the choices of one layer, given the same input.

    Attributes:
        layer: index of the layer.
        skip: mean cosine of the skip's output with each other choice's.
        blocks: mean cosine between the outputs of two blocks.
        skip_norm: mean norm of the skip's output over that of the blocks'.
        matrix: mean cosine of every pair of choices, in the order of the layer's tokens.
    """

    layer: int
    skip: float
    blocks: float
    skip_norm: float
    matrix: tuple[tuple[float, ...], ...]


def cosine(one: Tensor, other: Tensor) -> float:
    """Return the cosine of two tensors, flattened after the first axis, as a mean over that axis."""
    return float(functional.cosine_similarity(one.flatten(1), other.flatten(1), dim=1).mean())


def parallel_outputs(supernet: Supernet, layer: int, images: Tensor, archs: Sequence[Arch]) -> list[dict[str, Tensor]]:
    """Return the outputs of every choice of a layer for the same input, for each path that leads there.

    Batch norms use the statistics of the batch, which are those of a path after precise BN on these images.

    Raises:
        ScarletError: the layer has sets of paths instead of single choices.
    """
    choices = supernet.layers[layer]
    if not isinstance(choices, nn.ModuleDict):
        raise ScarletError(f"supernet, layer {layer}: got sets of paths, wanted single choices")
    outputs = []
    with torch.inference_mode(), batch_statistics(supernet):
        for arch in archs:
            x = features_before(supernet, layer, images, arch)
            outputs.append({token: choices[token](x) for token in supernet.space.layers[layer].tokens})
    return outputs


def features_before(supernet: Supernet, layer: int, images: Tensor, arch: Arch) -> Tensor:
    """Return the input (N, C, H, W) of a layer on the path of an architecture without branches."""
    x: Tensor = supernet.first(supernet.bn1(supernet.conv_stem(images)))
    for choices, token in zip(supernet.layers[:layer], arch.tokens, strict=False):
        x = choices[token](x)  # type: ignore[index]
    return x


def layer_similarity(supernet: Supernet, layer: int, images: Tensor, archs: Sequence[Arch]) -> LayerSimilarity:
    """Compute cosines between the outputs of a layer's choices, averaged over images and paths that lead there.

    Figure 1 of SCARLET-NAS shows this for one layer of a trained supernet (caption).

    Args:
        supernet: a trained supernet without branches.
        layer: index of a layer that may be skipped.
        images: normalised images, (N, C, H, W).
        archs: paths; only their choices before this layer matter.

    Raises:
        ScarletError: the layer cannot be skipped.
    """
    tokens = supernet.space.layers[layer].tokens
    skips = [token for token in tokens if supernet.space.choice(token).is_skip]
    if len(skips) != 1:
        raise ScarletError(f"supernet, layer {layer}: got no skip among {' '.join(tokens)}, wanted one")
    (skip,) = skips
    sums, ratios = dict.fromkeys(combinations(tokens, 2), 0.0), []
    outputs = parallel_outputs(supernet, layer, images, archs)
    for by_token in outputs:
        for one, other in sums:
            sums[one, other] += cosine(by_token[one], by_token[other]) / len(outputs)
        norms = {token: float(by_token[token].flatten(1).norm(dim=1).mean()) for token in tokens}
        ratios.append(norms[skip] / (sum(norms[t] for t in tokens if t != skip) / (len(tokens) - 1)))
    pairs: Mapping[frozenset[str], float] = {frozenset(pair): value for pair, value in sums.items()}
    matrix = tuple(tuple(1.0 if a == b else pairs[frozenset((a, b))] for b in tokens) for a in tokens)
    with_skip = [value for pair, value in pairs.items() if skip in pair]
    without = [value for pair, value in pairs.items() if skip not in pair]
    return LayerSimilarity(layer, _mean(with_skip), _mean(without), _mean(ratios), matrix)


def feature_shift(supernet: Supernet, images: Tensor, pairs: Iterable[tuple[Arch, Arch]]) -> list[float]:
    """Compute the feature shift of Pi-NAS: for each layer, 1 minus the cosine of the inputs that two paths give it.

    Returns:
        A mean over pairs and images for each layer; the first is 0, since nothing before it differs.
    """
    shifts: list[list[float]] = [[] for _ in supernet.space.layers]
    with torch.inference_mode(), batch_statistics(supernet):
        for one, other in pairs:
            for layer, shift in enumerate(shifts):
                fed = [features_before(supernet, layer, images, arch) for arch in (one, other)]
                shift.append(1 - cosine(fed[0], fed[1]))
    return [_mean(shift) for shift in shifts]


def parameter_shift(supernet: Supernet, images: Tensor, targets: Tensor, rng: random.Random, pairs: int) -> list[float]:
    """Compute the parameter shift of Pi-NAS: for each layer, 1 minus the cosine of the gradients of two paths.

    It measures how differently two paths pull the same weights. The two paths share the layer's block, and all other
    layers are drawn anew. Weights are not changed.

    Returns:
        A mean over pairs for each layer.
    """
    criterion, found = nn.CrossEntropyLoss(), []
    with batch_statistics(supernet):
        for layer, choices in enumerate(supernet.layers):
            shifts = []
            for _ in range(pairs):
                token = rng.choice([t for t in supernet.space.layers[layer].tokens
                                    if not supernet.space.choice(t).is_skip])  # fmt: skip
                archs = [_with(Arch.sample(supernet.space, rng), layer, token) for _ in range(2)]
                block = list(choices[token].parameters())  # type: ignore[index]
                grads = []
                for arch in archs:
                    loss = criterion(supernet(images, arch), targets)
                    grads.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, block)])[None])
                shifts.append(1 - cosine(grads[0], grads[1]))
            found.append(_mean(shifts))
    return found


def _with(arch: Arch, layer: int, token: str) -> Arch:
    tokens = [*arch.tokens]
    tokens[layer] = token
    return Arch.of(arch.space, tokens)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
