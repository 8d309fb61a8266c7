"""A weight-sharing supernet: it holds every choice of every layer and runs one path at a time.

It consists of the blocks of plain networks: its block ``e3k5se`` of layer 4 is the ``InvertedResidual``
that timm builds for a network with ``e3k5se`` in that layer. A subnet is the plain network with copied
weights, so it computes exactly what the path in the supernet computes. In an entangled supernet the blocks
of a layer are slices of one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch, block_names, branch_plan
from scarlet_zoo.arch.branches import edge_name
from scarlet_zoo.arch.choices import without_sets
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import ArchError, CheckpointError, ScarletError
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.branched import FeatureMaps, make_branches
from scarlet_zoo.models.entangled import EntangledBlocks
from scarlet_zoo.models.path_sets import PathSets, with_norms_of_expansions
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.scarlet_net import ScarletNet
from scarlet_zoo.models.weights.checkpoint import file_metadata, save_state
from scarlet_zoo.models.weights.strict import load_state
from scarlet_zoo.utils.files import in_text

# What a skipped layer may hold: a stabilizer in one of its initialisations, or nothing.
PLAIN_SKIP = "plain"
SKIPS = (*Stabilizer.INITS, PLAIN_SKIP)
# Modules that every path shares: their names here and in the plain network.
_SHARED = {
    "conv_stem": "conv_stem",
    "bn1": "bn1",
    "first": "blocks.0.0",
    "conv_head": "conv_head",
    "bn2": "bn2",
    "classifier": "classifier",
}


class Supernet(nn.Module):
    """All networks of a search space with shared weights: images (N, C, H, W) and an architecture to logits.

    Training a path does not change the choices that are not on it: their gradients stay None, so that
    neither momentum nor weight decay changes them, and their batch norms see no features.

    Args:
        space: the search space.
        skip: module of a skipped layer: a :class:`Stabilizer` initialised as ``identity`` (our default:
            training starts from plain skips), ``orthogonal`` or ``kaiming``; or ``plain``, no module, for
            comparison. SCARLET-NAS section 3 describes the stabilizer, but not its initialisation.
        entangled: whether the choices of a layer share their weights, see :class:`EntangledBlocks`.

    Attributes:
        layers: for each searchable layer its choices by token, its :class:`PathSets` or its :class:`EntangledBlocks`.
        branches: a block for each possible branch, shared by all choices of the layers.

    Raises:
        ScarletError: an unknown kind of skip, or entangled sets of paths.
    """

    def __init__(self, space: SearchSpace, skip: str = "identity", entangled: bool = False) -> None:
        if skip not in SKIPS:
            raise ScarletError(f"supernet's skip: got {skip!r}, wanted one of {' '.join(SKIPS)}")
        if entangled and space.most_paths > 1:
            raise ScarletError(f"entangled supernet: got space {space.name!r} with sets of paths, wanted a space of "
                               "single choices")  # fmt: skip
        super().__init__()
        self.space, self.skip, self.entangled = space, skip, entangled
        self.layers = nn.ModuleList(nn.ModuleDict() for _ in space.layers)
        self.first: nn.Module
        self.conv_stem: nn.Module
        self.bn1: nn.Module
        self.conv_head: nn.Module
        self.bn2: nn.Module
        self.classifier: nn.Module
        self.global_pool: nn.Module
        for arch in _cover(space):
            self._take_blocks(create_model(arch), arch)
        # The choices were added in another order; put them in the order of the space's tokens.
        for index, layer in enumerate(space.layers):
            choices = self.layers[index]
            assert isinstance(choices, nn.ModuleDict)
            ordered = {token: choices[token] for token in without_sets(layer.tokens)}
            choices.clear()
            self.layers[index] = self._layer(index, ordered)
        self.branches = make_branches((branch_plan(space, edge) for edge in space.branches), space.activation)

    def _layer(self, index: int, choices: Mapping[str, nn.Module]) -> nn.Module:
        """A layer that holds its choices as the space and the kind of sharing ask for."""
        meanings = {token: self.space.choice(token) for token in choices}
        if self.entangled:
            plan = next(_cover(self.space)).layers[index]
            return EntangledBlocks(choices, meanings, plan, self.space.activation)
        if self.space.most_paths > 1:
            expansions = {token: choice.expand_ratio for token, choice in meanings.items()}
            return PathSets(choices, expansions, self.space.most_paths)
        return nn.ModuleDict(choices)

    def _take_blocks(self, donor: nn.Module, arch: Arch) -> None:
        for here, there in _SHARED.items():
            setattr(self, here, donor.get_submodule(there))
        self.global_pool = donor.get_submodule("global_pool")
        names = block_names(arch, stabilized=False)
        for plan, choices in zip(arch.layers, self.layers, strict=True):
            assert isinstance(choices, nn.ModuleDict)
            if plan.choice.is_skip:
                plain = self.skip == PLAIN_SKIP
                choices[plan.token] = nn.Identity() if plain else Stabilizer(plan.in_chs, init=self.skip)
            else:
                choices[plan.token] = donor.get_submodule(names[plan.index])

    def forward(self, images: Tensor, arch: Arch) -> Tensor:
        """Return the logits (N, classes) of one path.

        Raises:
            ArchError: an architecture of another space.
        """
        logits: Tensor = self.classifier(self.features(images, arch))
        return logits

    def features(self, images: Tensor, arch: Arch) -> Tensor:
        """Return the pooled features (N, head width) of one path, the classifier's input."""
        self._check(arch)
        maps = FeatureMaps(self.branches, arch.branches)
        x = maps.at(0, self.first(self.bn1(self.conv_stem(images))))
        for node, (choices, token) in enumerate(zip(self.layers, arch.tokens, strict=True), start=1):
            x = maps.at(node, choices[token](x) if isinstance(choices, nn.ModuleDict) else choices(x, token))
        pooled: Tensor = self.global_pool(self.bn2(self.conv_head(x)))
        return pooled

    def on_path(self, arch: Arch) -> tuple[str, ...]:
        """Return the names of the modules on an architecture's path, the shared modules first."""
        return tuple(self._modules_of(arch))

    def subnet(self, arch: Arch) -> ScarletNet:
        """Return the plain network of an architecture with copied weights, including stabilizers of skipped layers.

        Raises:
            ArchError: an architecture of another space.
        """
        self._check(arch)
        model = create_model(arch, stabilized=self.skip != PLAIN_SKIP)
        assert isinstance(model, ScarletNet)
        own = self.state_dict()
        state: dict[str, Tensor] = {}
        for ours, theirs in self._modules_of(arch).items():
            inside = f"{ours}."
            state |= {f"{theirs}.{key.removeprefix(inside)}": own[key] for key in own if key.startswith(inside)}
        for index, name in block_names(arch, stabilized=self.skip != PLAIN_SKIP).items():
            layer, token = self.layers[index], arch.tokens[index]
            if isinstance(layer, EntangledBlocks) and token in layer.forms:
                state |= {f"{name}.{key}": value.detach() for key, value in layer.slices(token).items()}
        model.load_state_dict(state)
        return model.train(self.training)

    def _modules_of(self, arch: Arch) -> dict[str, str]:
        """Map the names of the modules on a path to their names in the plain network."""
        names = block_names(arch, stabilized=self.skip != PLAIN_SKIP)
        branches = [f"branches.{edge_name(edge)}" for edge in arch.branches]
        layers: dict[str, str] = {}
        for i, name in names.items():
            choices, token = self.layers[i], arch.tokens[i]
            own = isinstance(choices, (PathSets, EntangledBlocks)) and choices.names_in(name, token)
            inside = own or {token: name}
            layers |= {f"layers.{i}.{ours}": theirs for ours, theirs in inside.items()}
        return {**_SHARED, **layers, **dict(zip(branches, branches, strict=True))}

    def _check(self, arch: Arch) -> None:
        if arch.space is not self.space and arch.space != self.space:
            raise ArchError(f"architecture {arch}: got space {arch.space.name!r}, wanted space {self.space.name!r}")


def _cover(space: SearchSpace) -> Iterator[Arch]:
    """Yield architectures that together hold every token of every layer, except sets of paths."""
    layers = [without_sets(layer.tokens) for layer in space.layers]
    for number in range(max(map(len, layers))):
        yield Arch.of(space, (tokens[number % len(tokens)] for tokens in layers))


def save_supernet(supernet: Supernet, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a supernet's tensors, search space and kind of skip to a safetensors file, atomically."""
    own = {"space": supernet.space.to_json(), "skip": supernet.skip}
    own |= {"entangled": "true"} if supernet.entangled else {}
    save_state(supernet.state_dict(), path, {**metadata, **own})


def load_supernet(path: Path) -> tuple[Supernet, dict[str, str]]:
    """Rebuild a supernet from a file of :func:`save_supernet`; return it in eval mode, with the file's metadata.

    Raises:
        CheckpointError: the file is missing, broken, or not a supernet.
    """
    try:
        metadata = file_metadata(path)
        with in_text(path) as named:
            state = safetensors.torch.load_file(named)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file, wanted a supernet.safetensors of supernet train") from error
    except CheckpointError:
        raise
    except Exception as error:  # SafetensorError, OSError, and torch's own
        raise CheckpointError(f"{path}: broken file, wanted a supernet.safetensors of supernet train") from error
    if not {"space", "skip"} <= metadata.keys():
        raise CheckpointError(f"{path}: not a supernet, wanted a supernet.safetensors of supernet train")
    with torch.random.fork_rng(devices=[]):
        supernet = Supernet(SearchSpace.from_json(metadata["space"], path), metadata["skip"], "entangled" in metadata)
    load_state(supernet, with_norms_of_expansions(state, supernet.layers), path)
    return supernet.eval(), metadata
