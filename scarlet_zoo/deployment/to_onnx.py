"""A network to an ONNX file: traced by torch, spelled for the runtime, described, checked, renamed into place."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.trace import INPUT_NAME, Recipe, trace
from scarlet_zoo.errors import ExportError
from scarlet_zoo.folding.fold import FoldResult, fold
from scarlet_zoo.folding.probe import model_dtype
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.passes.lower import lower, store_float16_weights, take_uint8_input
from scarlet_zoo.models.loading import preprocessing_of
from scarlet_zoo.utils.files import replacing

OUTPUT_NAME = "logits"
PIXELS_LAYOUT = "NHWC uint8"


def export_onnx(
    model: nn.Module | FoldResult,
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    weights: str = "not stated",
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Artifact:
    """Export a network to ONNX, folded, in the form that ONNX Runtime fuses.

    The file has an input ``input`` (N, C, H, W) and an output ``logits`` (N, classes), both
    float32; a ``features_only`` model has an output ``level<i>`` (N, C_i, H_i, W_i) for each
    level that it taps. It describes itself in ``metadata_props``. It is checked strictly, written beside
    its place and renamed; the same model and recipe give the same bytes.

    Args:
        model: a network in eval mode, or a fold of one; a network is folded first.
        path: of the file.
        recipe: how; the defaults when left out.
        weights: where the weights come from, for the file's metadata.
        labels: class names in the order of the logits, for the file's metadata.
        preprocessing: what the network wants to be fed; timm's configuration of it when left out.

    Raises:
        ExportError: train mode, an input that does not fit, a checker's refusal, or a file that
            is not what was asked for.
    """
    recipe, path = recipe or Recipe(), Path(path)
    # A half-precision network is folded in the float32 that is written, not in its own dtype.
    folded = model if isinstance(model, FoldResult) else fold(_in_float32(_in_eval_mode(model)))
    feed = preprocessing or preprocessing_of(folded.model)
    size = recipe.input_size or feed.size
    images = torch.zeros((recipe.batch or 2, feed.channels, *size))
    if labels is not None and len(labels) != (classes := _classes(folded.model, images)):
        raise ExportError(f"labels: got {len(labels)}, wanted {classes}, one a class")
    graph = trace(_in_float32(folded.model), images, recipe, output_names(folded.model))
    common.ShapeInferencePass()(graph)
    lower(graph, recipe.form)
    if recipe.pixels:
        take_uint8_input(graph, feed.mean, feed.std)
    if recipe.float16_weights:
        store_float16_weights(graph)
    _describe(graph, folded, recipe, weights, labels, replace(feed, size=size))
    norms_left = sum(_is_norm(folded.model, skipped.site) for skipped in folded.skipped)
    return _write(graph, path, recipe, _Expected(output_names(folded.model), norms_left))


def _in_eval_mode(model: nn.Module) -> nn.Module:
    if model.training:
        raise ExportError("export: the model is in train mode, wanted model.eval()")
    return model


def _in_float32(model: nn.Module) -> nn.Module:
    return model if model_dtype(model) == torch.float32 else copy.deepcopy(model).float()


def feature_levels(model: nn.Module) -> list[dict[str, Any]]:
    """The levels that a ``features_only`` model gives: ``name level stride channels``; none for a classifier."""
    info: Any = getattr(model, "feature_info", None)
    if not hasattr(info, "out_indices") or hasattr(model, "classifier"):
        return []
    described = zip(info.out_indices, info.reduction(), info.channels(), strict=True)
    return [
        {"name": f"level{index}", "level": index, "stride": stride, "channels": channels}
        for index, stride, channels in described
    ]


def output_names(model: nn.Module) -> list[str]:
    """Names of a network's outputs in its file."""
    return [level["name"] for level in feature_levels(model)] or [OUTPUT_NAME]


def _classes(model: nn.Module, images: torch.Tensor) -> int:
    """How many logits a network gives: as timm's networks say, or as many as come out of it."""
    stated: Any = getattr(model, "num_classes", None)
    if stated is not None:
        return int(stated)
    with torch.inference_mode():
        return int(model(images.to(model_dtype(model))).shape[-1])


def _describe(
    graph: ir.Model,
    folded: FoldResult,
    recipe: Recipe,
    weights: str,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing,
) -> None:
    common.ClearMetadataAndDocStringPass()(graph)
    graph.ir_version = recipe.file_format
    graph.producer_name, graph.producer_version = "scarlet-zoo", version("scarlet-zoo")
    graph.graph.name = type(folded.model).__name__
    arch: Arch | None = getattr(folded.model, "arch", None)
    described: dict[str, Any] = {
        **({"arch": str(arch), "space": arch.space.to_json()} if arch is not None else {}),
        "model": (getattr(folded.model, "pretrained_cfg", None) or {}).get("architecture", graph.graph.name),
        "weights": weights,
        "weights_sha256": folded.weights_sha256,
        "fold_certificate_sha256": folded.certificate_sha256(),
        "preprocessing": preprocessing.to_json(),
        "form": recipe.form,
        "precision": "float16 weights" if recipe.float16_weights else "float32",
        "versions": json.dumps({name: version(name) for name in ("scarlet-zoo", "torch", "timm", "onnx")}),
    }
    levels = feature_levels(folded.model)
    if levels:
        described["features"] = json.dumps(levels)
    if recipe.pixels:
        described["input_layout"] = PIXELS_LAYOUT
    if labels is not None:
        described["labels"] = json.dumps(list(labels), ensure_ascii=False)
    graph.metadata_props.clear()
    graph.metadata_props.update(described)


def _is_norm(model: nn.Module, site: str) -> bool:
    return isinstance(model.get_submodule(site), (nn.BatchNorm1d, nn.BatchNorm2d))


@dataclass(frozen=True)
class _Expected:
    """What the file must have besides what the recipe asks for."""

    outputs: list[str]
    norms: int


def _write(graph: ir.Model, path: Path, recipe: Recipe, expected: _Expected) -> Artifact:
    proto = ir.serde.serialize_model(graph)
    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: the checker refuses the graph: {str(error).splitlines()[0]}") from error
    _assert_as_asked(proto, path, recipe, expected)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return read_artifact(path)


def _assert_as_asked(proto: onnx.ModelProto, path: Path, recipe: Recipe, expected: _Expected) -> None:
    """The exporters are known to write another opset than asked for and to say nothing."""
    opsets: Mapping[str, int] = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets != {"": recipe.opset}:
        raise ExportError(f"{path}: got opsets {dict(opsets)}, wanted {recipe.opset}")
    if proto.ir_version != recipe.file_format:
        raise ExportError(f"{path}: got IR version {proto.ir_version}, wanted {recipe.file_format}")
    names = [value.name for value in (*proto.graph.input, *proto.graph.output)]
    wanted = [INPUT_NAME, *expected.outputs]
    if names != wanted:
        raise ExportError(f"{path}: got inputs and outputs {' '.join(names)}, wanted {' '.join(wanted)}")
    norms = [node.name for node in proto.graph.node if node.op_type == "BatchNormalization"]
    if len(norms) > expected.norms:
        raise ExportError(f"{path}: {len(norms)} batch norms are left ({norms[0]}), wanted {expected.norms}")
