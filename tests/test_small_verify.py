"""The verification of a file, on networks of two layers: what it compares, what it allows, and what it refuses."""

import copy
import re
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from small_graphs import graph_of
from torch import nn

from scarlet_zoo import ParityError, verify
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.parity import FLOAT16_WEIGHTS, FLOAT32, INT8, Tolerance, looser_of, tolerance_of
from scarlet_zoo.deployment.verify import compare_networks
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.graph.passes.uint8_input import take_uint8_input
from scarlet_zoo.graph.session import OnnxNetwork

FEED = Preprocessing((8, 8), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bilinear", 0.875)
LOGITS = "y = Gemm <transB = 1> (f, v, e)"
TWO = "y = Gemm <transB = 1> (f, v, e) z = Flatten (c)"


class Net(nn.Module):
    """A convolution, its mean and a linear layer; with ``maps`` the outputs are two, with ``whole`` the map alone."""

    def __init__(self, channels=3, classes=5, kind="logits"):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.kind = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(4, classes), kind
        self.drop = nn.Dropout(0.9)

    def forward(self, x):
        c = self.conv(x)
        y = self.head(self.drop(c.mean((2, 3))))
        return {"logits": y, "both": (y, c.flatten(1)), "map": c}[self.kind]


def file_of(model, path, batch="n", change=(), pixels=False):
    """The network as an ONNX file, with some of its weights changed."""
    arrays = {"w": model.conv.weight, "b": model.conv.bias, "v": model.head.weight, "e": model.head.bias}
    arrays = {name: value.detach().float().numpy().copy() for name, value in arrays.items()}
    for name, factor in change:
        arrays[name] *= factor
    channels, classes = model.conv.in_channels, model.head.out_features
    made = {"logits": f"(float[{batch},{classes}] y)", "both": f"(float[{batch},{classes}] y, float[{batch},256] z)",
            "map": f"(float[{batch},4,8,8] c)"}[model.kind]  # fmt: skip
    body = "c = Conv <pads = [1,1,1,1]> (x, w, b)"
    if model.kind != "map":
        body += f" m = GlobalAveragePool (c) f = Flatten (m) {TWO if model.kind == 'both' else LOGITS}"
    else:
        arrays = {name: arrays[name] for name in ("w", "b")}
    graph = graph_of(f"(float[{batch},{channels},8,8] x) => {made} {{ {body} }}", **arrays)
    if pixels:
        take_uint8_input(graph, FEED.mean, FEED.std)
    onnx.save(ir.serde.serialize_model(graph), path)
    return path


@pytest.fixture
def network():
    return Net().eval()


@pytest.fixture
def path(network, tmp_path):
    return file_of(network, tmp_path / "n.onnx")


def cases(parity):
    return [(case.case, case.images) for case in parity.cases]


def numpy_of(model):
    def run(images):
        with torch.inference_mode():
            out = model(torch.from_numpy(images))
        return [part.numpy() for part in out] if isinstance(out, tuple) else out.numpy()

    return run


def test_photographs_noise_and_extremes_are_compared_in_three_batches(network, path):
    parity = verify(network, path, preprocessing=FEED)
    assert cases(parity) == [(f"{name}, batch {batch}", count) for name, count in
                             (("photographs", 12), ("noise", 8), ("extremes", 4)) for batch in (1, 3, 8)]  # fmt: skip
    assert parity.passed
    assert parity.top1_agreement == 1
    assert parity.tolerance == FLOAT32
    assert [case.limit_sqnr_db is not None for case in parity.cases] == [True] * 3 + [False] * 6


def test_the_images_may_be_given(network, path):
    assert cases(verify(network, path, photos(2), preprocessing=FEED))[0] == ("photographs, batch 1", 2)
    without = verify(network, path, [], preprocessing=FEED)
    assert {name.split(",")[0] for name, _ in cases(without)} == {"noise", "extremes"}
    assert [case.limit_sqnr_db is not None for case in without.cases] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("change", [("w", 1.01), ("b", 0.9), ("v", 1.01), ("e", 1.01)])
def test_another_weight_fails(network, tmp_path, change):
    wrong = file_of(network, tmp_path / "wrong.onnx", change=[change])
    with pytest.raises(ParityError, match=r"wrong\.onnx") as caught:
        verify(network, wrong, preprocessing=FEED)
    assert not caught.value.parity.passed
    loose = Tolerance(max_rel_err=10, rounding_factor=10, min_sqnr_db=0, min_top1_agreement=0, reason="a test")
    parity = verify(network, wrong, preprocessing=FEED, tolerance=loose)
    assert parity.passed
    assert parity.tolerance == loose


def test_the_limits_of_noise_are_four_times_those_of_photographs(network, path):
    parity = verify(network, path, preprocessing=FEED)
    assert {case.limit_rel_err for case in parity.cases[:3]} == {FLOAT32.max_rel_err}
    assert {case.limit_rel_err for case in parity.cases[3:]} == {4 * FLOAT32.max_rel_err}
    strict = Tolerance(max_rel_err=0, rounding_factor=10, min_sqnr_db=0, min_top1_agreement=0, reason="a test")
    rounded = verify(network, path, preprocessing=FEED, tolerance=strict)
    limits = {case.case.split(",")[0]: case.limit_rel_err for case in rounded.cases}
    # The error that the source has by its own rounding; noise and extremes share the larger one.
    assert 0 < limits["photographs"] < 1e-4
    assert 0 < limits["noise"] == limits["extremes"] < 1e-4


def test_a_function_is_judged_on_photographs_alone(network, path, tmp_path):
    parity = verify(numpy_of(network), path, preprocessing=FEED)
    assert [case.limit_rel_err for case in parity.cases[:3]] == [FLOAT32.max_rel_err] * 3
    assert {case.limit_rel_err for case in parity.cases[3:]} == {float(np.finfo(np.float64).max)}
    with pytest.raises(ParityError):
        verify(numpy_of(network), file_of(network, tmp_path / "w.onnx", change=[("v", 1.01)]), preprocessing=FEED)


def test_a_function_needs_a_preprocessing_that_somebody_describes(network, path):
    with pytest.raises(
        ArtifactError, match=rf"^{re.escape(str(path))}: does not describe its preprocessing, wanted it"
    ):
        verify(numpy_of(network), path)


def test_a_torch_models_own_configuration_is_its_preprocessing(network, path):
    network.pretrained_cfg = {"input_size": (3, 8, 8), "mean": FEED.mean, "std": FEED.std, "crop_pct": 0.875,
                              "interpolation": "bilinear"}  # fmt: skip
    assert verify(network, path).passed
    # The file does not describe its own, so what is given stands for both.
    assert verify(network, path, preprocessing=Preprocessing((9, 9), (0.1,) * 3, (1.0,) * 3, "nearest", 1.0)).passed


def test_a_file_with_another_preprocessing_than_its_source_fails(network, path):
    other = Preprocessing((8, 8), (0.4, 0.5, 0.7), FEED.std, "bilinear", 0.875)
    said: dict[str, Any] = {"described": other, "preprocessing": FEED}
    with pytest.raises(ParityError, match="photographs"):
        compare_networks(network, OnnxNetwork(path), None, FLOAT32, **said)
    said["described"] = None
    assert compare_networks(network, OnnxNetwork(path), None, FLOAT32, **said).passed
    assert compare_networks(network, OnnxNetwork(path), None, FLOAT32, described=FEED, preprocessing=FEED).passed


def test_channels_and_outputs_must_be_those_of_the_source(network, path, tmp_path):
    with pytest.raises(ArtifactError, match=r"takes 3 channels, its source 1$"):
        verify(Net(1).eval(), path, preprocessing=Preprocessing((8, 8), (0.5,), (0.5,), "bilinear", 1.0))
    with pytest.raises(
        ArtifactError, match=r"got outputs of shapes \[\(12, 5\)\], wanted its source's \[\(12, 7\)\] \(im"
    ):
        verify(Net(classes=7).eval(), path, preprocessing=FEED)
    with pytest.raises(ArtifactError, match=r"got outputs of shapes \[\(12, 5\)\], wanted its source's \[\(12, 5\), "):
        verify(Net(kind="both").eval(), path, preprocessing=FEED)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_of_other_channels_are_noise(channels, tmp_path):
    model = Net(channels).eval()
    feed = Preprocessing((8, 8), (0.5,) * channels, (0.5,) * channels, "bilinear", 1.0)
    path = file_of(model, tmp_path / "n.onnx")
    parity = verify(model, path, preprocessing=feed)
    groups = [name.split(",")[0] for name, _ in cases(parity)]
    assert ("photographs" in groups) == (channels == 1)
    with pytest.raises(ParityError):
        verify(model, file_of(model, tmp_path / "w.onnx", change=[("w", 1.01)]), preprocessing=feed)


def test_several_outputs_are_each_compared(tmp_path):
    model = Net(kind="both").eval()
    parity = verify(model, file_of(model, tmp_path / "n.onnx"), preprocessing=FEED)
    assert [name for name, _ in cases(parity)][:2] == ["photographs, batch 1, y", "photographs, batch 1, z"]
    assert verify(numpy_of(model), tmp_path / "n.onnx", preprocessing=FEED).passed
    with pytest.raises(ParityError, match="batch 1, y: relative error"):
        verify(model, file_of(model, tmp_path / "w.onnx", change=[("v", 1.01)]), preprocessing=FEED)


def test_a_map_has_no_top_class(tmp_path):
    model = Net(kind="map").eval()
    parity = verify(model, file_of(model, tmp_path / "n.onnx"), preprocessing=FEED)
    assert parity.passed
    assert all(case.top1_agreement == 1 for case in parity.cases)
    assert cases(parity)[0] == ("photographs, batch 1", 12)


@pytest.mark.parametrize("batch", [1, 5])
def test_a_fixed_batch_is_the_only_one(network, batch, tmp_path):
    parity = verify(network, file_of(network, tmp_path / "n.onnx", batch), preprocessing=FEED)
    assert cases(parity) == [(f"photographs, batch {batch}", 12), (f"noise, batch {batch}", 8),
                             (f"extremes, batch {batch}", 4)]  # fmt: skip


def test_a_file_of_pixels_is_compared_on_pixels(network, tmp_path):
    path = file_of(network, tmp_path / "p.onnx", pixels=True)
    parity = verify(network, path, preprocessing=FEED)
    assert cases(parity)[3::3] == [("noise, batch 1", 8), ("extremes, batch 1", 4)]
    assert parity.passed
    with pytest.raises(ParityError):
        verify(network, file_of(network, tmp_path / "w.onnx", change=[("w", 1.01)], pixels=True), preprocessing=FEED)
    # A source that rounds its input to pixels is compared on images of pixels, whatever the file takes.
    same, seen = file_of(network, tmp_path / "n.onnx"), []

    def rounding(images):
        pixels = (images * np.reshape(FEED.std, (3, 1, 1)) + np.reshape(FEED.mean, (3, 1, 1))) * 255
        assert np.abs(pixels - pixels.round()).max() < 1e-3
        seen.append((len(images), round(pixels.min()), round(pixels.max())))
        return numpy_of(network)(images)

    told: dict[str, Any] = {"described": FEED, "preprocessing": FEED}
    assert compare_networks(rounding, OnnxNetwork(same), [], FLOAT32, **told, in_pixels=True).passed
    assert seen == [(8, 0, 255), (4, 0, 255)]
    with pytest.raises(AssertionError):
        compare_networks(rounding, OnnxNetwork(same), [], FLOAT32, **told)


def test_two_files_are_compared_with_each_other(network, path, tmp_path):
    same, wrong = (file_of(network, tmp_path / f"{name}.onnx", change=change) for name, change in
                   (("same", ()), ("wrong", [("v", 1.01)])))  # fmt: skip
    for first in (path, str(path)):
        assert verify(first, same, preprocessing=FEED).passed
        with pytest.raises(ParityError, match=r"wrong\.onnx"):
            verify(first, str(wrong), preprocessing=FEED)


def test_the_callers_model_is_left_as_it_is(network, path):
    training = copy.deepcopy(network).double().train()
    before = copy.deepcopy(training.state_dict())
    assert verify(training, path, preprocessing=FEED).passed  # in eval mode, or the dropout would show
    assert training.training
    assert training.drop.training
    assert training.conv.weight.dtype == torch.float64
    assert all(torch.equal(before[key], value) for key, value in training.state_dict().items())


def test_a_source_that_overflows_allows_nothing(tmp_path):
    model = Net().eval()
    with torch.no_grad():
        model.head.weight.mul_(1e38)
    with pytest.raises(ParityError):
        verify(model, file_of(model, tmp_path / "n.onnx", change=[("v", 0.5)]), preprocessing=FEED)


def test_the_tolerance_is_that_of_the_lowest_precision():
    assert [tolerance_of(name) for name in ("float32", "float16 weights", "int8")] == [FLOAT32, FLOAT16_WEIGHTS, INT8]
    assert looser_of(["float32", "int8", "float16 weights"]) == INT8
    assert looser_of(["float32", "float32"]) == FLOAT32


def test_what_fails_is_said_with_what_was_wanted(network, tmp_path):
    wrong = file_of(network, tmp_path / "wrong.onnx", change=[("v", -1)])
    with pytest.raises(ParityError) as caught:
        verify(network, wrong, preprocessing=FEED)
    failures = caught.value.parity.failures()
    first = caught.value.parity.cases[0]
    assert failures[0] == f"photographs, batch 1: relative error {first.max_rel_err:.1e}, at most 5.0e-04"
    assert len([line for line in failures if "relative error" in line]) == 9
    worst = min(case.sqnr_db for case in caught.value.parity.cases[:3])
    assert f"SQNR {worst:.0f} dB, at least 80" in failures
    agreement = caught.value.parity.top1_agreement
    assert failures[-1] == f"top-1 agreement {agreement:.1%}, at least 100.0%"
    assert failures[0] in str(caught.value)
    assert caught.value.parity.to_dict()["cases"][0]["case"] == "photographs, batch 1"


VECTORS = "(float[n,{side}] x) => (float[n,5] y) {{ y = Gemm <transB = 1> (x, v) }}"


def vectors(path, factor=1.0, side=6, half=False):
    """A file whose input is no image."""
    weight = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float16 if half else np.float32)
    weight[0] *= factor
    text = VECTORS.format(side=side)
    text = text.replace("y = Gemm", "w = Cast <to = 1> (v) y = Gemm").replace("(x, v)", "(x, w)") if half else text
    onnx.save(ir.serde.serialize_model(graph_of(text, v=weight)), path)
    return path


@pytest.mark.parametrize(("side", "shapes"), [(6, ()), ("k", ("1,6",)), ("k", ("x=2,6",))])
def test_files_of_other_inputs_are_compared_on_random_ones(side, shapes, tmp_path):
    one, same = (vectors(tmp_path / f"{name}.onnx", side=side) for name in ("one", "same"))
    assert verify(one, same, shapes=shapes).passed
    with pytest.raises(ParityError, match=r"other\.onnx"):
        verify(one, vectors(tmp_path / "other.onnx", 1.01, side), shapes=shapes)
    if shapes:
        with pytest.raises(ArtifactError, match="x"):
            verify(one, same)


def test_the_looser_precision_of_two_files_counts(tmp_path):
    plain, rough = vectors(tmp_path / "plain.onnx"), vectors(tmp_path / "rough.onnx", half=True)
    assert verify(plain, rough).tolerance == verify(rough, plain).tolerance == FLOAT16_WEIGHTS
    assert verify(plain, vectors(tmp_path / "same.onnx")).tolerance == FLOAT32
    assert verify(rough, plain, tolerance=INT8).tolerance == INT8


def test_a_preprocessing_may_be_named(network, path):
    parity = verify(network, path, preprocessing="imagenet")
    assert parity.passed
    with pytest.raises(ScarletError, match="imagenot"):
        verify(network, path, preprocessing="imagenot")


def test_a_preprocessing_that_is_given_is_that_of_both_files(network, path, tmp_path):
    pixels = file_of(network, tmp_path / "pixels.onnx", pixels=True)
    assert verify(path, pixels, preprocessing=FEED).passed
    with pytest.raises(ParityError):
        verify(path, pixels, preprocessing="imagenet")


def test_a_provider_that_is_not_there_is_told_before_anything_is_compared(network, path):
    for reference in (network, path):
        with pytest.raises(ArtifactError, match="wanted one of"):
            verify(reference, path, preprocessing=FEED, provider="XNNPACK")
    with pytest.raises(ArtifactError, match="wanted one of"):
        verify(vectors(path.with_name("v.onnx")), path.with_name("v.onnx"), provider="XNNPACK")
    assert verify(network, path, preprocessing=FEED, provider="cpu").provider == "CPUExecutionProvider"
