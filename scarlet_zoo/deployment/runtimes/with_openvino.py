"""OpenVINO, Intel's runtime; it converts the ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError

_HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "f32"}


@cache
def _core() -> Any:
    """OpenVINO's core, one for the whole process.

    Each core gives the thread a signal stack of its own and puts back the former one when it goes. Of two that go in
    the order in which they came, the second puts back the stack that the first has freed, and the next signal that
    Python handles there, such as the end of a child, ends the process.
    """
    return ov.Core()


class OpenVino:
    """OpenVINO as a runtime; its files are an ``.xml`` and a ``.bin``, its intermediate representation."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write both files; weights become float16 in half precision, and int8 by NNCF."""
        try:
            model = ov.convert_model(str(source.onnx), input=[source.shape])
            if source.precision == "int8":
                model = _in_integers(model, source)
            # OpenVINO numbers constants across all models of a process. Naming them by position makes the file
            # reproducible.
            for place, operator in enumerate(model.get_ordered_ops()):
                if operator.get_type_name() == "Constant":
                    operator.set_friendly_name(f"constant_{place}")
            ov.save_model(model, str(path), compress_to_fp16=source.precision == "float16")
        except RuntimeError as error:
            raise ExportError(
                f"{path}: OpenVINO cannot convert the network: {str(error).strip().splitlines()[0]}"
            ) from error

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Load a file for one stream; the precision hint keeps it from computing in bfloat16 where nobody asked."""
        hint = _HINTS[precision] if _has(precision) else "f32"
        properties = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        try:
            compiled = _core().compile_model(str(path), "CPU", properties)
        except RuntimeError as error:
            raise ExportError(f"{path}: OpenVINO cannot load the file: {str(error).strip().splitlines()[0]}") from error
        request = compiled.create_infer_request()

        def run(images: Array) -> list[Array]:
            answers = request.infer({0: images}, share_inputs=True)
            return [np.array(answers[output]) for output in compiled.outputs]

        return run

    def computes_in(self, precision: str) -> str:
        """The precision itself, or float32 where OpenVINO has no arithmetic in it on this processor."""
        if precision == "int8":
            return "int8, and float32 between"
        return precision if _has(precision) else f"float32: OpenVINO has no {precision} on this processor"


def _has(precision: str) -> bool:
    """Whether OpenVINO computes in a precision here; asked for float16 where there is none, it takes bfloat16."""
    capability = {"float16": "FP16", "bfloat16": "BF16"}.get(precision, "FP32")
    return capability in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _in_integers(model: Any, source: Source) -> Any:
    """Quantise with NNCF, on all of the calibration images."""
    import nncf

    batches = source.batches()
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))


RUNTIME = OpenVino()
