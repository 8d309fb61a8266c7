"""Register this package's networks with timm, and create any network by name or architecture."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import get_space, list_spaces
from scarlet_zoo.arch.zoo import ZOO, name_of
from scarlet_zoo.errors import CheckpointError, ScarletError, looks_like_a_file, unknown_name, unknown_network
from scarlet_zoo.models.weights.cards import all_cards
from scarlet_zoo.models.weights.checkpoint import state_sha256
from scarlet_zoo.models.weights.matching import arguments_in, read_for
from scarlet_zoo.models.weights.stated import arch_named, check_counts
from scarlet_zoo.models.weights.store import find_shipped, local_weights, require_weights
from scarlet_zoo.models.weights.strict import load_tensors

# The prefix of the digest in the notes of a configuration file.
SHA256_NOTE = "sha256:"
_HEAD_ARGUMENTS: Any = ("num_classes", "num_features", "global_pool")


def space_config(space: SearchSpace) -> dict[str, Any]:
    """Return timm's data configuration for the networks of a space, as in the released evaluation code."""
    size, reduction = space.input_size, space.stem_stride
    for layer in space.layers:
        reduction *= layer.stride
    pooled = -(-size // reduction)
    return {
        "num_classes": space.num_classes,
        "input_size": (space.in_chans, size, size),
        "pool_size": (pooled, pooled),
        "crop_pct": space.crop,
        "interpolation": "bilinear",
        "mean": space.mean,
        "std": space.std,
        "first_conv": "conv_stem",
        "classifier": "classifier",
        "license": None,
    }


def _build(name: str, arch: Arch, pretrained: bool, **kwargs: Any) -> nn.Module:
    """Build a model of our classes with timm's builder; with ``feature_cls`` timm wraps it in one of its own."""
    tag = kwargs.get("pretrained_cfg")
    if pretrained and (not tag or isinstance(tag, str)):
        # timm's registry does not know which weights this machine has, so they are looked up here.
        weights_name = str(arch) if name == "scarlet_net" else f"{name}.{tag}" if tag else name
        kwargs["pretrained_cfg_overlay"] = _local_source(weights_name, kwargs)
        if not tag and not _names_source(kwargs["pretrained_cfg_overlay"]):
            require_weights(weights_name)
    features_only = kwargs.pop("features_only", False)
    if features_only:
        # All levels of the network; timm's default assumes five.
        kwargs.setdefault("out_indices", tuple(range(_levels(arch))))
    wrapped = features_only and ("feature_cfg" in kwargs or "feature_cls" in kwargs)
    listed = features_only and not wrapped
    read = dict[str, Tensor]()
    model: nn.Module = build_model_with_cfg(
        _class_of(arch, listed),
        name,
        pretrained,
        arch=arch,
        features_only=wrapped,
        pretrained_strict=not listed,
        pretrained_filter_fn=partial(_noted, read),
        kwargs_filter=_HEAD_ARGUMENTS if listed else None,
        **kwargs,
    )
    check_loaded(read, model)
    return model


def _noted(read: dict[str, Tensor], state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Check the digest of a file's tensors, and note what was read, for :func:`check_loaded`."""
    read.update(check_digest(state, model))
    return state


def _class_of(arch: Arch, listed: bool) -> type[nn.Module]:
    """Return the class for an architecture: with or without branches, classifier or feature extractor."""
    # Not imported at the top: these modules import timm, and importing timm may import this module.
    from scarlet_zoo.models.branched import BranchedFeatures, BranchedNet
    from scarlet_zoo.models.scarlet_net import ScarletFeatures, ScarletNet

    if arch.branches:
        return BranchedFeatures if listed else BranchedNet
    return ScarletFeatures if listed else ScarletNet


def _levels(arch: Arch) -> int:
    """Return timm's number of feature levels: the tensors before each reduction, and the last one."""
    return 1 + sum(layer.stride == 2 for layer in arch.space.layers)


def _local_source(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the overlay of a registered configuration, with this machine's weights file if it names no source."""
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    local = None if _names_source(overlay) else local_weights(name)
    if local is None:
        return overlay
    own = dict[str, Any](local.config)
    registered = timm.get_pretrained_cfg(name, allow_unregistered=True)
    channels = own.pop("in_chans", None)
    if channels is not None and registered is not None and "input_size" not in own:
        own["input_size"] = (channels, *registered.input_size[1:])
    return {**own, **overlay, "file": str(local.path)}


def _names_source(overlay: dict[str, Any]) -> bool:
    return any(overlay.get(key) for key in ("file", "url", "hf_hub_id", "state_dict"))


def check_digest(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Check the weights' digest against that in their configuration (``notes: ["sha256:..."]``), if there is one.

    Returns:
        The weights as they are.

    Raises:
        CheckpointError: the configuration has another digest.
    """
    wanted = _digest_of(model)
    if wanted is not None and (found := state_sha256(state)) != wanted:
        raise CheckpointError(f"weights: got tensors with sha256 {found}, wanted {wanted}")
    return state


def check_loaded(read: Mapping[str, Tensor], model: nn.Module) -> None:
    """Check that a model has the tensors of its weights file, not only that the file is the right one.

    A model that was asked for another number of classes or channels has other tensors, and is not checked.

    Args:
        read: the tensors of the file.
        model: the model that was made of them.

    Raises:
        CheckpointError: the model's tensors have another digest than its configuration says.
    """
    own, wanted = model.state_dict(), _digest_of(model)
    if wanted is None or _form_of(read) != _form_of(own):
        return
    if (found := state_sha256(own)) != wanted:
        apart = next((key for key, tensor in own.items() if not torch.equal(tensor.cpu(), read[key])), "")
        raise CheckpointError(
            f"weights: the network's tensors have sha256 {found}, wanted {wanted} of its file: {apart!r} was not loaded"
        )


def _form_of(state: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {key: (tensor.dtype, tensor.shape) for key, tensor in state.items()}


def _digest_of(model: nn.Module) -> str | None:
    """The digest of the weights in a model's configuration (``notes: ["sha256:..."]``), if there is one."""
    notes = (getattr(model, "pretrained_cfg", None) or {}).get("notes") or ()
    for note in (notes,) if isinstance(notes, str) else notes:
        if str(note).startswith(SHA256_NOTE):
            return str(note).removeprefix(SHA256_NOTE)
    return None


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(name, Arch.parse(ZOO[name].arch), pretrained, **kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{ZOO[name].name}: {ZOO[name].arch}"
    return create


def scarlet_net(
    arch: str | Arch = ZOO["scarlet_a"].arch, pretrained: bool = False, space: str | None = None, **kwargs: Any
) -> nn.Module:
    """Create the network of any architecture.

    Args:
        arch: an identity string or an ``Arch``; SCARLET-A when left out.
        pretrained: whether to load the weights of this architecture.
        space: the definition (:meth:`SearchSpace.to_json`) of a search space that this package does not know.
        kwargs: further arguments of timm's builder.
    """
    decoded = SearchSpace.from_json(space) if space is not None else None
    parsed = Arch.parse(arch, decoded) if isinstance(arch, str) else arch
    if parsed.space != get_space("scarlet"):
        # The configuration of a folder or a repository says what its weights are, the space's only what is usual.
        stored = kwargs.get("pretrained_cfg")
        stored = stored if isinstance(stored, dict) else {}
        overlay = kwargs.get("pretrained_cfg_overlay") or {}
        kwargs["pretrained_cfg_overlay"] = {**space_config(parsed.space), **stored, **overlay}
    return _build("scarlet_net", parsed, pretrained, **kwargs)


def _configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and timm configurations; the name of shipped weights includes their tag, ``name.tag``."""
    for name, entry in ZOO.items():
        config, shipped = space_config(Arch.parse(entry.arch).space), find_shipped(name)
        if shipped is None:
            yield name, config
            continue
        card = all_cards()[shipped.stem]
        pretrained = {"file": str(shipped), "license": card.licence, "label_names": card.labels}
        yield shipped.stem, {**config, **pretrained}
    yield "scarlet_net", space_config(get_space("scarlet"))


default_cfgs = generate_default_cfgs(dict(_configurations()))

for _name in ZOO:
    setattr(sys.modules[__name__], _name, register_model(_entrypoint(_name)))
register_model(scarlet_net)


def create_model(
    name: str | Arch, pretrained: bool = False, *, checkpoint_path: str | Path | None = None, **kwargs: Any
) -> nn.Module:
    """Create a network by name, identity string or :class:`Arch`; every timm name works too.

    Args:
        name: ``scarlet_a``, ``scarlet:e3k7-...``, an ``Arch``, ``resnet18``, ``hf-hub:...``.
        pretrained: load the weights that were imported for the name, else those that this package ships for it,
            else those that timm has registered (:func:`scarlet_zoo.models.weights.store.local_weights`).
        checkpoint_path: weights file to load, in which every tensor must match: safetensors, a state dict, a training
            checkpoint, of which averaged weights are taken where there are any, or a checkpoint of the released
            SCARLET code. The numbers of classes and channels are the file's, unless ``kwargs`` state them.
        kwargs: further arguments of ``timm.create_model``; ``stabilized=True`` adds stabilizers.

    Raises:
        UnknownNameError: there is no such network; the message lists similar names.
        ArchError: an invalid identity string.
        CheckpointError: the weights file does not hold this network's weights.
    """
    if checkpoint_path is not None:
        return create_from_file(name, Path(checkpoint_path), **kwargs)[0]
    return _timm_model(*_registered(name, kwargs), pretrained)


def create_from_file(name: str | Arch, path: Path, **kwargs: Any) -> tuple[nn.Module, str]:
    """Create a network with the weights of a file, as :func:`create_model` does.

    Returns:
        The network, and in brackets what was taken of a file that holds averaged weights; empty for other files.

    Raises:
        CheckpointError: the weights file does not hold this network's weights.
    """
    registered, arguments = _registered(name, kwargs)
    if arguments.get("features_only") and registered not in ZOO and registered != "scarlet_net":
        return _features_from_file(registered, path, arguments)
    model = _timm_model(registered, arguments)
    found = read_for(model, path)
    told = {key: count for key, count in arguments_in(model, found).items() if kwargs.get(key) is None}
    if told:
        model = _timm_model(registered, {**arguments, **told})
        found = read_for(model, path)
    load_tensors(model, found)
    return model, found.note


def _features_from_file(name: str, path: Path, arguments: dict[str, Any]) -> tuple[nn.Module, str]:
    """Load a file into the classifier, whose names it has, and let timm make the feature extractor of it."""
    of_classifier = {key: value for key, value in arguments.items() if not key.startswith(("feature", "out_indices"))}
    full, note = create_from_file(name, path, **of_classifier)
    overlay = {**arguments.get("pretrained_cfg_overlay", {}), "state_dict": full.state_dict(), "source": "",
               "num_classes": full.num_classes}  # fmt: skip
    model = _timm_model(name, {**arguments, "in_chans": getattr(full, "in_chans", None),
                               "pretrained_cfg_overlay": overlay}, pretrained=True)  # fmt: skip
    cast("dict[str, Any]", model.pretrained_cfg)["state_dict"] = None
    return model, note


def _registered(name: str | Arch, kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments by which timm creates a network."""
    if isinstance(name, str) and is_identity_string(name):
        name = arch_named(name)
    if not isinstance(name, Arch):
        return name, kwargs
    registered = name_of(name)
    if registered is not None:
        return registered, kwargs
    # A string, because timm writes a model's arguments into its configuration file.
    arguments = {**kwargs, "arch": str(name)}
    if name.space.name not in list_spaces() or get_space(name.space.name) != name.space:
        arguments["space"] = name.space.to_json()
    return "scarlet_net", arguments


def _timm_model(name: str, kwargs: dict[str, Any], pretrained: bool = False) -> nn.Module:
    if looks_like_a_file(name):
        raise unknown_name("model", name, ())
    check_counts(name, kwargs)
    source, _ = _parse_name(name)
    if source is None and not timm.is_model(name.partition(".")[0]):
        # Our names come first, because the first names are shown if no name is similar.
        raise unknown_network(name, dict.fromkeys([*ZOO, *timm.list_models()]))
    if pretrained and source is None:
        kwargs = {**kwargs, "pretrained_cfg_overlay": _local_source(kwargs.get("arch", name), kwargs)}
    # The hub's client logs every retry; the final error is enough.
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **kwargs)
    except (ScarletError, TypeError):
        raise
    except Exception as error:
        # timm raises many kinds of exceptions for an unknown tag or a missing folder or repository.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ScarletError(f"model {name!r}: {reason}") from error
    finally:
        logger.setLevel(level)
    return model


def _parse_name(name: str) -> tuple[str | None, str]:
    try:
        source, rest = timm.models.parse_model_name(name)
        return source, rest
    except ValueError as error:
        raise ScarletError(f"model {name!r}: {error}".replace("\n", " ")) from error
