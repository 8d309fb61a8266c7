"""OpenVINO, Intel's runtime; it converts the ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError


class OpenVino:
    """OpenVINO as a runtime; its files are an ``.xml`` and a ``.bin``, its intermediate representation."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write both files; weights stay float32."""
        try:
            model = ov.convert_model(str(source.onnx), input=[source.shape])
            # OpenVINO numbers constants across all models of a process. Naming them by position makes the file
            # reproducible.
            for place, operator in enumerate(model.get_ordered_ops()):
                if operator.get_type_name() == "Constant":
                    operator.set_friendly_name(f"constant_{place}")
            ov.save_model(model, str(path), compress_to_fp16=False)
        except RuntimeError as error:
            raise ExportError(
                f"{path}: OpenVINO cannot convert the network: {str(error).strip().splitlines()[0]}"
            ) from error

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """Load a file for one stream; the precision hint keeps it from computing in bfloat16 on some processors."""
        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        try:
            compiled = ov.Core().compile_model(str(path), "CPU", properties)
        except RuntimeError as error:
            raise ExportError(f"{path}: OpenVINO cannot load the file: {str(error).strip().splitlines()[0]}") from error
        request = compiled.create_infer_request()

        def run(images: Array) -> list[Array]:
            answers = request.infer({0: images}, share_inputs=True)
            return [np.array(answers[output]) for output in compiled.outputs]

        return run


RUNTIME = OpenVino()
