"""Trace a torch network into an ONNX graph with torch's own exporters, as a recipe says."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from scarlet_zoo.errors import ExportError, ScarletWarning
from scarlet_zoo.utils.silence import silence

OPSETS = range(17, 21)
_LARGEST_IR_VERSION = 10
INPUT_NAME = "input"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of an export to ONNX.

    Attributes:
        opset: 17 to 20; every ONNX Runtime since 1.18 loads and fuses these.
        ir_version: version of the file format, at most 10; the opset's own when left out.
        batch: a fixed batch size; dynamic when left out.
        input_size: (height, width) in pixels; the model's own when left out.
        exporter: ``torchscript`` (torch's fast one) or ``dynamo`` (opset 18 and up).
        form: graph variant, see :mod:`scarlet_zoo.graph.passes.lower`.
        pixels: take uint8 images (N, H, W, C) of the network's own size; scaling, mean and standard deviation are
            then inside the graph.
        float16_weights: store weights as float16; all arithmetic stays float32.
        keep_io: keep the input and the output of a float16 file float32.
    """

    opset: int = 17
    ir_version: int | None = None
    batch: int | None = None
    input_size: tuple[int, int] | None = None
    exporter: str = "torchscript"
    form: str = "native"
    pixels: bool = False
    float16_weights: bool = False
    keep_io: bool = False

    def __post_init__(self) -> None:
        lowest = 18 if self.exporter == "dynamo" else OPSETS.start
        if self.exporter not in ("torchscript", "dynamo"):
            raise ExportError(f"exporter: got {self.exporter!r}, wanted torchscript or dynamo")
        if self.opset not in range(lowest, OPSETS.stop):
            raise ExportError(f"opset: got {self.opset}, wanted {lowest} to {OPSETS[-1]} with {self.exporter}")
        if self.ir_version is not None and not 8 <= self.ir_version <= _LARGEST_IR_VERSION:
            raise ExportError(f"IR version: got {self.ir_version}, wanted 8 to {_LARGEST_IR_VERSION}")
        if self.batch is not None and self.batch < 1:
            raise ExportError(f"batch: got {self.batch}, wanted 1 or more, or None for a dynamic batch")
        if self.input_size is not None and not isinstance(self.input_size, (tuple, list)):
            raise ExportError(f"input size: got {self.input_size}, wanted (height, width) in pixels")

    @property
    def file_format(self) -> int:
        """The IR version to write; by default the one that was released with the opset."""
        return self.ir_version or (8 if self.opset <= 18 else 9)


def trace(model: nn.Module, images: torch.Tensor, recipe: Recipe, outputs: list[str]) -> ir.Model:
    """Trace a float32 network in eval mode with one of torch's exporters, without its warnings and log lines.

    Args:
        model: the network.
        images: an example input (N, C, H, W).
        recipe: which exporter, opset and batch size.
        outputs: names of the graph's outputs.

    Raises:
        ExportError: the exporter failed; the message gives its reason.
    """
    # On a failure torchscript prints its whole graph on stdout, from C++.
    with _quiet(), silence(), torch.inference_mode(False), torch.no_grad():
        try:
            if recipe.exporter == "dynamo":
                return _trace_dynamo(model, images, recipe, outputs)
            return _trace_torchscript(model, images, recipe, outputs)
        except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
            # The exporter puts the values of its own graph behind the reason.
            first = str(error).strip().split("\n")[0].split("  [Caused by")[0]
            raise ExportError(f"export of {type(model).__name__} with input {tuple(images.shape)}: {first}") from error


def trace_somehow(
    model: nn.Module, images: torch.Tensor, recipe: Recipe, outputs: list[str]
) -> tuple[ir.Model, Recipe]:
    """Trace as :func:`trace` does, and leave to ``dynamo`` what ``torchscript`` cannot do, with a warning.

    Returns:
        The graph, and the recipe that it follows: that of ``dynamo`` may have a later opset.

    Raises:
        ExportError: both exporters failed; the message gives the reason of the one that was asked for.
    """
    try:
        return trace(model, images, recipe, outputs), recipe
    except ExportError as error:
        if recipe.exporter == "dynamo" or find_spec("onnxscript") is None:
            raise
        other = replace(recipe, exporter="dynamo", opset=max(recipe.opset, 18))
        try:
            traced = trace(model, images, other, outputs)
        except ExportError:
            raise error from None
        warnings.warn(f"{error}; torch's other exporter was taken: dynamo", ScarletWarning, stacklevel=3)
        return traced, other


def _trace_torchscript(model: nn.Module, images: torch.Tensor, recipe: Recipe, outputs: list[str]) -> ir.Model:
    axes = {name: {0: "batch"} for name in (INPUT_NAME, *outputs)} if recipe.batch is None else None
    buffer: Any = io.BytesIO()  # torch accepts a buffer, though its annotation says a path
    torch.onnx.export(
        model,
        (images,),
        buffer,
        dynamo=False,
        opset_version=recipe.opset,
        input_names=[INPUT_NAME],
        output_names=outputs,
        dynamic_axes=axes,
    )
    return ir.serde.deserialize_model(onnx.load_from_string(buffer.getvalue()))


def _trace_dynamo(model: nn.Module, images: torch.Tensor, recipe: Recipe, outputs: list[str]) -> ir.Model:
    dims = ({0: torch.export.Dim("batch")},) if recipe.batch is None else None
    program = torch.onnx.export(
        model,
        (images,),
        dynamo=True,
        opset_version=recipe.opset,
        input_names=[INPUT_NAME],
        output_names=outputs,
        dynamic_shapes=dims,
        verbose=False,
    )
    assert program is not None
    # A copy through the serialised form, since the program's own model shares its tensors with the network.
    return ir.serde.deserialize_model(program.model_proto)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' deprecation warnings and progress logs, which a user can do nothing about."""
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
