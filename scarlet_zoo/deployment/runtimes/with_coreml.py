"""Core ML, by way of coremltools: written on any system, run on Apple's only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import coremltools
import torch

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError


class CoreMl:
    """An ``.mlpackage`` folder, an ML program."""

    def convert(self, source: Source, path: Path) -> None:
        """Write the package; weights stay float32."""
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
                    compute_precision=coremltools.precision.FLOAT32,
                )
                model.save(str(path))
            except (RuntimeError, ValueError, NotImplementedError) as error:
                raise ExportError(f"{path}: coremltools does not convert it: {str(error).splitlines()[0]}") from error

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """Not on this system, with any number of threads."""
        del threads
        raise ExportError(f"{path}: Core ML runs on Apple's systems only, here it is written and not run")


RUNTIME = CoreMl()
