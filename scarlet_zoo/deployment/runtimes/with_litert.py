"""LiteRT, formerly TensorFlow Lite, with litert-torch, its converter from torch, and ai-edge-quantizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.cpu_options import CpuOptions
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import Options

from scarlet_zoo.deployment.runtimes.arithmetic import in_xnnpack
from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.deployment.runtimes.wide_depthwise import split_wide_depthwise
from scarlet_zoo.errors import ExportError

# TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16 of tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h.
_FORCE_FLOAT16 = 0x4
# By this entry XNNPACK computes in float16 on a processor that has it (kTfLiteReducedPrecisionKey of
# tensorflow/lite/tools/optimize/reduced_precision_metadata.h).
_MAY_BE_HALF = ("reduced_precision_support", b"fp16accfp16")


class LiteRt:
    """LiteRT as a runtime; its file is a ``.tflite`` file, which XNNPACK runs."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write its file; its input stays (N, C, H, W).

        A float16 file has float16 weights and says that XNNPACK may compute in float16.
        """
        model = split_wide_depthwise(source.model)
        try:
            litert_torch.convert(model, (torch.zeros(source.shape),)).export(str(path))
            if source.precision == "float16":
                _quantize(path, _recipe("FLOAT_CASTING"), None)
                _allow_half(path)
            elif source.precision == "int8":
                _quantize(path, _recipe("MIN_MAX_UNIFORM_QUANT"), source.batches())
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise ExportError(
                f"{path}: litert-torch cannot convert the network: {str(error).splitlines()[0]}"
            ) from error

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Load a file into an interpreter and allocate its tensors; a float16 file computes in float16."""
        try:
            return _open_half(path, threads) if precision == "float16" else _open(path, threads)
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"{path}: LiteRT cannot load the file: {str(error).splitlines()[0]}") from error

    def computes_in(self, precision: str) -> str:
        """The precision itself; XNNPACK is made to compute in float16."""
        return in_xnnpack(precision)


def _open(path: Path, threads: int) -> Callable[[Array], list[Array]]:
    interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()

    def run(images: Array) -> list[Array]:
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(output["index"])) for output in outputs]

    return run


def _open_half(path: Path, threads: int) -> Callable[[Array], list[Array]]:
    """Load a file so that XNNPACK computes in float16; an interpreter takes no such flag."""
    options = Options(cpu_options=CpuOptions(num_threads=threads, xnnpack_flags=_FORCE_FLOAT16))
    model: Any = CompiledModel.from_file(str(path), options=options)
    (signature,) = model.get_signature_list()
    described = model.get_output_tensor_details(signature)
    shapes = [described[name]["shape"] for name in model.get_signature_by_index(0)["outputs"]]
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)

    def run(images: Array) -> list[Array]:
        inputs[0].write(np.ascontiguousarray(images))
        model.run_by_index(0, inputs, outputs)
        return [np.array(buffer.read(math.prod(shape), np.float32)).reshape(shape)
                for buffer, shape in zip(outputs, shapes, strict=True)]  # fmt: skip

    return run


def _recipe(algorithm: str) -> Any:
    """The quantiser's recipe for float16 weights, or for int8 as LiteRT's kernels take it; input and output are float.

    int8 has uneven activations and weights with a scale for each channel.
    """
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    recipe, name = recipe_manager.RecipeManager(), getattr(algorithm_manager.AlgorithmName, algorithm)
    every, kind = qtyping.TFLOperationName, qtyping.TensorQuantizationConfig
    if algorithm == "FLOAT_CASTING":
        weights = kind(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        how = qtyping.OpQuantizationConfig(weight_tensor_config=weights, explicit_dequantize=True,
                                           compute_precision=qtyping.ComputePrecision.FLOAT)  # fmt: skip
        recipe.add_quantization_config(regex=".*", operation_name=every.ALL_SUPPORTED, op_config=how,
                                       algorithm_key=name)  # fmt: skip
        return recipe.get_quantization_recipe()
    recipe.add_static_config(regex=".*", operation_name=every.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8,
                             algorithm_key=name)  # fmt: skip
    for end in (every.INPUT, every.OUTPUT):
        recipe.add_quantization_config(regex=".*", operation_name=end,
                                       algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)  # fmt: skip
    return recipe.get_quantization_recipe()


def _quantize(path: Path, recipe: Any, batches: list[Array] | None) -> None:
    """Quantise a float32 file in its place, on calibration images where the recipe needs some."""
    from ai_edge_quantizer import quantizer

    made = quantizer.Quantizer(str(path), recipe)
    ranges = None
    if batches is not None:
        ((signature, ends),) = Interpreter(model_path=str(path)).get_signature_list().items()
        (name,) = ends["inputs"]
        ranges = made.calibrate({signature: [{name: batch} for batch in batches]}, num_threads=1)
    path.write_bytes(made.quantize(ranges, enable_progress_report=False).quantized_model)


def _allow_half(path: Path) -> None:
    """State in a file's metadata that float16 arithmetic is good enough for it."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    entry, content = schema.MetadataT(), schema.BufferT()
    entry.name, content.data = _MAY_BE_HALF
    content.data = list(content.data)
    entry.buffer = len(model.buffers)
    model.buffers.append(content)
    model.metadata = [*(model.metadata or []), entry]
    flatbuffer_utils.write_model(model, str(path))


RUNTIME = LiteRt()
