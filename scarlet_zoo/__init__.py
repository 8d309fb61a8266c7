"""SCARLET networks for phones: create, fold, export, verify and measure.

Importing this package loads no torch. The public names below are imported when they are first used.
The networks join timm's registry when timm is imported, before or after this package.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import wrapt

# ONNX Runtime reads this when it is first imported. Without it, it keeps a device's number in the user's cache folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from scarlet_zoo.arch import SKIP as SKIP
    from scarlet_zoo.arch import Arch as Arch
    from scarlet_zoo.arch import Choice as Choice
    from scarlet_zoo.arch.cost import arch_cost as arch_cost
    from scarlet_zoo.arch.space import SearchSpace as SearchSpace
    from scarlet_zoo.arch.spaces import get_space as get_space
    from scarlet_zoo.arch.spaces import list_spaces as list_spaces
    from scarlet_zoo.arch.zoo import get_arch as get_arch
    from scarlet_zoo.arch.zoo import list_archs as list_archs
    from scarlet_zoo.data.augment import Augment as Augment
    from scarlet_zoo.data.folders import read_dataset as read_dataset
    from scarlet_zoo.data.preprocessing import Preprocessing as Preprocessing
    from scarlet_zoo.data.summary import check_data as check_data
    from scarlet_zoo.deployment.deploy import Deployment as Deployment
    from scarlet_zoo.deployment.deploy import deploy as deploy
    from scarlet_zoo.deployment.export import export as export
    from scarlet_zoo.deployment.optimize import Optimized as Optimized
    from scarlet_zoo.deployment.optimize import optimize as optimize
    from scarlet_zoo.deployment.parity import Parity as Parity
    from scarlet_zoo.deployment.parity import ParityError as ParityError
    from scarlet_zoo.deployment.parity import Tolerance as Tolerance
    from scarlet_zoo.deployment.to_onnx import export_onnx as export_onnx
    from scarlet_zoo.deployment.to_target import Exported as Exported
    from scarlet_zoo.deployment.trace import Recipe as Recipe
    from scarlet_zoo.deployment.verify import verify as verify
    from scarlet_zoo.errors import ScarletError as ScarletError
    from scarlet_zoo.folding.fold import FoldResult as FoldResult
    from scarlet_zoo.folding.fold import fold as fold
    from scarlet_zoo.graph.artifact import Artifact as Artifact
    from scarlet_zoo.graph.fusion import FusionReport as FusionReport
    from scarlet_zoo.graph.fusion import inspect as inspect
    from scarlet_zoo.graph.quantization.quantize import Int8 as Int8
    from scarlet_zoo.graph.quantization.quantize import Quantized as Quantized
    from scarlet_zoo.graph.quantization.quantize import quantize_int8 as quantize_int8
    from scarlet_zoo.inference.accuracy import Validation as Validation
    from scarlet_zoo.inference.accuracy import validate as validate
    from scarlet_zoo.inference.answers import Guess as Guess
    from scarlet_zoo.inference.answers import Prediction as Prediction
    from scarlet_zoo.inference.classifier import Classifier as Classifier
    from scarlet_zoo.inference.load import load as load
    from scarlet_zoo.inference.load import open_classifier as open_classifier
    from scarlet_zoo.inference.predict import predict as predict
    from scarlet_zoo.latency import Settings as Settings
    from scarlet_zoo.latency import Timing as Timing
    from scarlet_zoo.latency import measure as measure
    from scarlet_zoo.measurement.bench import bench as bench
    from scarlet_zoo.measurement.compare import Comparison as Comparison
    from scarlet_zoo.measurement.compare import compare as compare
    from scarlet_zoo.measurement.gallery.gallery import Gallery as Gallery
    from scarlet_zoo.measurement.gallery.gallery import gallery as gallery
    from scarlet_zoo.measurement.lut.build_here import build_lut as build_lut
    from scarlet_zoo.measurement.lut.table import LatencyTable as LatencyTable
    from scarlet_zoo.measurement.recommend import Recommendation as Recommendation
    from scarlet_zoo.measurement.recommend import recommend as recommend
    from scarlet_zoo.measurement.records import Record as Record
    from scarlet_zoo.models.blocks import Stabilizer as Stabilizer
    from scarlet_zoo.models.scarlet import create_model as create_model
    from scarlet_zoo.models.supernet import Supernet as Supernet
    from scarlet_zoo.nas.search.derive import DerivedNetwork as DerivedNetwork
    from scarlet_zoo.nas.search.derive import derive as derive
    from scarlet_zoo.nas.search.front import Front as Front
    from scarlet_zoo.nas.search.scoring import Scoring as Scoring
    from scarlet_zoo.nas.search.search import search as search
    from scarlet_zoo.nas.search.settings import Candidate as Candidate
    from scarlet_zoo.nas.search.settings import SearchSettings as SearchSettings
    from scarlet_zoo.nas.train_supernet import TrainedSupernet as TrainedSupernet
    from scarlet_zoo.nas.train_supernet import train_supernet as train_supernet
    from scarlet_zoo.training.run import DataPlan as DataPlan
    from scarlet_zoo.training.settings import Teacher as Teacher
    from scarlet_zoo.training.settings import TrainSettings as TrainSettings
    from scarlet_zoo.training.train_network import TrainedNetwork as TrainedNetwork
    from scarlet_zoo.training.train_network import train as train

__version__ = "0.2.0"

# The module that defines each public name. No root module may have the name of one: its import would hide the name.
_HOME = {
    "arch": ("SKIP", "Arch", "Choice"),
    "arch.cost": ("arch_cost",),
    "arch.space": ("SearchSpace",),
    "arch.spaces": ("get_space", "list_spaces"),
    "arch.zoo": ("get_arch", "list_archs"),
    "data.augment": ("Augment",),
    "data.folders": ("read_dataset",),
    "data.preprocessing": ("Preprocessing",),
    "data.summary": ("check_data",),
    "deployment.deploy": ("Deployment", "deploy"),
    "deployment.export": ("export",),
    "deployment.optimize": ("Optimized", "optimize"),
    "deployment.parity": ("Parity", "ParityError", "Tolerance"),
    "deployment.to_onnx": ("export_onnx",),
    "deployment.to_target": ("Exported",),
    "deployment.trace": ("Recipe",),
    "deployment.verify": ("verify",),
    "errors": ("ScarletError",),
    "folding.fold": ("FoldResult", "fold"),
    "graph.artifact": ("Artifact",),
    "graph.fusion": ("FusionReport", "inspect"),
    "graph.quantization.quantize": ("Int8", "Quantized", "quantize_int8"),
    "inference.accuracy": ("Validation", "validate"),
    "inference.answers": ("Guess", "Prediction"),
    "inference.classifier": ("Classifier",),
    "inference.load": ("load", "open_classifier"),
    "inference.predict": ("predict",),
    "latency": ("Settings", "Timing", "measure"),
    "measurement.bench": ("bench",),
    "measurement.compare": ("Comparison", "compare"),
    "measurement.gallery.gallery": ("Gallery", "gallery"),
    "measurement.lut.build_here": ("build_lut",),
    "measurement.lut.table": ("LatencyTable",),
    "measurement.recommend": ("Recommendation", "recommend"),
    "measurement.records": ("Record",),
    "models.blocks": ("Stabilizer",),
    "models.scarlet": ("create_model",),
    "models.supernet": ("Supernet",),
    "nas.search.derive": ("DerivedNetwork", "derive"),
    "nas.search.front": ("Front",),
    "nas.search.scoring": ("Scoring",),
    "nas.search.search": ("search",),
    "nas.search.settings": ("Candidate", "SearchSettings"),
    "nas.train_supernet": ("TrainedSupernet", "train_supernet"),
    "training.run": ("DataPlan",),
    "training.settings": ("Teacher", "TrainSettings"),
    "training.train_network": ("TrainedNetwork", "train"),
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
