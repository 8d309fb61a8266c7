"""Core ML, with the converter coremltools; files are written on any system and run on Apple's only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import coremltools
import torch

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError


class CoreMl:
    """Core ML as a runtime; its file is an ``.mlpackage`` folder that holds an ML program."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write the package; in half precision weights and operators are float16."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                source.model, torch.zeros(source.shape)
            )
            try:
                model = coremltools.convert(
                    traced,
                    inputs=[coremltools.TensorType(name="input", shape=source.shape)],
                    outputs=[coremltools.TensorType(name="logits")],
                    convert_to="mlprogram",
                    compute_precision=getattr(coremltools.precision, source.precision.upper()),
                )
                model.save(str(path))
            except (RuntimeError, ValueError, NotImplementedError) as error:
                raise ExportError(
                    f"{path}: coremltools cannot convert the network: {str(error).splitlines()[0]}"
                ) from error

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Raise an ExportError, since Core ML files run on Apple's systems only."""
        del threads, precision
        raise ExportError(
            f"{path}: got a Core ML file, which runs on Apple's systems only, wanted a file of another target"
        )

    def computes_in(self, precision: str) -> str:
        """Nothing, since it does not run here."""
        return f"nothing here: it is {precision} on Apple's systems"


RUNTIME = CoreMl()
