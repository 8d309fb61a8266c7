"""A network to an ONNX file: traced by torch, spelled for the runtime, described, checked, renamed into place."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch import nn

from scarlet_zoo.arch import Arch
from scarlet_zoo.artifact import Artifact, read_artifact
from scarlet_zoo.errors import ExportError
from scarlet_zoo.files import replacing
from scarlet_zoo.folding import FoldResult, fold
from scarlet_zoo.folding.probe import model_dtype
from scarlet_zoo.lowering import lower
from scarlet_zoo.networks import preprocessing_of
from scarlet_zoo.preprocessing import Preprocessing

OPSETS = range(17, 21)
_LARGEST_IR_VERSION = 10
INPUT_NAME, OUTPUT_NAME = "input", "logits"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to export.

    Attributes:
        opset: 17 to 20, the window that every ONNX Runtime since 1.18 both loads and fuses.
        ir_version: version of the file format, at most 10; the opset's own when left out.
        batch: a fixed batch size; dynamic when left out.
        input_size: (height, width) in pixels; the model's own when left out.
        exporter: ``torchscript`` (torch's fast one) or ``dynamo`` (opset 18 and up).
        form: spelling of the operators, see :mod:`scarlet_zoo.lowering`.
    """

    opset: int = 17
    ir_version: int | None = None
    batch: int | None = None
    input_size: tuple[int, int] | None = None
    exporter: str = "torchscript"
    form: str = "native"

    def __post_init__(self) -> None:
        lowest = 18 if self.exporter == "dynamo" else OPSETS.start
        if self.exporter not in ("torchscript", "dynamo"):
            raise ExportError(f"exporter: got {self.exporter!r}, wanted torchscript or dynamo")
        if self.opset not in range(lowest, OPSETS.stop):
            raise ExportError(f"opset: got {self.opset}, wanted {lowest} to {OPSETS[-1]} with {self.exporter}")
        if self.ir_version is not None and not 8 <= self.ir_version <= _LARGEST_IR_VERSION:
            raise ExportError(f"IR version: got {self.ir_version}, wanted 8 to {_LARGEST_IR_VERSION}")
        if self.batch is not None and self.batch < 1:
            raise ExportError(f"batch: got {self.batch}, wanted 1 or more, or none for a dynamic one")

    @property
    def file_format(self) -> int:
        """The IR version to write: the one that came with the opset."""
        return self.ir_version or (8 if self.opset <= 18 else 9)


def export_onnx(
    model: nn.Module | FoldResult,
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    weights: str = "not stated",
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Artifact:
    """Export a classifier to ONNX, folded, in the form that ONNX Runtime fuses.

    The file has an input ``input`` (N, C, H, W) and an output ``logits`` (N, classes), both
    float32, and describes itself in ``metadata_props``. It is checked strictly, written beside
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
    if labels is not None and len(labels) != _classes(folded.model):
        raise ExportError(f"labels: got {len(labels)}, wanted {_classes(folded.model)}, one a class")
    images = torch.zeros((recipe.batch or 2, feed.channels, *size))
    graph = _trace(_in_float32(folded.model), images, recipe)
    common.ShapeInferencePass()(graph)
    lower(graph, recipe.form)
    _describe(graph, folded, recipe, weights, labels, replace(feed, size=size))
    norms_left = sum(_is_norm(folded.model, skipped.site) for skipped in folded.skipped)
    return _write(graph, path, recipe, norms_left)


def _in_eval_mode(model: nn.Module) -> nn.Module:
    if model.training:
        raise ExportError("export: the model is in train mode, wanted model.eval()")
    return model


def _in_float32(model: nn.Module) -> nn.Module:
    return model if model_dtype(model) == torch.float32 else copy.deepcopy(model).float()


def _classes(model: nn.Module) -> int:
    return int(getattr(model, "num_classes", 0))


def _trace(model: nn.Module, images: torch.Tensor, recipe: Recipe) -> ir.Model:
    """Trace with one of torch's exporters, quietly."""
    with _quiet(), torch.inference_mode(False), torch.no_grad():
        try:
            if recipe.exporter == "dynamo":
                return _trace_dynamo(model, images, recipe)
            return _trace_torchscript(model, images, recipe)
        except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
            first = str(error).strip().split("\n")[0]
            raise ExportError(f"export of {type(model).__name__} at {tuple(images.shape)}: {first}") from error


def _trace_torchscript(model: nn.Module, images: torch.Tensor, recipe: Recipe) -> ir.Model:
    axes = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}} if recipe.batch is None else None
    buffer: Any = io.BytesIO()  # accepted, though the annotation knows paths only
    torch.onnx.export(
        model,
        (images,),
        buffer,
        dynamo=False,
        opset_version=recipe.opset,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_axes=axes,
    )
    return ir.serde.deserialize_model(onnx.load_from_string(buffer.getvalue()))


def _trace_dynamo(model: nn.Module, images: torch.Tensor, recipe: Recipe) -> ir.Model:
    dims = ({0: torch.export.Dim("batch")},) if recipe.batch is None else None
    program = torch.onnx.export(
        model,
        (images,),
        dynamo=True,
        opset_version=recipe.opset,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=dims,
        verbose=False,
    )
    assert program is not None
    # Through bytes: the program's own model shares its tensors with the network.
    return ir.serde.deserialize_model(program.model_proto)


@contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters warn of their own future and log their progress; none of it is the user's to act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
        "precision": "float32",
        "versions": json.dumps({name: version(name) for name in ("scarlet-zoo", "torch", "timm", "onnx")}),
    }
    if labels is not None:
        described["labels"] = json.dumps(list(labels), ensure_ascii=False)
    graph.metadata_props.clear()
    graph.metadata_props.update(described)


def _is_norm(model: nn.Module, site: str) -> bool:
    return isinstance(model.get_submodule(site), (nn.BatchNorm1d, nn.BatchNorm2d))


def _write(graph: ir.Model, path: Path, recipe: Recipe, norms_left: int) -> Artifact:
    proto = ir.serde.serialize_model(graph)
    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path}: the checker refuses the graph: {str(error).splitlines()[0]}") from error
    _assert_as_asked(proto, path, recipe, norms_left)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return read_artifact(path)


def _assert_as_asked(proto: onnx.ModelProto, path: Path, recipe: Recipe, norms_left: int) -> None:
    """The exporters are known to write another opset than asked for and to say nothing."""
    opsets: Mapping[str, int] = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets != {"": recipe.opset}:
        raise ExportError(f"{path}: got opsets {dict(opsets)}, wanted {recipe.opset}")
    if proto.ir_version != recipe.file_format:
        raise ExportError(f"{path}: got IR version {proto.ir_version}, wanted {recipe.file_format}")
    names = [value.name for value in (*proto.graph.input, *proto.graph.output)]
    if names != [INPUT_NAME, OUTPUT_NAME]:
        raise ExportError(f"{path}: got inputs and outputs {' '.join(names)}, wanted {INPUT_NAME} {OUTPUT_NAME}")
    norms = [node.name for node in proto.graph.node if node.op_type == "BatchNormalization"]
    if len(norms) > norms_left:
        raise ExportError(f"{path}: {len(norms)} batch norms are left ({norms[0]}), wanted {norms_left}")
