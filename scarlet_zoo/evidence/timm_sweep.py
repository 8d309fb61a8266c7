"""One small network of each of timm's families, through every stage from creation to int8.

The networks come from timm's registry: a family is one of its modules, and a module counts if its smallest network has
at least five convolutions with kernels larger than one pixel. Networks that multiply two tensors of data as matrices,
as attention does, are called hybrid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import timm.data
import torch
from PIL import Image
from timm.models import _registry as registry
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scarlet_zoo.deployment.optimize import optimize_file
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.verify import verify
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.quantization.golden import KEY, check_golden
from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8
from scarlet_zoo.models.loading import Network, load_network

STAGES = ("create", "fold", "export", "verify", "optimize", "int8")
# Bounds of the SQNR in dB that int8 should reach on images that it was not calibrated on.
CONVOLUTIONAL_DB, HYBRID_DB = 25.0, 20.0
# Side of the images in pixels, for networks that take any side; others have their own.
SIDE = 128
_SPATIAL_CONVOLUTIONS = 5
_LARGEST_PARAMS = 140_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """The smallest network of a family.

    Attributes:
        family: name of timm's module.
        name: name of the network.
        params: number of parameters.
        kind: ``convolutional`` or ``hybrid``.
    """

    family: str
    name: str
    params: int
    kind: str


def members(families: Collection[str] | None = None) -> Iterator[Member]:
    """Yield the smallest network of each convolutional or hybrid family of the installed timm, in order of family.

    Args:
        families: names of the families that are looked at; all when left out.
    """
    for family, names in sorted(registry._module_to_models.items()):
        if families is not None and family not in families:
            continue
        candidates = sorted(name for name in names if name not in registry._deprecated_models and "test_" not in name)
        if "scarlet" in family or not candidates or not _is_convolutional(_on_meta(candidates[0])):
            continue
        sizes = {name: sum(p.numel() for p in _on_meta(name).parameters()) for name in candidates}
        name = min(sizes, key=lambda name: (sizes[name], name))
        model = _on_meta(name)
        if _is_convolutional(model) and sizes[name] <= _LARGEST_PARAMS:
            yield Member(family, name, sizes[name], "hybrid" if _has_attention(model) else "convolutional")


def _on_meta(name: str) -> nn.Module:
    """A network without memory for its weights."""
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name)
    return model


def _is_convolutional(model: nn.Module) -> bool:
    spatial = [module for module in model.modules() if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1]
    return len(spatial) >= _SPATIAL_CONVOLUTIONS


def _has_attention(model: nn.Module) -> bool:
    """Whether a network multiplies two tensors of data as matrices; counted in a pass without memory."""
    images = torch.zeros(2, *timm.data.resolve_model_data_config(model)["input_size"], device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(images)
    kinds = {str(operator) for operator in counter.get_flop_counts()["Global"]}
    return any(word in kind for kind in kinds for word in ("bmm", "attention"))


def sweep_one(member: Member, images: Sequence[Image.Image], folder: Path, side: int = SIDE) -> dict[str, Any]:
    """Take a network through all stages, with random weights; a stage that fails ends the way.

    Args:
        member: the network.
        images: photographs; the last quarter is not calibrated on.
        folder: folder for its files.
        side: side of the images in pixels, where the network takes it.

    Returns:
        The member's fields, ``side``, and for each stage that was reached ``seconds`` and either ``error`` or its
        numbers.
    """
    row: dict[str, Any] = {"family": member.family, "name": member.name, "kind": member.kind, "params": member.params}
    native, int8 = folder / "native.onnx", folder / "int8.onnx"
    state: dict[str, Any] = {}

    def create() -> dict[str, Any]:
        state["network"] = _load(member.name, side)
        return {"side": state["network"].preprocessing.size[0]}

    def export() -> dict[str, Any]:
        network: Network = state["network"]
        artifact = export_onnx(
            network.model, native, weights=network.weights, labels=network.labels, preprocessing=network.preprocessing
        )
        return {"bytes": native.stat().st_size, "opset": artifact.opset}

    def verified() -> dict[str, Any]:
        parity = verify(state["network"].model, native, preprocessing=state["network"].preprocessing)
        return {"sqnr_db": parity.sqnr_db, "max_rel_err": parity.max_rel_err}

    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "create": create,
        "fold": lambda: _folded(state["network"]),
        "export": export,
        "verify": verified,
        "optimize": lambda: {"sqnr_db": optimize_file(native, folder / "optimized.onnx", "blocked").parity.sqnr_db},
        "int8": lambda: _quantized(state["network"], native, int8, images, member.kind),
    }
    for stage in STAGES:
        row[stage] = _timed(stages[stage])
        if "error" in row[stage]:
            break
    return row


def _load(name: str, side: int) -> Network:
    """Load a network for small images where it takes them, else for its own."""
    try:
        return load_network(name, "random", input_size=side)
    except ScarletError:
        return load_network(name, "random")


def _folded(network: Network) -> dict[str, Any]:
    result = fold(network.model)
    return {"max_rel_diff": result.max_rel_diff, "steps": len(result.steps), "skipped": len(result.skipped)}


def _quantized(network: Network, native: Path, int8: Path, images: Sequence[Image.Image], kind: str) -> dict[str, Any]:
    prepared = network.preprocessing.batch(images)
    least = CONVOLUTIONAL_DB if kind == "convolutional" else HYBRID_DB
    made = quantize_int8(native, int8, prepared, Int8(least_sqnr_db=least))
    golden = check_golden(read_artifact(int8)).passed if KEY in made.artifact.metadata else None
    return {"sqnr_db": made.sqnr_db, "top1_agreement": made.top1_agreement, "spread": made.spread,
            "left_in_float": sum(made.left.values()), "layers_kept_float": len(made.kept),
            "golden_passed": golden, "bytes": int8.stat().st_size}  # fmt: skip


def _timed(stage: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a stage with its seconds, or its error in one line."""
    start = time.perf_counter()
    try:
        found = stage()
    except Exception as error:
        # Any error is an outcome that the table must show, whoever raised it.
        found = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
    return {"seconds": round(time.perf_counter() - start, 2), **found}
