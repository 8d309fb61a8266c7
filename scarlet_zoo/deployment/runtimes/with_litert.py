"""LiteRT, formerly TensorFlow Lite, by way of litert-torch, its converter from torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError


class LiteRt:
    """One ``.tflite`` file, run on XNNPACK."""

    def convert(self, source: Source, path: Path) -> None:
        """Write the file; its input stays (N, C, H, W)."""
        try:
            litert_torch.convert(source.model, (torch.zeros(source.shape),)).export(str(path))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise ExportError(f"{path}: litert-torch does not convert it: {str(error).splitlines()[0]}") from error

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """An interpreter with its tensors allocated."""
        try:
            interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"{path}: LiteRT does not load it: {str(error).splitlines()[0]}") from error
        (source,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()

        def run(images: Array) -> list[Array]:
            interpreter.set_tensor(source["index"], images)
            interpreter.invoke()
            return [np.array(interpreter.get_tensor(output["index"])) for output in outputs]

        return run


RUNTIME = LiteRt()
