"""Core ML, with the converter coremltools; files are written on any system and run on Apple's only."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import torch

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError, ScarletWarning


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
        _check(model, source, path)

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Raise an ExportError, since Core ML files run on Apple's systems only."""
        del threads, precision
        raise ExportError(
            f"{path}: got a Core ML file, which runs on Apple's systems only, wanted a file of another target"
        )

    def computes_in(self, precision: str) -> str:
        """Nothing, since it does not run here."""
        return f"nothing here: it is {precision} on Apple's systems"


def _check(model: Any, source: Source, path: Path) -> None:
    """Check what can be checked where Core ML does not run: the precision and the weights of the linear operators.

    Weights that are none of the network's, which a rewrite of the converter may have changed, are told in a warning.

    Raises:
        ExportError: an operator has weights in another precision.
    """
    kind = np.float16 if source.precision == "float16" else np.float32
    known: dict[tuple[int, ...], list[Array]] = {}
    for tensor in source.model.state_dict().values():
        known.setdefault(tuple(tensor.shape), []).append(tensor.detach().float().numpy())
    others = []
    for operator in model._mil_program.functions["main"].operations:
        weights = getattr(operator, "weight", None) if operator.op_type in ("conv", "linear") else None
        if weights is None or weights.val is None:
            continue
        if weights.val.dtype != kind:
            raise ExportError(f"{path}: {operator.name}: got weights in {weights.val.dtype}, wanted {kind.__name__}")
        given = weights.val.astype(np.float32)
        same = [one for one in known.get(given.shape, []) if np.allclose(one, given, rtol=2.0**-10, atol=1e-7)]
        if not same:
            others.append(operator.name)
    if others:
        warnings.warn(
            f"{path.name}: not run here, and these layers have other weights than the network: {' '.join(others)}",
            ScarletWarning,
            stacklevel=2,
        )


RUNTIME = CoreMl()
