"""Other runtimes: each is an extra, converts with its project's own converter, and runs its own file.

One module a runtime, each with a class of the shape :class:`Runtime`. Nothing of another project is imported
before it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.deployment.parity import Tolerance
from scarlet_zoo.errors import ScarletError, unknown_name
from scarlet_zoo.utils.installing import install_command

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """What is converted.

    Attributes:
        model: the folded network, float32, in eval mode.
        onnx: the same as an ONNX file in the target's form.
        shape: of the input, (N, C, H, W), fixed.
    """

    model: nn.Module
    onnx: Path
    shape: tuple[int, int, int, int]


class Runtime(Protocol):
    """A runtime beside ONNX Runtime."""

    def convert(self, source: Source, path: Path) -> None:
        """Write the file of a network, and what belongs beside it, with the project's own converter."""

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """Load a file; gives the function that runs it on one input (N, C, H, W)."""


@dataclass(frozen=True, slots=True)
class RuntimeEntry:
    """What is known of a runtime before it is imported.

    Attributes:
        module: in this package.
        packages: of PyPI, that its extra installs.
        modules: what must be importable.
        suffix: of its file.
        runs: whether its file can be run here, or only be written.
        tolerance: of its outputs against the source's.
    """

    module: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    suffix: str
    runs: bool
    tolerance: Tolerance


def _tolerance(max_rel_err: float, min_sqnr_db: float, reason: str) -> Tolerance:
    return Tolerance(max_rel_err=max_rel_err, rounding_factor=10.0, min_sqnr_db=min_sqnr_db, min_top1_agreement=1.0,
                     reason=reason)  # fmt: skip


_OWN_SUMS = "float32, its own kernels: sums in another order, some convolutions by Winograd's algorithm"
RUNTIMES: Mapping[str, RuntimeEntry] = MappingProxyType({
    "openvino": RuntimeEntry("with_openvino", ("openvino",), ("openvino",), ".xml", True,
                             _tolerance(5e-4, 80.0, f"{_OWN_SUMS}; its inference precision is set to float32")),
    "ncnn": RuntimeEntry("with_ncnn", ("ncnn", "pnnx"), ("ncnn", "pnnx"), ".ncnn.param", True,
                         _tolerance(5e-3, 60.0, f"{_OWN_SUMS}; its half precision is switched off")),
    "litert": RuntimeEntry("with_litert", ("litert-torch", "ai-edge-litert"), ("litert_torch", "ai_edge_litert"),
                           ".tflite", True, _tolerance(5e-4, 80.0, _OWN_SUMS)),
    "executorch": RuntimeEntry("with_executorch", ("executorch",), ("executorch",), ".pte", True,
                               _tolerance(5e-4, 80.0, _OWN_SUMS)),
    "coreml": RuntimeEntry("with_coreml", ("coremltools",), ("coremltools",), ".mlpackage", False,
                           _tolerance(5e-4, 80.0, "not run: Core ML is on Apple's systems only")),
})  # fmt: skip


class MissingRuntimeError(ScarletError):
    """A runtime that is not installed; the message says how to install it."""


def get_runtime(name: str) -> Runtime:
    """The runtime of a name.

    Raises:
        UnknownNameError: no such runtime.
        MissingRuntimeError: its packages are not installed.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, RUNTIMES)
    missing = missing_modules(name)
    if missing:
        raise MissingRuntimeError(
            f"target {name}: {' and '.join(missing)} not installed, wanted: {install_command(name)}"
        )
    module: Any = importlib.import_module(f"{__package__}.{RUNTIMES[name].module}")
    runtime: Runtime = module.RUNTIME
    return runtime


def missing_modules(name: str) -> list[str]:
    """Modules that a runtime needs and that cannot be found."""
    return [module for module in RUNTIMES[name].modules if importlib.util.find_spec(module) is None]


def versions(name: str) -> dict[str, str]:
    """Versions of a runtime's packages, as far as they are installed."""
    found = {}
    for package in RUNTIMES[name].packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def runtime_of(path: Path) -> str | None:
    """Which runtime a file is for, by its suffix; none for ONNX Runtime's."""
    return next((name for name, entry in RUNTIMES.items() if path.name.endswith(entry.suffix)), None)
