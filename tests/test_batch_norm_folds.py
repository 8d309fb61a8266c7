"""Batch norms before and behind every linear operator: folded exactly, or left with the reason."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from foreign_files import torch_file
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from scarlet_zoo import optimize
from scarlet_zoo.deployment.optimize import optimize_file

IMAGE, VECTOR = torch.rand(2, 8, 9, 9), torch.rand(2, 8)


class Paddle(nn.Module):
    """A bias that is added apart, between the convolution and its norm, as PaddlePaddle writes it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.ConvTranspose2d(8, 6, 2, 2, groups=2, bias=False)
        self.bias, self.norm = nn.Parameter(torch.rand(1, 6, 1, 1)), nn.BatchNorm2d(6)

    def forward(self, x):
        return self.norm(self.conv(x) + self.bias)


class Read(nn.Module):
    """A convolution whose output is read beside its norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) * y


def behind(layer, norm):
    return lambda: nn.Sequential(layer(), norm)


FOLDED = {
    "behind Conv": (lambda: nn.Sequential(nn.Conv2d(8, 6, 3, groups=2), nn.BatchNorm2d(6)), IMAGE),
    "behind ConvTranspose": (lambda: nn.Sequential(nn.ConvTranspose2d(8, 6, 3), nn.BatchNorm2d(6)), IMAGE),
    "behind ConvTranspose of groups": (
        lambda: nn.Sequential(nn.ConvTranspose2d(8, 12, 4, 2, 1, groups=4, bias=False), nn.BatchNorm2d(12)), IMAGE),
    "behind ConvTranspose, one axis": (
        lambda: nn.Sequential(nn.ConvTranspose1d(8, 6, 3, groups=2), nn.BatchNorm1d(6)), torch.rand(2, 8, 9)),
    "behind Linear": (lambda: nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5)), VECTOR),
    "before Linear": (lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 5)), VECTOR),
    "before Conv": (lambda: nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1)), IMAGE),
    "before Conv of groups": (lambda: nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3, groups=2)), IMAGE),
    "behind a bias apart": (Paddle, IMAGE),
}  # fmt: skip


def norms(path):
    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("kind", FOLDED)
def test_a_norm_is_folded_exactly(kind, tmp_path):
    make, given = FOLDED[kind]
    torch.manual_seed(0)
    model = make()
    source = torch_file(model, tmp_path / "m.onnx", given)
    # torch's exporter folds some norms itself; those that it leaves are ours.
    before = norms(source)
    made = optimize(source, tmp_path / "o.onnx")
    assert norms(made.artifact.path) == 0
    assert made.lowering.applied["fold_batch_norm"] + made.lowering.applied["fold_batch_norm_behind"] == before == 1
    got = ort.InferenceSession(str(made.artifact.path)).run(None, {"x": given.numpy()})[0]
    with torch.inference_mode():
        assert np.abs(got - model.double()(given.double()).numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3, padding=1)), "cannot pass its padding"),
        (Read, "read by another node"),
    ],
)
def test_a_norm_that_cannot_be_folded_stays_with_the_reason(make, reason, tmp_path):
    made = optimize(torch_file(make(), tmp_path / "m.onnx", IMAGE), tmp_path / "o.onnx")
    assert norms(made.artifact.path) == 1
    assert any(reason in refusal.reason for refusal in made.lowering.refused)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [(), (1,), (5,), (1, 5), (2, 5), None])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_product_with_factors_and_any_bias(trans, bias, place, tmp_path):
    random = np.random.default_rng(0)
    channels = 4 if place == "before" else 5
    tensors = {"w": random.standard_normal((5, 4) if trans else (4, 5)),
               **{name: random.uniform(0.5, 1.5, channels) for name in "sbmv"}}  # fmt: skip
    if bias is not None:
        tensors["c"] = random.standard_normal(bias)
    product = [*(["n", "w"] if place == "before" else ["x", "w"]), *(["c"] if bias is not None else [])]
    gemm = helper.make_node("Gemm", product, ["y" if place == "before" else "n"], alpha=0.5, beta=2.0, transB=trans)
    norm = helper.make_node("BatchNormalization", ["x" if place == "before" else "n", *"sbmv"],
                            ["n" if place == "before" else "y"])  # fmt: skip
    graph = helper.make_graph(
        [norm, gemm] if place == "before" else [gemm, norm], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 5))],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    made = optimize_file(tmp_path / "m.onnx", tmp_path / "o.onnx", "native")
    # A bias that differs between rows is none of the channels.
    assert norms(made.artifact.path) == (1 if bias == (2, 5) else 0)
