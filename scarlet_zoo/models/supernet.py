"""A weight-sharing supernet: every choice of every layer at once, one path of it at a time.

Its parts are the parts of the plain networks: the block that stands in layer 4 for ``e3k5se`` is
the ``InvertedResidual`` that timm builds for a network with ``e3k5se`` there. A subnet is that plain
network with copied weights, so what a path scores is what the subnet computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch, block_names, branch_plan
from scarlet_zoo.arch.branches import edge_name
from scarlet_zoo.arch.choices import without_sets
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import ArchError, CheckpointError, ScarletError
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.branched import FeatureMaps, make_branches
from scarlet_zoo.models.path_sets import PathSets
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.scarlet_net import ScarletNet
from scarlet_zoo.models.weights.checkpoint import load_state, save_state

# What may stand on a skip: a stabilizer in one of its initialisations, or nothing.
PLAIN_SKIP = "plain"
SKIPS = (*Stabilizer.INITS, PLAIN_SKIP)
# Parts that every path shares: name here, name in the plain network.
_SHARED = {
    "conv_stem": "conv_stem",
    "bn1": "bn1",
    "first": "blocks.0.0",
    "conv_head": "conv_head",
    "bn2": "bn2",
    "classifier": "classifier",
}


class Supernet(nn.Module):
    """Every network of a search space, sharing weights: images (N, C, H, W) and an architecture to logits.

    Parameters of choices that are not on the path are not touched: their gradients stay None, so
    that neither momentum nor weight decay moves them, and their batch norms see nothing.

    Args:
        space: the search space.
        skip: what stands where a layer is skipped: a :class:`Stabilizer` initialised as ``identity``
            (our default: training starts from plain skips), ``orthogonal`` or ``kaiming``; or
            ``plain``, nothing, for comparison. SCARLET-NAS section 3 has the stabilizer; which
            initialisation its authors used is not known.

    Attributes:
        layers: for each searchable layer its choices by token, or its :class:`PathSets`.
        branches: a block for each branch that there may be, whatever the choices of the layers.
    """

    def __init__(self, space: SearchSpace, skip: str = "identity") -> None:
        if skip not in SKIPS:
            raise ScarletError(f"supernet's skip: got {skip!r}, wanted one of {' '.join(SKIPS)}")
        super().__init__()
        self.space, self.skip = space, skip
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
        # Where the tokens of a layer came in another order than the space names them.
        for index, layer in enumerate(space.layers):
            choices = self.layers[index]
            assert isinstance(choices, nn.ModuleDict)
            ordered = {token: choices[token] for token in without_sets(layer.tokens)}
            choices.clear()
            choices.update(ordered)
            if space.most_paths > 1:
                self.layers[index] = PathSets(ordered, space.most_paths)
        self.branches = make_branches((branch_plan(space, edge) for edge in space.branches), space.activation)

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
        """Logits (N, classes) of one path.

        Raises:
            ArchError: an architecture of another space.
        """
        logits: Tensor = self.classifier(self.features(images, arch))
        return logits

    def features(self, images: Tensor, arch: Arch) -> Tensor:
        """Pooled features (N, head width) of one path: what the classifier is given."""
        self._check(arch)
        maps = FeatureMaps(self.branches, arch.branches)
        x = maps.at(0, self.first(self.bn1(self.conv_stem(images))))
        for node, (choices, token) in enumerate(zip(self.layers, arch.tokens, strict=True), start=1):
            x = maps.at(node, choices(x, token) if isinstance(choices, PathSets) else choices[token](x))  # type: ignore[index]
        pooled: Tensor = self.global_pool(self.bn2(self.conv_head(x)))
        return pooled

    def on_path(self, arch: Arch) -> tuple[str, ...]:
        """Names of the modules that an architecture runs through, the shared ones first."""
        return tuple(self._modules_of(arch))

    def subnet(self, arch: Arch) -> ScarletNet:
        """The plain network of an architecture with copied weights, and stabilizers where it skips.

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
        model.load_state_dict(state)
        return model.train(self.training)

    def _modules_of(self, arch: Arch) -> dict[str, str]:
        """Names of the modules on a path: here, and in the plain network."""
        names = block_names(arch, stabilized=self.skip != PLAIN_SKIP)
        branches = [f"branches.{edge_name(edge)}" for edge in arch.branches]
        layers: dict[str, str] = {}
        for i, name in names.items():
            choices, token = self.layers[i], arch.tokens[i]
            inside = choices.names_in(name, token) if isinstance(choices, PathSets) else {token: name}
            layers |= {f"layers.{i}.{ours}": theirs for ours, theirs in inside.items()}
        return {**_SHARED, **layers, **dict(zip(branches, branches, strict=True))}

    def _check(self, arch: Arch) -> None:
        if arch.space is not self.space and arch.space != self.space:
            raise ArchError(f"architecture {arch}: of space {arch.space.name!r}, wanted one of {self.space.name!r}")


def _cover(space: SearchSpace) -> Iterator[Arch]:
    """Architectures that between them hold every token of every layer; of sets, their single blocks."""
    layers = [without_sets(layer.tokens) for layer in space.layers]
    for number in range(max(map(len, layers))):
        yield Arch.of(space, (tokens[number % len(tokens)] for tokens in layers))


def save_supernet(supernet: Supernet, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a supernet's tensors with its search space and its kind of skip, atomically."""
    own = {"space": supernet.space.to_json(), "skip": supernet.skip}
    save_state(supernet.state_dict(), path, {**metadata, **own})


def load_supernet(path: Path) -> tuple[Supernet, dict[str, str]]:
    """Rebuild a supernet from :func:`save_supernet`'s file; returns it in eval mode, and the file's metadata.

    Raises:
        CheckpointError: missing, broken, or no supernet.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        state = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file, wanted the supernet.safetensors of supernet train") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: broken, wanted the supernet.safetensors of supernet train") from error
    if not {"space", "skip"} <= metadata.keys():
        raise CheckpointError(f"{path}: no supernet, wanted the supernet.safetensors of supernet train")
    with torch.random.fork_rng(devices=[]):
        supernet = Supernet(SearchSpace.from_json(metadata["space"]), metadata["skip"])
    load_state(supernet, state, path)
    return supernet.eval(), metadata
