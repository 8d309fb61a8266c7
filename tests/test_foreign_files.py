"""ONNX files as strangers have them: every verb gives what is right, or one line that says what to type."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import ROOT
from foreign_files import (
    Swish,
    branching,
    convolution,
    images,
    looping,
    model_of,
    network,
    scanning,
    swish,
    torch_file,
    with_data_beside,
    with_functions,
)
from onnx import helper, numpy_helper
from torch import nn

from scarlet_zoo import bench, inspect, optimize
from scarlet_zoo.deployment.optimize import optimize_file
from scarlet_zoo.errors import ArtifactError, ExportError
from scarlet_zoo.graph.load import input_shapes, open_graph
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.graph.passes.lower import FORMS
from scarlet_zoo.latency import MeasurementError, Runner, Settings, shapes_of_inputs
from scarlet_zoo.measurement.profiling import profile
from scarlet_zoo.measurement.roofline import Machine
from scarlet_zoo.measurement.workloads import gather, whole_files

pytestmark = pytest.mark.usefixtures("brief_measurements")
IMAGE = torch.rand(1, 3, 32, 32)


def answers(path, feeds):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)


def refused(scarlet, *arguments):
    """The one line that refuses."""
    code, out, err = scarlet(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return torch_file(network(), tmp_path_factory.mktemp("plain") / "m.onnx", IMAGE)


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    axes = {"x": {0: "n", 2: "h", 3: "w"}}
    return torch_file(network(), tmp_path_factory.mktemp("dynamic") / "m.onnx", IMAGE, dynamic_axes=axes)


def beside(source, folder):
    return with_data_beside(source, folder)


def hub(source, folder):
    """As in the cache of Hugging Face: links to files of one folder, with other names."""
    real = with_data_beside(source, folder / "blobs", "aaa", "model.onnx_data")
    (folder / "blobs" / "model.onnx_data").rename(folder / "blobs" / "bbb")
    return linked(folder / "snapshot", model=real, data=folder / "blobs" / "bbb")


def dvc(source, folder):
    """As in the cache of DVC: links to files of two folders."""
    real = with_data_beside(source, folder / "ab", "x", "model.onnx_data")
    (folder / "cd").mkdir()
    (folder / "ab" / "model.onnx_data").rename(folder / "cd" / "y")
    return linked(folder / "work", model=real, data=folder / "cd" / "y")


def annex(source, folder):
    """As in git-annex: only the data are a link."""
    model = dvc(source, folder)
    return Path(shutil.copy(model, folder / "copy")).replace(model)


def linked(folder, model, data):
    folder.mkdir()
    (folder / "model.onnx").symlink_to(os.path.relpath(model, folder))
    (folder / "model.onnx_data").symlink_to(os.path.relpath(data, folder))
    return folder / "model.onnx"


@pytest.mark.parametrize("kept", [beside, hub, dvc, annex])
def test_data_beside_a_model_are_read_also_through_links(kept, plain, scarlet, tmp_path):
    file = kept(plain, tmp_path / "kept")
    for verb in (("inspect",), ("optimize", "--out", tmp_path / "out")):
        code, _, err = scarlet(verb[0], file, *verb[1:], "--json")
        assert (code, err) == (0, "")
    feeds = {"x": IMAGE.numpy()}
    assert np.abs(answers(tmp_path / "out" / "model.onnx", feeds)[0] - answers(plain, feeds)[0]).max() < 1e-5
    assert OnnxFile(file).run(feeds)[0].shape == (1, 5)


def test_data_beside_a_model_are_measured_profiled_and_sent_to_phones(plain, tmp_path):
    file = dvc(plain, tmp_path / "kept")
    (record,) = bench(file, settings=Settings(runs=10, seconds=0.01), repeats=0)
    assert record.file == str(file)
    workloads = gather([str(file), str(plain)], tmp_path / "work")
    machine = Machine("d", 1, 100.0, ((1000, 50.0), (10**6, 10.0)))
    assert profile(workloads[0].path, machine, runs=5).total.macs == profile(plain, machine, runs=5).total.macs > 0
    whole, same = whole_files(workloads, tmp_path / "whole")
    assert len(open_graph(whole.path).graph.initializer) == len(open_graph(plain).graph.initializer)
    assert not [entry for tensor in onnx.load(whole.path, load_external_data=False).graph.initializer
                for entry in tensor.external_data]  # fmt: skip
    assert same.path == plain


@pytest.mark.slow
def test_a_side_that_is_not_given_is_asked_for(dynamic, scarlet, tmp_path):
    for verb in (("optimize", "--out", tmp_path), ("bench",), ("profile",)):
        said = refused(scarlet, verb[0], dynamic, *verb[1:])
        assert "(n, 3, h, w)" in said
        assert "--shape 1,3,224,224" in said
    with pytest.raises(ArtifactError, match="--shape 1,3,224,224"):
        input_shapes(dynamic)
    assert input_shapes(dynamic, ["1,3,48,64"]) == {"x": [1, 3, 48, 64]}
    (record,) = bench(dynamic, settings=Settings(runs=10, seconds=0.01, shapes=("x=2,3,48,64",)), repeats=0)
    assert record.conditions.input_shape == {"x": [2, 3, 48, 64]}
    assert record.settings.shapes == ("x=2,3,48,64",)
    made = optimize(dynamic, tmp_path / "o.onnx", shapes=["1,3,48,64"])
    assert made.lowering.applied["raise_hard_swish"] == 2
    sides = onnx.load(made.artifact.path).graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["n", 3, "h", "w"]


def test_a_shape_that_does_not_fit_is_one_line(plain, dynamic, scarlet):
    for file, shape, told in (
        (plain, "1,3,48,48", "its input 'x' is (n, 3, 32, 32)"),
        (dynamic, "1,3,48", "its input 'x' is (n, 3, h, w)"),
        (dynamic, "1,3,0,48", "wanted sides such as"),
        (dynamic, "1,3,a,48", "wanted sides such as"),
        (dynamic, "z=1,3,48,48", "one of the inputs x"),
    ):
        assert told in refused(scarlet, "bench", file, "--shape", shape)


def test_what_the_runtime_refuses_while_it_runs_is_one_line(scarlet, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 16 * 16, 5))
    file = torch_file(model, tmp_path / "m.onnx", IMAGE, dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}})
    for verb in (("optimize", "--out", tmp_path / "out"), ("bench",), ("profile",)):
        said = refused(scarlet, verb[0], file, *verb[1:], "--shape", "1,3,48,64")
        assert "does not run it on x=1,3,48,64" in said
    assert scarlet("optimize", file, "--out", tmp_path / "out", "--shape", "1,3,32,32")[0] == 0


@pytest.mark.parametrize(
    ("inputs", "given", "shapes"),
    [
        ([("x", ["n", 3, 8, 8])], [], {"x": (1, 3, 8, 8)}),
        ([("x", [None, 3, 8, 8])], [], {"x": (1, 3, 8, 8)}),
        ([("x", ["s77", 3, 8, 8])], [], {"x": (1, 3, 8, 8)}),
        ([("ids", ["batch", "seq"]), ("mask", ["batch", "seq"])], ["ids=2,9"], {"ids": (2, 9), "mask": (2, 9)}),
        ([("x", ["seq", "batch", 4])], ["5,2,4"], {"x": (5, 2, 4)}),
        ([("x", [1, 3, "?", "?"])], ["1,3,4,6"], {"x": (1, 3, 4, 6)}),
        ([("x", [1, "w"]), ("k", [])], ["1,7"], {"x": (1, 7), "k": ()}),
    ],
)
def test_the_sides_of_inputs(inputs, given, shapes):
    assert shapes_of_inputs(Path("m.onnx"), inputs, given) == shapes


@pytest.mark.parametrize(
    "inputs",
    [
        [("x", ["height", "width", 3])], [("x", ["samples"])], [("x", ["seq", "batch", 4])], [("x", [1, 1, 64, "w"])],
        [("x", [None])], [("a", ["n", "k"]), ("b", ["n", "m"])],
    ],
)  # fmt: skip
def test_no_side_but_a_batch_is_taken_as_one(inputs):
    with pytest.raises(MeasurementError, match="--shape"):
        shapes_of_inputs(Path("m.onnx"), inputs, [])


class Several(nn.Module):
    """A scalar, anchors without a batch, an answer that depends on the batch, one with the batch behind, classes."""

    def __init__(self):
        super().__init__()
        self.body, self.side = network(), nn.Linear(4, 5)
        self.register_buffer("anchors", torch.rand(7, 4))

    def forward(self, x, y):
        z = self.body(x) + self.side(y)
        return z, z.mean(), self.anchors * 1.0, z - z.mean(0, keepdim=True), z.t(), z.argmax(1)


def test_outputs_of_any_shape_are_compared(tmp_path):
    file = torch_file(Several(), tmp_path / "m.onnx", IMAGE, torch.rand(1, 4))
    parity = optimize(file, tmp_path / "o.onnx").parity
    assert {case.case.partition(", ")[2].partition(",")[0] for case in parity.cases} == {
        "batch 1", "batch 3", "batch 8"
    }  # fmt: skip
    assert len({case.case.rpartition(", ")[2] for case in parity.cases}) >= 6
    with RunTwice(file) as runner:
        assert {name: value.shape for name, value in runner.feeds.items()} == {"x": (1, 3, 32, 32), "x1": (1, 4)}


class RunTwice:
    """A runner that has run twice: some files fail only the second time, when an output is there already."""

    def __init__(self, path, *shapes):
        self.runner = Runner(path, Settings(shapes=shapes))

    def __enter__(self):
        assert min(self.runner.time_ms(), self.runner.time_ms()) > 0
        return self.runner

    def __exit__(self, *_):
        return None


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.conv, self.swish, self.head = nn.Embedding(9, 8), nn.Conv1d(8, 8, 3), Swish(), nn.Linear(8, 3)

    def forward(self, ids, mask):
        mixed = (self.embed(ids) * mask.unsqueeze(-1)).transpose(1, 2)
        return self.head(self.swish(self.conv(mixed)).mean(2))


def volume():
    return nn.Sequential(
        nn.Conv3d(3, 4, 3, bias=False), nn.BatchNorm3d(4), Swish(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )


def sound():
    return nn.Sequential(
        nn.Conv1d(1, 4, 5, 2, bias=False), nn.BatchNorm1d(4), Swish(), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    )


def vectors():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Hardswish())


@pytest.mark.parametrize(
    ("make", "inputs", "rewritten"),
    [
        (Tokens, (torch.ones(1, 6, dtype=torch.long), torch.ones(1, 6)), "raise_hard_swish"),
        (volume, (torch.rand(1, 3, 4, 8, 8),), "fold_batch_norm"),
        (sound, (torch.rand(1, 1, 60),), "fold_batch_norm"),
        (lambda: network().half(), (IMAGE.half(),), "fold_batch_norm"),
        (lambda: network(2), (torch.rand(1, 2, 32, 32),), "raise_hard_swish"),
        (vectors, (torch.rand(2, 6),), "fold_batch_norm"),
    ],
    ids=["tokens", "video", "sound", "float16", "two channels", "vectors"],
)  # fmt: skip
def test_inputs_of_any_rank_and_type_are_optimised_and_measured(make, inputs, rewritten, tmp_path):
    file = torch_file(make(), tmp_path / "m.onnx", *inputs)
    made = optimize(file, tmp_path / "o.onnx")
    assert made.lowering.applied[rewritten] > 0
    assert made.parity.passed
    with RunTwice(made.artifact.path) as runner:
        assert [value.ndim for value in runner.feeds.values()] == [given.ndim for given in inputs]


def test_a_wrong_declared_rank_is_measured_all_the_same(tmp_path):
    sides, kept = (
        numpy_helper.from_array(np.array(values), name)
        for name, values in (("sides", [1, 4, 8, 8]), ("kept", np.array([0, 1, 1, 1], np.float32)))
    )
    nodes = [
        convolution("x", "c"),
        helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "low"], ["z"]),
        helper.make_node("Add", ["kept", "z"], ["k"]),
        helper.make_node("Cast", ["k"], ["b"], to=onnx.TensorProto.BOOL),
        helper.make_node("Compress", ["sides", "b"], ["s"]),
        helper.make_node("Reshape", ["c", "s"], ["y"]),
    ]
    with RunTwice(model_of(nodes, tmp_path / "m.onnx", tensors=[sides, kept])) as runner:
        assert runner.conditions["bound"] is False


OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 20, 22, 23)


def gated(opset):
    """A convolution, a hard-swish, and a gate of a mean over height and width, in the operators of an opset."""
    mean = (helper.make_node("ReduceMean", ["s"], ["g"], axes=[2, 3], keepdims=1) if opset < 18
            else helper.make_node("ReduceMean", ["s", "axes"], ["g"], keepdims=1))  # fmt: skip
    head = [helper.make_node("ReduceMean", ["p"], ["q"], axes=[3], keepdims=0),
            helper.make_node("ReduceMean", ["q"], ["y"], axes=[2], keepdims=0)] if opset < 18 else [
            helper.make_node("ReduceMean", ["p", "last"], ["q"], keepdims=0),
            helper.make_node("ReduceMean", ["q", "third"], ["y"], keepdims=0)]  # fmt: skip
    return [convolution("x", "a"), *swish("a", "s", opset), mean, helper.make_node("Sigmoid", ["g"], ["h"]),
            helper.make_node("Mul", ["s", "h"], ["p"]), *head]  # fmt: skip


def is_loaded_here(file):
    """Whether this version of ONNX Runtime knows the file's operators."""
    try:
        return bool(ort.InferenceSession(file, providers=["CPUExecutionProvider"]))
    except Exception as error:
        return "opset" not in str(error)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_graph_variant_is_spelled_in_the_operators_of_the_opset(opset, tmp_path):
    axes = [numpy_helper.from_array(np.array(value, np.int64), name)
            for name, value in (("axes", [2, 3]), ("last", [3]), ("third", [2]))] if opset >= 18 else []  # fmt: skip
    ir_version = 3 if opset < 9 else 8
    file = model_of(gated(opset), tmp_path / "m.onnx", opset, ir_version, axes, outputs=[images("y", (1, 4))])
    if opset > 21 and not is_loaded_here(file):  # 1.20, the lowest version that is allowed, knows 21
        with pytest.raises(ArtifactError, match="does not load it"):
            optimize_file(file, tmp_path / "out.onnx", "native")
        return
    for form in FORMS:
        made = optimize_file(file, tmp_path / f"{form}.onnx", form)
        assert made.parity.passed
        assert made.artifact.opset == opset
        assert made.lowering.applied["raise_hard_swish"] == 1
        kinds = {node.op_type for node in onnx.load(made.artifact.path).graph.node}
        if form == "native":
            assert ("HardSwish" if opset >= 14 else "HardSigmoid") in kinds
            assert "GlobalAveragePool" in kinds
        if form in ("friendly", "released"):
            assert "Clip" in kinds
        if form == "blocked":
            assert ("Resize" in kinds) == (opset >= 10)


@pytest.mark.slow
def test_a_variant_that_fails_is_a_row_with_its_reason(tmp_path, scarlet, monkeypatch):
    from scarlet_zoo.deployment import optimize as module

    def broken(source, path, form, **how):
        if form == "friendly":
            raise ExportError("no such spelling")
        return optimize_file(source, path, form, **how)

    monkeypatch.setattr(module, "optimize_file", broken)
    file = model_of([convolution("x", "a"), *swish("a", "y")], tmp_path / "m.onnx")
    code, out, err = scarlet("optimize", file, "--tune", "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    reasons = {row["form"]: row["reason"] for row in json.loads(out)["tuning"]}
    assert reasons == {"native": None, "blocked": None, "friendly": "no such spelling", "released": None}


def test_initializers_among_the_inputs_become_constants(tmp_path):
    file = model_of([convolution("x", "a"), *swish("a", "y", 8)], tmp_path / "m.onnx", 8, ir_version=3)
    made = optimize(file, tmp_path / "o.onnx")
    assert [value.name for value in onnx.load(made.artifact.path).graph.input] == ["x"]
    assert made.artifact.ir_version == 4


@pytest.mark.parametrize(("make", "convolutions", "unfused"), [
    (branching, 2, 2), (looping, 1, 1), (scanning, 1, 1), (with_functions, 1, 1),
])  # fmt: skip
def test_operators_in_subgraphs_and_functions_are_counted(make, convolutions, unfused, scarlet, tmp_path):
    file = make(tmp_path / "m.onnx")
    report = inspect(file)
    assert (report.totals["convolutions"], report.totals["unfused"]) == (convolutions, unfused)
    code, _, err = scarlet("inspect", file, "--fail-on", "unfused=0")
    assert code == 1
    assert f"unfused {unfused}, wanted at most 0" in err
    assert optimize(file, tmp_path / "o.onnx").parity.passed


def test_an_activation_behind_a_branch_belongs_to_the_convolution_in_it(tmp_path):
    nodes = {"then_branch": [convolution("x", "t")], "else_branch": [helper.make_node("Identity", ["x"], ["t"])]}
    branches = {name: helper.make_graph(inner, name, [], [images("t")]) for name, inner in nodes.items()}
    file = model_of(
        [helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0), helper.make_node("Greater", ["m", "low"], ["c"]),
         helper.make_node("If", ["c"], ["i"], **branches), helper.make_node("Tanh", ["i"], ["y"])], tmp_path / "m.onnx",
    )  # fmt: skip
    assert [row.follower for row in inspect(file).convolutions] == ["Tanh"]


def test_what_runtimes_do_without_is_completed(tmp_path):
    file = model_of([convolution("x", "a"), *swish("a", "y")], tmp_path / "m.onnx")
    model = onnx.load(file)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.opset_import[0].domain = "ai.onnx"
    onnx.save(model, file)
    made = optimize(file, tmp_path / "o.onnx")
    assert made.lowering.applied["raise_hard_swish"] == 1
    assert made.artifact.opset == 17
    sides = onnx.load(made.artifact.path).graph.output[0].type.tensor_type.shape.dim
    assert [side.dim_value for side in sides] == [1, 4, 8, 8]


def test_two_outputs_of_one_tensor_keep_their_names(tmp_path):
    nodes = [convolution("x", "a"), *swish("a", "b"), *[helper.make_node("Identity", ["b"], [name]) for name in "yz"]]
    file = model_of(nodes, tmp_path / "m.onnx", outputs=[images("y"), images("z")])
    made = optimize(file, tmp_path / "o.onnx")
    assert [value.name for value in onnx.load(made.artifact.path).graph.output] == ["y", "z"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_source_is_never_overwritten(plain, scarlet, tmp_path):
    source = tmp_path / "m.onnx"
    shutil.copy(plain, source)
    before = digest(source)
    (tmp_path / "link").symlink_to(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "m.onnx").symlink_to(source)
    for out in (tmp_path, tmp_path / "link", other):
        for more in ((), ("--tune",)):
            assert "--force" in refused(scarlet, "optimize", source, "--out", out, *more)
        assert digest(source) == before
    with pytest.raises(ExportError, match="is the file that is read"):
        optimize(source, source)
    code, out, _ = scarlet("optimize", source, "--out", tmp_path, "--name", "fast", "--json")
    assert (code, json.loads(out)["path"]) == (0, str(tmp_path / "fast.onnx"))
    assert digest(source) == before
    assert scarlet("optimize", source, "--out", tmp_path, "--force")[0] == 0
    assert digest(source) != before
    for name in ("a/b", "..", ".onnx"):
        assert "wanted a file's name" in refused(scarlet, "optimize", source, "--out", tmp_path, "--name", name)


def test_the_data_of_the_source_are_never_overwritten(plain, scarlet, tmp_path):
    file = with_data_beside(plain, tmp_path, data="data.onnx")
    before = digest(tmp_path / "data.onnx")
    assert "is the file that is read" in refused(scarlet, "optimize", file, "--out", tmp_path, "--name", "data")
    assert digest(tmp_path / "data.onnx") == before


@pytest.mark.slow
def test_libraries_say_nothing_on_stderr(tmp_path):
    file = model_of([convolution("x", "a"), *swish("a", "y", 8)], tmp_path / "m.onnx", 8, ir_version=3)
    kept = torch_file(network(), tmp_path / "k.onnx", IMAGE, keep_initializers_as_inputs=True)
    for source in (file, kept):
        command = [sys.executable, "-m", "scarlet_zoo", "optimize", source, "--out", tmp_path / "out", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        assert done.stderr == ""
        assert json.loads(done.stdout)["parity"]["passed"]
