"""ONNX files from anywhere: other exporters' become fast and stay right, hostile ones are one clear line."""

import json
import warnings

import numpy as np
import onnx
import pytest
import timm
import torch
from conftest import TINY, randomized
from onnx import TensorProto, helper, numpy_helper

from scarlet_zoo import export_onnx
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.fusion import inspect
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.session import OnnxNetwork


def torch_export(model, path, size=64, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (torch.randn(1, 3, size, size),), path, **{"dynamo": False, "opset_version": 17, **how}
        )
    return path


class ReleasedSwish(torch.nn.Module):
    def forward(self, x):
        return x * torch.nn.functional.relu6(x + 3) / 6


class Released(torch.nn.Module):
    """As the released SCARLET code spells: hard-swish by hand, a batch norm, a head that means twice."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2), torch.nn.BatchNorm2d(16), ReleasedSwish())
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.body(x).mean(3).mean(2))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["native", "ort-x64"])
def test_the_released_spelling_becomes_fast_and_stays_right(target, scarlet, tmp_path):
    source = torch_export(Released(), tmp_path / "released.onnx")
    code, out, err = scarlet("optimize", source, "--target", target, "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["rewrites"]["raise_hard_swish"] == 1
    assert said["rewrites"]["merge_means"] == 1
    assert said["parity"]["passed"] is True
    assert said["path"] == str(tmp_path / "out" / "released.onnx")
    ops = {node.op_type for node in onnx.load(said["path"]).graph.node}
    assert ops >= {"HardSwish", "GlobalAveragePool"}
    assert not {"Clip", "Div", "ReduceMean", "BatchNormalization"} & ops
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    one, two = (OnnxNetwork(path).run(images, 1)[0] for path in (source, tmp_path / "out" / "released.onnx"))
    assert np.abs(one - two).max() < 1e-5
    before, after = (inspect(path).totals["unfused"] for path in (source, said["path"]))
    assert (before, after) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"dynamo": True, "opset_version": 18, "external_data": False, "verbose": False}])
def test_timms_hard_swish_networks_are_optimised(how, scarlet, tmp_path):
    source = torch_export(timm.create_model("mobilenetv3_small_050", num_classes=10), tmp_path / "m.onnx", **how)
    code, out, _ = scarlet("optimize", source, "--out", tmp_path / "out", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["parity"]["sqnr_db"] > 80
    assert inspect(said["path"]).totals["unfused"] == 0


@pytest.mark.slow
def test_the_form_of_our_own_file_is_changed_and_its_description_kept(scarlet, tmp_path):
    made = export_onnx(randomized(Arch.of(TINY, ["e3k3se"] * 8), dtype=torch.float32), tmp_path / "own.onnx")
    code, out, _ = scarlet("optimize", made.path, "--target", "ort-x64", "--out", tmp_path / "out", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["form"] == "blocked"
    assert said["metadata"]["arch"] == made.metadata["arch"]


def graph_of(nodes, tensors=(), opset=17, external=None):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw"))], list(tensors),
    )  # fmt: skip
    if external:
        tensor = graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            tensor.external_data.add(key=key, value=str(value))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def hostile(name, folder):
    """The model of a case, and what the message must say."""
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    huge = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    del huge.dims[:]
    huge.dims.extend([2**29, 1, 1, 1])
    negative = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    negative.dims[0] = -4
    (folder / "cut.bin").write_bytes(b"1234")
    (folder.parent / "outside.bin").write_bytes(bytes(48))
    (folder / "link.bin").symlink_to(folder.parent / "absent.bin")
    loop = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Relu", ["b"], ["y"])]  # fmt: skip
    cases = {
        "a tensor of 2 GB that is not there": (graph_of([conv], [huge]), "declares 2147483648 bytes, holds 48"),
        "a negative side": (graph_of([conv], [negative]), "declares the shape"),
        "a cycle": (graph_of(loop), "not a valid ONNX graph"),
        "an opset of the future": (graph_of([conv], [weight], opset=99), "opset 99, wanted"),
        "an operator that is none": (graph_of([helper.make_node("Convolve", ["x"], ["y"])]), "not a valid ONNX graph"),
        "missing data": (graph_of([conv], [weight], external={"location": "no.bin"}), "no such file"),
        "cut data": (graph_of([conv], [weight], external={"location": "cut.bin"}), "declares 48 bytes"),
        "a climbing path": (graph_of([conv], [weight], external={"location": "../outside.bin"}), "own folder"),
        "an absolute path": (graph_of([conv], [weight], external={"location": "/etc/passwd"}), "own folder"),
        "a path that climbs on Windows": (graph_of([conv], [weight], external={"location": "..\\x"}), "own folder"),
        "a link to nothing": (graph_of([conv], [weight], external={"location": "link.bin"}), "no such file"),
        "an offset beyond the end": (
            graph_of([conv], [weight], external={"location": "cut.bin", "offset": 10**18, "length": 48}), "cut.bin"),
        "an offset that is no number": (
            graph_of([conv], [weight], external={"location": "cut.bin", "offset": "ten"}), "not a whole number"),
    }  # fmt: skip
    return cases if name is None else cases[name]


HOSTILE = [
    "a tensor of 2 GB that is not there", "a negative side", "a cycle", "an opset of the future",
    "an operator that is none", "missing data", "cut data", "a climbing path", "an absolute path",
    "a path that climbs on Windows", "a link to nothing", "an offset beyond the end", "an offset that is no number",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_and_nothing_is_written(name, scarlet, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    model, told = hostile(name, folder)
    file = folder / "m.onnx"
    file.write_bytes(model.SerializeToString())
    out = tmp_path / "out"
    out.mkdir()
    (out / "m.onnx").write_bytes(b"the old one")
    code, said, err = scarlet("optimize", file, "--out", out)
    assert (code, said) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err
    assert str(file) in err
    assert [path.name for path in out.iterdir()] == ["m.onnx"]
    assert (out / "m.onnx").read_bytes() == b"the old one"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_one_line(share, scarlet, tmp_path):
    made = export_onnx(randomized(Arch.of(TINY, ["e3k3"] * 8), dtype=torch.float32), tmp_path / "whole.onnx")
    content = made.path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
    for verb in (("optimize", "--out", tmp_path / "out"), ("inspect",), ("bench",)):
        code, said, err = scarlet(verb[0], tmp_path / "cut.onnx", *verb[1:])
        assert (code, said) == (2, "")
        assert err.count("\n") == 1
    assert not (tmp_path / "out" / "cut.onnx").exists()


def test_data_beside_the_file_is_read(tmp_path):
    (tmp_path / "w.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    model = graph_of([helper.make_node("Conv", ["x", "w"], ["y"])], [weight], external={"location": "w.bin"})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (held,) = open_graph(tmp_path / "m.onnx").graph.initializer
    assert numpy_helper.to_array(held).reshape(-1).tolist() == list(range(12))


def test_what_is_absent_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        open_graph(tmp_path / "absent.onnx")
