"""The table of the runtimes other than ONNX Runtime; each is an optional extra with its own converter and file format.

There is one module for each runtime, with a class that follows :class:`Runtime`. A runtime's packages are imported
only when it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.deployment.parity import Tolerance, tolerance_of
from scarlet_zoo.errors import ExportError, ScarletError, unknown_name
from scarlet_zoo.utils.installing import install_command

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """A network to convert.

    Attributes:
        model: the folded network, float32, in eval mode.
        onnx: path of the same network as an ONNX file, in the target's graph variant.
        shape: shape of the input (N, C, H, W), fixed.
        precision: that of the file: ``float32``, ``float16``, ``bfloat16`` or ``int8``. Its input and output are
            float32 all the same.
        calibration: for int8, prepared images, float32 (M, C, H, W).
    """

    model: nn.Module
    onnx: Path
    shape: tuple[int, int, int, int]
    precision: str = "float32"
    calibration: Array | None = None

    def batches(self) -> list[Array]:
        """The calibration images in batches of the file's size; the last images that fill no batch are left out.

        Raises:
            ExportError: there are fewer images than one batch.
        """
        size, images = self.shape[0], self.calibration
        if images is None or len(images) < size:
            raise ExportError(f"calibration: got {0 if images is None else len(images)} images, wanted {size} or more")
        return [images[start : start + size] for start in range(0, len(images) - size + 1, size)]


class Runtime(Protocol):
    """The interface of a runtime other than ONNX Runtime."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write its file, and those that belong to it, with the runtime's own converter."""

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Load a file of a precision and return a function that runs it on one input (N, C, H, W)."""

    def computes_in(self, precision: str) -> str:
        """What this machine computes in when it runs a file of a precision, in words."""


@dataclass(frozen=True, slots=True)
class RuntimeEntry:
    """The facts about a runtime that are needed before it is imported.

    Attributes:
        module: name of its module in this package.
        packages: the PyPI packages that its extra installs.
        modules: the Python modules that must be importable.
        suffix: suffix of its files' names.
        runs: whether its files can be run here; if not, they can only be written.
        tolerance: how far the outputs of its float32 files may differ from the source's.
        more: the packages and modules that a precision needs besides, by its name.
    """

    module: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    suffix: str
    runs: bool
    tolerance: Tolerance
    more: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def tolerance_for(self, precision: str) -> Tolerance:
        """How far the outputs of a file of a precision may differ from the source's."""
        return self.tolerance if precision == "float32" else tolerance_of(precision)


def _tolerance(max_rel_err: float, min_sqnr_db: float, reason: str) -> Tolerance:
    return Tolerance(max_rel_err=max_rel_err, rounding_factor=10.0, min_sqnr_db=min_sqnr_db, min_top1_agreement=1.0,
                     reason=reason)  # fmt: skip


_OWN_SUMS = "float32, its own kernels: sums in another order, some convolutions by Winograd's algorithm"
RUNTIMES: Mapping[str, RuntimeEntry] = MappingProxyType({
    "openvino": RuntimeEntry("with_openvino", ("openvino",), ("openvino",), ".xml", True,
                             _tolerance(5e-4, 80.0, f"{_OWN_SUMS}; its inference precision is set to float32"),
                             {"int8": ("nncf", "nncf")}),
    "ncnn": RuntimeEntry("with_ncnn", ("ncnn", "pnnx"), ("ncnn", "pnnx"), ".ncnn.param", True,
                         _tolerance(5e-3, 60.0, f"{_OWN_SUMS}; its half precision is switched off")),
    "litert": RuntimeEntry("with_litert", ("litert-torch", "ai-edge-litert"), ("litert_torch", "ai_edge_litert"),
                           ".tflite", True, _tolerance(5e-4, 80.0, _OWN_SUMS),
                           {"int8": ("ai-edge-quantizer", "ai_edge_quantizer")}),
    "executorch": RuntimeEntry("with_executorch", ("executorch",), ("executorch",), ".pte", True,
                               _tolerance(5e-4, 80.0, _OWN_SUMS), {"int8": ("torchao", "torchao")}),
    "coreml": RuntimeEntry("with_coreml", ("coremltools",), ("coremltools",), ".mlpackage", False,
                           _tolerance(5e-4, 80.0, "not run: Core ML is on Apple's systems only")),
})  # fmt: skip


class MissingRuntimeError(ScarletError):
    """A runtime is not installed; the message says how to install it."""


def get_runtime(name: str, precision: str = "float32") -> Runtime:
    """Import and return the runtime of a name.

    Args:
        name: the runtime.
        precision: that of the file to convert, which may need a package more than running it does.

    Raises:
        UnknownNameError: no such runtime; the message lists all.
        MissingRuntimeError: its packages are not installed.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, RUNTIMES)
    missing = missing_modules(name, precision)
    if missing:
        raise MissingRuntimeError(
            f"target {name}: {' and '.join(missing)} not installed, wanted: {install_command(name)}"
        )
    module: Any = importlib.import_module(f"{__package__}.{RUNTIMES[name].module}")
    runtime: Runtime = module.RUNTIME
    return runtime


def missing_modules(name: str, precision: str = "float32") -> list[str]:
    """The modules that a runtime needs for files of a precision and that are not installed."""
    more = [RUNTIMES[name].more[precision][1]] if precision in RUNTIMES[name].more else []
    return [module for module in (*RUNTIMES[name].modules, *more) if importlib.util.find_spec(module) is None]


def versions(name: str, precision: str = "float32") -> dict[str, str]:
    """The versions of those of the packages that a runtime needs for files of a precision that are installed."""
    more = [RUNTIMES[name].more[precision][0]] if precision in RUNTIMES[name].more else []
    found = {}
    for package in (*RUNTIMES[name].packages, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def runtime_of(path: Path) -> str | None:
    """The runtime that a file is for, by its suffix; None for files of ONNX Runtime."""
    return next((name for name, entry in RUNTIMES.items() if path.name.endswith(entry.suffix)), None)
