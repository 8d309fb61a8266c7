"""LiteRT, formerly TensorFlow Lite, with litert-torch, its converter from torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.deployment.runtimes.wide_depthwise import split_wide_depthwise
from scarlet_zoo.errors import ExportError


class LiteRt:
    """LiteRT as a runtime; its file is a ``.tflite`` file, which XNNPACK runs."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write its file; its input stays (N, C, H, W)."""
        model = split_wide_depthwise(source.model)
        try:
            litert_torch.convert(model, (torch.zeros(source.shape),)).export(str(path))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise ExportError(
                f"{path}: litert-torch cannot convert the network: {str(error).splitlines()[0]}"
            ) from error

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """Load a file into an interpreter and allocate its tensors."""
        try:
            interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"{path}: LiteRT cannot load the file: {str(error).splitlines()[0]}") from error
        (source,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()

        def run(images: Array) -> list[Array]:
            interpreter.set_tensor(source["index"], images)
            interpreter.invoke()
            return [np.array(interpreter.get_tensor(output["index"])) for output in outputs]

        return run


RUNTIME = LiteRt()
