"""Write a network as an ONNX file: trace it, lower it to a graph variant, add metadata, check it, and save it."""

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
import timm
import torch
from onnx_ir.passes import common
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.trace import INPUT_NAME, Recipe, trace_somehow
from scarlet_zoo.errors import ExportError
from scarlet_zoo.folding.fold import FoldResult, fold
from scarlet_zoo.folding.probe import model_dtype
from scarlet_zoo.graph.artifact import PREPROCESSING_GIVEN, Artifact, read_artifact
from scarlet_zoo.graph.denormals import flush_denormals
from scarlet_zoo.graph.passes.lower import lower, store_float16_weights, take_uint8_input
from scarlet_zoo.models.loading import preprocessing_of
from scarlet_zoo.utils.files import replacing
from scarlet_zoo.utils.names import in_utf8

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
    source: str | None = None,
    split: str | None = None,
    preprocessing_given: bool = False,
) -> Artifact:
    """Export a network to ONNX, folded, in a graph variant that ONNX Runtime fuses.

    The file has an input ``input`` (N, C, H, W) and an output ``logits`` (N, classes), both
    float32; a ``features_only`` model has an output ``level<i>`` (N, C_i, H_i, W_i) for each
    of its levels. Its ``metadata_props`` describe it. It is checked strictly, written under a temporary name
    and renamed; the same model and recipe give the same bytes.

    Args:
        model: a network in eval mode, which is folded first, or a fold result.
        path: where to write the file.
        recipe: settings of the export; the defaults when left out.
        weights: where the weights come from, for the file's metadata.
        labels: class names in the order of the logits, for the file's metadata.
        preprocessing: how the network's images are prepared; timm's configuration of it when left out.
        source: for a network of a folder or of the hub the name that creates it again, for the file's metadata.
        split: which images were set aside for validation, as a training states it, for the file's metadata.
        preprocessing_given: whether someone gave the preprocessing, so that it is no fault where it is not the
            network's own; for the file's metadata.

    Raises:
        ExportError: the model is in train mode, does not take the input size, or gives a graph that ONNX's checker
            refuses or that does not follow the recipe.
    """
    recipe, path = recipe or Recipe(), Path(path)
    # A half-precision network is folded in float32, the precision of the file.
    folded = model if isinstance(model, FoldResult) else fold(_in_float32(_in_eval_mode(model)))
    feed = preprocessing or preprocessing_of(folded.model)
    size = recipe.input_size or feed.size
    images = torch.zeros((recipe.batch or 2, feed.channels, *size))
    if labels is not None and len(labels) != (classes := _classes(folded.model, images)):
        raise ExportError(f"labels: got {len(labels)}, wanted {classes}, one for each class")
    graph, recipe = trace_somehow(_in_float32(folded.model), images, recipe, output_names(folded.model))
    common.ShapeInferencePass()(graph)
    lower(graph, recipe.form)
    if recipe.pixels:
        take_uint8_input(graph, feed.mean, feed.std)
    if recipe.float16_weights:
        store_float16_weights(graph)
    _describe(graph, folded, recipe, weights, labels, replace(feed, size=size))
    more = _remade_by(folded.model, source) | ({} if split is None else {"split": split})
    more |= {PREPROCESSING_GIVEN: "true"} if preprocessing_given else {}
    graph.metadata_props.update({key: in_utf8(value) for key, value in more.items()})
    norms_left = sum(_is_norm(folded.model, skipped.site) for skipped in folded.skipped)
    return _write(graph, path, recipe, _Expected(output_names(folded.model), norms_left))


def _in_eval_mode(model: nn.Module) -> nn.Module:
    if model.training:
        raise ExportError("export: the model is in train mode, wanted model.eval()")
    return model


def _in_float32(model: nn.Module) -> nn.Module:
    return model if model_dtype(model) == torch.float32 else copy.deepcopy(model).float()


def feature_levels(model: nn.Module) -> list[dict[str, Any]]:
    """Outputs of a ``features_only`` model, each with name, level, stride and channels; none for a classifier."""
    info: Any = getattr(model, "feature_info", None)
    if not hasattr(info, "out_indices") or hasattr(model, "classifier"):
        return []
    rows = zip(info.out_indices, info.reduction(), info.channels(), strict=True)
    return [
        {"name": f"level{index}", "level": index, "stride": stride, "channels": channels}
        for index, stride, channels in rows
    ]


def output_names(model: nn.Module) -> list[str]:
    """The names of a network's outputs in its file."""
    return [level["name"] for level in feature_levels(model)] or [OUTPUT_NAME]


def _classes(model: nn.Module, images: torch.Tensor) -> int:
    """The number of logits of a network: timm's ``num_classes``, or counted by running the network."""
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
        described["labels"] = json.dumps(list(map(in_utf8, labels)), ensure_ascii=False)
    graph.metadata_props.clear()
    graph.metadata_props.update({key: in_utf8(value) for key, value in described.items()})


def _remade_by(model: nn.Module, source: str | None) -> dict[str, str]:
    """What creates a network of timm again, where its architecture's name alone does not."""
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    architecture = config.get("architecture")
    if not architecture:
        return {}
    usual = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    counts = {"num_classes": getattr(model, "num_classes", None), "in_chans": getattr(model, "in_chans", None)}
    own = {"num_classes": usual.num_classes, "in_chans": usual.input_size[0]} if usual is not None else {}
    described = {key: str(count) for key, count in counts.items()
                 if count is not None and (source is not None or count != own.get(key, count))}  # fmt: skip
    return described if source is None else {"source": source, **described}


def _is_norm(model: nn.Module, site: str) -> bool:
    return isinstance(model.get_submodule(site), (nn.BatchNorm1d, nn.BatchNorm2d))


@dataclass(frozen=True)
class _Expected:
    """What the written graph must have, in addition to the recipe's settings."""

    outputs: list[str]
    norms: int


def _write(graph: ir.Model, path: Path, recipe: Recipe, expected: _Expected) -> Artifact:
    proto = ir.serde.serialize_model(graph)
    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: ONNX's checker refuses the graph: {str(error).splitlines()[0]}") from error
    _check_as_asked(proto, path, recipe, expected)
    flush_denormals(proto, path)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return read_artifact(path)


def _check_as_asked(proto: onnx.ModelProto, path: Path, recipe: Recipe, expected: _Expected) -> None:
    """Check the graph against the recipe, since exporters may silently write another opset than asked for."""
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
        raise ExportError(f"{path}: got {len(norms)} unfolded batch norms (first: {norms[0]}), wanted {expected.norms}")
