"""Valid examples of everything that is read, made once; hostile input is made from them."""

import gzip
import io
import json
import os
import struct
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.measurement.browser.posts import Posted

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SEARCH = ROOT / "weights" / "search" / "accuracy-latency"
SPACE = """name = "mine"
in_chans = 3
input_size = 64
num_classes = 100
stages = [[24, 2, 2], [40, 3, 2], [80, 4, 2]]
kernel_sizes = [3, 5]
expand_ratios = [3, 6]
squeeze_excite = true
stem_width = 16
head_width = 128
stem_stride = 2
activation = "relu"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
crop = 0.875
"""
PERF_TEST = """Session creation time cost: 0.0123 s
First inference time cost: 4 ms
iteration:0,time_cost:0.00331
iteration:1,time_cost:0.00342
iteration:2,time_cost:0.00339
iteration:3,time_cost:0.00338
Total inference requests: 4
Average inference time cost: 3.3 ms
"""
BENCHMARK_MODEL = """INFO: Replacing 539 out of 548 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 19 partitions for subgraph 0.
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 19 delegate kernels.
INFO: Initialized session in 92.318ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=3 first=235158 curr=200386 min=199462 max=235158 avg=211669 std=16613 p5=199462 median=200386 p95=235158
INFO: Running benchmark for at least 25 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 p95=187533
INFO: Inference timings in us: Init: 92318, First inference: 235158, Warmup (avg): 211669, Inference (avg): 145528
"""  # noqa: E501
EXECUTOR_RUNNER = """I 00:00:00.005262 executorch:executor_runner.cpp:251] Method loaded.
I 00:00:00.006576 executorch:executor_runner.cpp:284] Model executed successfully 11 time(s) in 3.191078 ms.
"""
STEPS = """{"step": 0, "loss": 2.3, "images": 64, "archs": ["a"]}
{"step": 1, "loss": 2.2, "images": 64, "archs": ["b"]}
"""
TIMM = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875, "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225], "num_classes": 1000}  # fmt: skip
HUGGING_FACE = {"do_resize": True, "size": {"shortest_edge": 256}, "do_center_crop": True, "resample": 3,
                "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 0.00392156862745098,
                "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
                "image_processor_type": "ViTImageProcessor"}  # fmt: skip


@cache
def folder():
    """A folder of this process for the files of cases, in memory where there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="scarlet-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))


@cache
def arch():
    """An architecture of the smallest built-in space."""
    return Arch.parse(json.loads((SEARCH / "front.json").read_text())["front"][0]["arch"], get_space("scarlet-mini"))


@cache
def front():
    """A front, with two candidates."""
    report = json.loads((SEARCH / "front.json").read_text())
    return report | {"front": report["front"][:2]}


@cache
def journal():
    """The first lines of a journal."""
    return "".join((SEARCH / "evaluations.jsonl").read_text().splitlines(keepends=True)[:4])


@cache
def record():
    """A record of few samples."""
    rows = json.loads((RESULTS / "baselines.json").read_text())
    found = next(_records(rows))
    return shorter(found)


def _records(value):
    if isinstance(value, dict) and {"samples_ms", "conditions"} <= value.keys():
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _records(item)


def shorter(full):
    """A record of 20 samples that are true to its numbers."""
    from scarlet_zoo.latency import statistics

    samples = full["samples_ms"][:20]
    conditions = {**full["conditions"], "burst": 5}
    rest = {key: value for key, value in full.items() if key != "attempts"}
    return {**rest, **statistics(samples), "runs": 20, "samples_ms": samples, "opening_of_sample": [0] * 20,
            "conditions": conditions}  # fmt: skip


@cache
def post():
    """What a page posts."""
    example = {
        "client": "0" * 32, "device": "Phone", "model": "0", "sha256": "0" * 64, "golden_error": 0.0, "load_ms": 1.0,
        "first_ms": 1.0, "samples_ms": [1.0] * 10, "opening_of_sample": [0] * 10,
        "browser": {"user_agent": "a", "platform": "b", "cores": 4, "secure_context": True,
                    "cross_origin_isolated": True, "timer_ms": 0.005, "hash": "subtle"},
        "method": {"threads": 1, "warmup": 1, "burst": 1, "runs": 10, "seconds": 1.0, "runs_per_sample": 1,
                   "openings": 1},
    }  # fmt: skip
    Posted.model_validate_json(json.dumps(example))
    return example


@cache
def model():
    """A small ONNX network with the metadata that ours have: a convolution, a pool and a linear layer."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)), "b": np.zeros(4), "f": rng.normal(size=(4, 5)), "c": np.zeros(5)}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["a"], "conv", pads=[1, 1, 1, 1], strides=[2, 2], group=1),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["l"], "flatten", axis=1),
        helper.make_node("Gemm", ["l", "f", "c"], ["logits"], "gemm"),
    ]
    ends = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])]  # fmt: skip
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, metadata())
    return made


@cache
def metadata():
    """The metadata of a file of ours."""
    return {
        "arch": str(arch()), "space": arch().space.to_json(), "labels": '["a", "b", "c", "d", "e"]',
        "preprocessing": '{"size":[8,8],"mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"interpolation":"bilinear",'
                         '"crop":1.0}',
        "features": '[{"name":"blocks.0","level":1,"stride":2,"channels":8}]', "form": "native",
        "precision": "float32", "weights": "random", "num_classes": "5", "in_chans": "3", "name": "net",
    }  # fmt: skip


@cache
def tensors():
    """Named tensors of a few types."""
    return {"conv_stem.weight": torch.ones(4, 3, 3, 3), "bn1.num_batches_tracked": torch.tensor(1),
            "classifier.bias": torch.zeros(5, dtype=torch.float16)}  # fmt: skip


@cache
def weights(kind):
    """A weights file: ``safetensors``, ``zip`` (torch's own), ``legacy`` (before torch 1.6) or ``training``."""
    if kind == "safetensors":
        return safetensors.torch.save(tensors(), metadata())
    file = io.BytesIO()
    content = {"epoch": 3, "model_state": tensors(), "run": {"a": "1"}} if kind == "training" else tensors()
    torch.save(content, file, _use_new_zipfile_serialization=kind != "legacy")
    return file.getvalue()


@cache
def idx():
    """Two images of 3 x 4 pixels in Fashion-MNIST's format, not yet compressed."""
    return struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))


def packed(content):
    """The bytes as a gzip file."""
    return gzip.compress(content, 1, mtime=0)


@cache
def image(form):
    """A small image file of a format of Pillow."""
    file = io.BytesIO()
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"exif": exif} if form in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    Image.fromarray(pixels).save(file, form, **more)
    return file.getvalue()


@cache
def table():
    """A latency table."""
    return json.loads((RESULTS / "lut_scarlet_float32.json").read_text())


@cache
def table_arch():
    """An architecture of the table's space."""
    return Arch.parse(table()["held_out"]["networks"][0]["arch"], get_space("scarlet"))


def recipe():
    """The text of a target's recipe."""
    return (ROOT / "export" / "recipes" / "native.toml").read_text()


def truth():
    """A ground truth of two epochs, as CSV."""
    head = "arch,seed,macs,params,latency_ms,core_seconds,top1_epoch_1,top1_epoch_2"
    return f"{head}\n{arch()},0,1000,500,0.5,12.5,80.125,85.5\n{arch()},1,1000,500,,12.5,80.125,85.5\n"


@cache
def served():
    """A network that a page has downloaded."""
    from scarlet_zoo.graph.artifact import Artifact
    from scarlet_zoo.measurement.browser.catalog import Served

    artifact = Artifact(path=Path("net.onnx"), sha256="0" * 64, opset=17, ir_version=8, form="native",
                        precision="float32", weights="random", metadata={})  # fmt: skip
    given = np.zeros((1, 3, 8, 8), np.float32)
    return Served("0", "net.onnx", "net", artifact, 1000, "input", given, {"logits": np.zeros((1, 5), np.float32)})
