"""SCARLET networks for phones: create, fold, export, verify and measure.

Importing this package loads no torch. The public names below are imported when first used, and
our networks join timm's registry when timm is imported, before or after this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from scarlet_zoo.arch.architecture import Arch as Arch
    from scarlet_zoo.arch.choices import SKIP as SKIP
    from scarlet_zoo.arch.choices import Choice as Choice
    from scarlet_zoo.arch.cost import arch_cost as arch_cost
    from scarlet_zoo.arch.space import SearchSpace as SearchSpace
    from scarlet_zoo.arch.spaces import get_space as get_space
    from scarlet_zoo.arch.spaces import list_spaces as list_spaces
    from scarlet_zoo.arch.zoo import get_arch as get_arch
    from scarlet_zoo.arch.zoo import list_archs as list_archs
    from scarlet_zoo.data.folders import read_dataset as read_dataset
    from scarlet_zoo.deployment.deploy import deploy as deploy
    from scarlet_zoo.deployment.parity import Parity as Parity
    from scarlet_zoo.deployment.parity import ParityError as ParityError
    from scarlet_zoo.deployment.parity import Tolerance as Tolerance
    from scarlet_zoo.deployment.to_onnx import export_onnx as export_onnx
    from scarlet_zoo.deployment.trace import Recipe as Recipe
    from scarlet_zoo.deployment.verify import verify as verify
    from scarlet_zoo.errors import ScarletError as ScarletError
    from scarlet_zoo.folding.fold import FoldResult as FoldResult
    from scarlet_zoo.folding.fold import fold as fold
    from scarlet_zoo.graph.artifact import Artifact as Artifact
    from scarlet_zoo.inference.accuracy import validate as validate
    from scarlet_zoo.inference.classifier import open_classifier as open_classifier
    from scarlet_zoo.inference.predict import predict as predict
    from scarlet_zoo.latency import Settings as Settings
    from scarlet_zoo.latency import Timing as Timing
    from scarlet_zoo.latency import measure as measure
    from scarlet_zoo.measurement.compare import compare as compare
    from scarlet_zoo.models.blocks import Stabilizer as Stabilizer
    from scarlet_zoo.models.scarlet import create_model as create_model

__version__ = "0.1.0"

# No module is named like a public function: an imported module would hide it here.
_HOME = {
    "arch": ("SKIP", "Arch", "Choice"),
    "graph.artifact": ("Artifact",),
    "models.blocks": ("Stabilizer",),
    "data.folders": ("read_dataset",),
    "measurement.compare": ("compare",),
    "arch.cost": ("arch_cost",),
    "deployment.deploy": ("deploy",),
    "errors": ("ScarletError",),
    "folding.fold": ("FoldResult", "fold"),
    "latency": ("Settings", "Timing", "measure"),
    "models.scarlet": ("create_model",),
    "deployment.to_onnx": ("export_onnx",),
    "inference.classifier": ("open_classifier",),
    "inference.predict": ("predict",),
    "arch.space": ("SearchSpace",),
    "arch.spaces": ("get_space", "list_spaces"),
    "deployment.parity": ("Parity", "ParityError", "Tolerance"),
    "deployment.trace": ("Recipe",),
    "inference.accuracy": ("validate",),
    "deployment.verify": ("verify",),
    "arch.zoo": ("get_arch", "list_archs"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = [*_MODULE_OF, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


wrapt.register_post_import_hook(lambda _timm: importlib.import_module(f"{__name__}.models.scarlet"), "timm")
