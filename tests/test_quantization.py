"""Integers: exact where they must be, near where they may be, the same bits everywhere, and golden outputs say so."""

import json

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import FASHION, TINY, images_for, randomized
from hypothesis import given
from hypothesis import strategies as st
from lab_parts import record

from scarlet_zoo import export_onnx
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.data.splits import in_order
from scarlet_zoo.errors import ArtifactError, ExportError, ScarletWarning
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.fusion import inspect
from scarlet_zoo.graph.quantization.calibrate import METHODS, Observed, count
from scarlet_zoo.graph.quantization.exact import exact_network, runs_exactly
from scarlet_zoo.graph.quantization.golden import Golden, check_golden, generate
from scarlet_zoo.graph.quantization.grids import Grid
from scarlet_zoo.graph.quantization.insert_qdq import mean_error, quantize_weight
from scarlet_zoo.graph.quantization.isa import preset, usual_preset
from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8
from scarlet_zoo.graph.quantization.sensitivity import sensitivities
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.inference.load import load
from scarlet_zoo.measurement.records import check_record
from scarlet_zoo.models.loading import load_network

ARCH = Arch.of(TINY, ["e3k3se", "e6k5", "e3k3", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    network = randomized(ARCH, dtype=torch.float32)
    return export_onnx(network, tmp_path_factory.mktemp("int8") / "source.onnx"), images_for(
        network, 24
    ).float().numpy()


@pytest.fixture(scope="module")
def quantized(source, tmp_path_factory):
    artifact, images = source
    return quantize_int8(artifact.path, tmp_path_factory.mktemp("int8") / "q.onnx", images, Int8(isa="x64-vnni"))


@pytest.fixture(scope="module")
def uint8_weights(source, tmp_path_factory):
    artifact, images = source
    return quantize_int8(artifact.path, tmp_path_factory.mktemp("int8") / "u.onnx", images, Int8(isa="x64"))


@given(st.floats(-50, 0), st.floats(0.01, 100))
def test_a_grid_holds_zero_and_its_range(low, high):
    grid = Grid.over(low, high)
    assert 0 <= grid.zero <= 255
    step = grid.scale
    assert -grid.zero * step <= low + step
    assert (255 - grid.zero) * step >= high - step


@given(st.floats(-3, 200))
def test_a_swish_grid_begins_at_minus_three_and_reaches_up(high):
    grid = Grid.of_swish(high)
    assert grid.scale * grid.zero == pytest.approx(3)
    assert (255 - grid.zero) * grid.scale >= min(high, 3 * 254) - 1e-9 or grid.zero == 1


@given(st.integers(0, 255), st.floats(-3, 60))
def test_one_integer_gives_both_factors_of_a_hard_swish(level, high):
    # x = s (q - z) with s z = 3, and clip(x + 3, 0, 6) = s min(q, 2 z): the identity that the shared tensor rests on.
    grid = Grid.of_swish(high)
    x = grid.scale * (level - grid.zero)
    assert np.clip(x + 3, 0, 6) == pytest.approx(grid.scale * min(level, 2 * grid.zero), abs=1e-9)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_weights_are_within_half_a_step_and_uint8_is_the_same_numbers(out, inner, seed):
    weight = np.random.default_rng(seed).standard_normal((out, inner, 3, 3)).astype(np.float32)
    levels, scales = quantize_weight(weight, preset("x64-vnni"))
    wide = scales.reshape(-1, 1, 1, 1)
    assert np.abs(levels * wide - weight).max() <= 0.5001 * scales.max()
    other, _ = quantize_weight(weight, preset("x64"))
    assert other.dtype == np.uint8
    assert np.array_equal(other.astype(int) - 128, levels)
    few, steps = quantize_weight(weight, preset("x64-avx2"))
    assert few.dtype == np.int8
    assert np.abs(few * steps.reshape(-1, 1, 1, 1) - weight).max() <= 0.5001 * steps.max()
    # Two products with the largest uint8 fit in 16 bits.
    assert 2 * 255 * np.abs(few.astype(int)).max() < 2**15


def test_the_mean_error_of_rounded_weights_is_the_mean_of_the_outputs():
    rng = np.random.default_rng(0)
    error, means = rng.standard_normal((4, 2, 3, 3)), rng.standard_normal(4)
    x = means.reshape(1, 4, 1, 1) * np.ones((1, 4, 5, 5))
    out = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(error), groups=2)
    assert np.allclose(out.mean((0, 2, 3)).numpy(), mean_error(error, means))


def test_ranges_keep_what_counts_and_shed_outliers():
    values = np.concatenate([np.random.default_rng(0).standard_normal(100_000), [60.0]])
    seen = Observed(count(values))

    def error(name):
        low, high = METHODS[name](seen)
        grid = Grid.over(low, high)
        near = (np.clip(np.rint(values / grid.scale) + grid.zero, 0, 255) - grid.zero) * grid.scale
        return np.mean((near - values) ** 2)

    low, high = METHODS["minmax"](seen)
    assert values.min() * 33 / 32 <= low <= values.min()
    assert 60 <= high <= 60 * 33 / 32
    assert METHODS["percentile"](seen)[1] < 6
    assert error("mse") <= min(error("minmax"), error("percentile")) * 1.001


@pytest.mark.slow
def test_nothing_is_left_in_float(quantized):
    report = inspect(quantized.artifact.path)
    assert report.totals["float"] == report.totals["stray"] == 0
    assert report.operators["QLinearConv"] == report.totals["convolutions"]
    # Both factors of a hard-swish come from one tensor: no addition is left but those of the shortcuts.
    assert report.operators["QLinearAdd"] == 5
    ops = [node.op_type for node in onnx.load(quantized.artifact.path).graph.node]
    assert "HardSwish" not in ops
    assert quantized.artifact.precision == "int8"


def test_it_follows_its_source_and_says_how_well(source, quantized):
    artifact, images = source
    assert quantized.judged_on == "held-out"
    assert set(quantized.methods) == set(METHODS)
    assert quantized.sqnr_db == max(row["sqnr_db"] for row in quantized.methods.values()) > 15
    truth = OnnxClassifier(artifact.path).logits(images[18:], 6)
    (got,) = exact_network(quantized.artifact.path).run(images[18:], 6)
    assert 10 * np.log10(np.mean(truth**2) / np.mean((truth - got) ** 2)) == pytest.approx(quantized.sqnr_db, abs=0.1)
    weights = [sum(len(t.raw_data) for t in onnx.load(path).graph.initializer if len(t.dims) > 1)
               for path in (artifact.path, quantized.artifact.path)]  # fmt: skip
    assert weights[1] * 4 == weights[0]


@pytest.mark.slow
def test_a_wrong_grid_is_seen(source, quantized, tmp_path, monkeypatch):
    from scarlet_zoo.graph.quantization import grids

    real = grids.Grid.of_swish
    monkeypatch.setattr(
        grids.Grid, "of_swish", classmethod(lambda _, high: Grid(real(high).scale * 1.2, real(high).zero))
    )
    artifact, images = source
    worse = quantize_int8(artifact.path, tmp_path / "q.onnx", images, Int8(isa="x64-vnni", least_sqnr_db=None))
    assert worse.sqnr_db < quantized.sqnr_db - 3


@pytest.mark.slow
def test_uint8_weights_give_the_same_bits(quantized, uint8_weights):
    one, two = (Golden.of(made.artifact) for made in (quantized, uint8_weights))
    assert one.sha256 == two.sha256
    assert "x64" in two.isas
    assert "x64" not in one.isas
    types = {tensor.name: tensor.data_type for tensor in onnx.load(uint8_weights.artifact.path).graph.initializer}
    assert {kind for name, kind in types.items() if name.endswith("_weight_q")} == {onnx.TensorProto.UINT8}


@pytest.mark.slow
def test_weights_of_seven_bits_are_exact_without_vnni(source, quantized, tmp_path):
    artifact, images = source
    made = quantize_int8(artifact.path, tmp_path / "q.onnx", images, Int8(isa="x64-avx2"))
    file = made.artifact.path
    assert runs_exactly(onnx.load(file), "x64")
    assert set(Golden.of(made.artifact).isas) == {"x64", "x64-vnni", "arm64"}
    assert check_golden(made.artifact).passed
    assert exact_network(file).run(images, 6)[0] == pytest.approx(OnnxClassifier(file).logits(images, 6), abs=0)
    # The price is at most a bit of the weights.
    assert abs(made.sqnr_db - quantized.sqnr_db) < 6.1
    # A weight beyond them saturates, and is known to.
    wide = onnx.load(file)
    tensor = next(t for t in wide.graph.initializer if t.name.endswith("_weight_q"))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = -65
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert not runs_exactly(wide, "x64")


def test_a_processor_gets_the_preset_that_is_exact_and_fast_there(monkeypatch):
    told = {"x64": "x64-avx2", "x64-vnni": "x64-vnni", "arm64": "arm64"}
    for isa, usual in told.items():
        monkeypatch.setattr("scarlet_zoo.graph.quantization.isa.this_isa", lambda isa=isa: isa)
        assert usual_preset() == usual
        assert isa in preset(usual).same_on


@pytest.mark.slow
def test_layers_stay_in_float_on_request(source, quantized, tmp_path):
    artifact, images = source
    name = next(node.name for node in ir.load(artifact.path).graph if node.op_type == "Conv")
    made = quantize_int8(artifact.path, tmp_path / "q.onnx", images, Int8(keep_float=(name,)))
    assert inspect(made.artifact.path).totals["float"] == 1
    assert json.loads(made.artifact.metadata["kept_float"]) == [name]


def broken(path, folder):
    """A copy of a file with some weights that are not what they were."""
    proto = onnx.load(path)
    tensor = next(t for t in proto.graph.initializer if t.name.endswith("_weight_q"))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] = 127
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, folder / "broken.onnx")
    return folder / "broken.onnx"


def test_golden_outputs_say_yes_and_no(uint8_weights, scarlet, tmp_path):
    artifact = uint8_weights.artifact  # exact on every processor
    check = check_golden(artifact)
    assert check.passed
    assert check.top5
    assert check.max_steps == 0
    code, out, _ = scarlet("verify", artifact.path, "--json")
    assert code == 0
    assert json.loads(out)["passed"] is True
    # One weight that is not what it was: the file says no, whatever machine it is on.
    code, out, err = scarlet("verify", broken(artifact.path, tmp_path), "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False
    assert "golden" in err
    proto = onnx.load(artifact.path)
    onnx.helper.set_model_props(proto, {**artifact.metadata, "golden": "{}"})
    onnx.save(proto, tmp_path / "empty.onnx")
    with pytest.raises(ArtifactError, match=r"cannot be read|carries no"):
        check_golden(read_artifact(tmp_path / "empty.onnx"))


@pytest.fixture
def without_vnni(monkeypatch):
    """As on a processor whose kernels saturate; the kernels are this machine's."""
    for module in ("exact", "golden"):
        monkeypatch.setattr(f"scarlet_zoo.graph.quantization.{module}.this_isa", lambda: "x64")


def test_a_file_that_this_processor_cannot_run_exactly_says_so(
    source, quantized, uint8_weights, without_vnni, scarlet, tmp_path, monkeypatch
):
    code, out, err = scarlet("verify", quantized.artifact.path, "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["passed"], said["computes_exactly"], said["exact"]) == (True, False, None)
    assert "has int8 weights, and this processor has no VNNI" in err
    assert err.count("\n") == 1
    # Against its source, too, it is the file that is judged: as the same numbers in uint8, which are exact everywhere.
    said = []
    for made in (quantized, uint8_weights):
        _, out, err = scarlet("verify", made.artifact.path, source[0].path, "--json")
        said.append(json.loads(out))
        assert err.count("has no VNNI") == (made is quantized)
        assert said[-1].pop("computes_exactly") == (made is uint8_weights)
    assert said[0] | {"file": ""} == said[1] | {"file": ""}
    timed = check_record(record(range(5, 205)))
    monkeypatch.setattr("scarlet_zoo.measurement.bench.measure_records", lambda workloads, *_, **__: [timed])
    code, out, err = scarlet("bench", quantized.artifact.path, "--json")
    assert (code, json.loads(out)[0]["exact"], err.count("has no VNNI")) == (0, False, 1)
    code, out, _ = scarlet("bench", quantized.artifact.path)
    assert "WRONG ANSWERS: this processor's kernels saturate on" in out
    with pytest.warns(ScarletWarning, match="has no VNNI"):
        load(quantized.artifact.path, preprocessing={"mean": [0.5], "std": [0.5]})
    # What is wrong in the file is found all the same.
    code, out, _ = scarlet("verify", broken(quantized.artifact.path, tmp_path), "--json")
    assert (code, json.loads(out)["passed"]) == (1, False)


@pytest.mark.slow
def test_the_exact_reference_has_the_bits_of_kernels_that_do_not_saturate(source, quantized, uint8_weights):
    images, int8 = source[1], quantized.artifact.path
    truth = OnnxClassifier(uint8_weights.artifact.path).logits(images, 6)  # uint8 weights: exact everywhere
    assert np.array_equal(exact_network(int8).run(images, 6)[0], truth)
    assert not runs_exactly(onnx.load(int8), "x64")
    assert runs_exactly(onnx.load(int8), "arm64")
    assert runs_exactly(onnx.load(uint8_weights.artifact.path), "x64")


@pytest.mark.slow
def test_a_layer_that_stays_in_float_is_not_rounded_by_the_runtime(source, tmp_path):
    artifact, images = source
    names = [node.name for node in ir.load(artifact.path).graph if node.op_type == "Conv"]
    everything = quantize_int8(artifact.path, tmp_path / "q.onnx", images, Int8(keep_float=tuple(names[1:])))
    assert inspect(everything.artifact.path).totals["float"] == len(names) - 1


@pytest.mark.slow
def test_layers_that_lose_too_much_stay_in_float_until_it_is_enough(source, tmp_path):
    artifact, images = source
    plain = quantize_int8(artifact.path, tmp_path / "q.onnx", images, Int8(method="minmax", least_sqnr_db=None))
    asked = plain.sqnr_db + 3
    better = quantize_int8(artifact.path, tmp_path / "r.onnx", images, Int8(method="minmax", least_sqnr_db=asked))
    assert better.sqnr_db >= asked
    assert 0 < len(better.kept) < 10
    assert json.loads(better.artifact.metadata["kept_float"]) == list(better.kept)


def test_the_generator_is_the_one_that_is_written_down():
    state, wanted = 7, []
    for _ in range(12):
        state = (1664525 * state + 1013904223) % 2**32
        wanted.append(state >> 24)
    assert generate(7, (1, 2, 3, 2)).reshape(-1).tolist() == wanted


@pytest.mark.slow
def test_a_trained_network_keeps_its_accuracy(tmp_path):
    network = load_network("scarlet_mini_s")
    feed = network.preprocessing
    artifact = export_onnx(network.model, tmp_path / "s.onnx", weights=network.weights, preprocessing=feed)
    data = open_data("fashion-mnist", feed, FASHION)
    calibration = np.concatenate([x.contiguous().numpy() for x, _ in in_order(data.part("train"), 128, 256)])
    made = quantize_int8(artifact.path, tmp_path / "q.onnx", calibration)
    assert made.sqnr_db > 25
    networks = {path: OnnxClassifier(path) for path in (artifact.path, made.artifact.path)}
    right = dict.fromkeys(networks, 0)
    for x, y in in_order(data.part("validation"), 500, 5000):
        for path, opened in networks.items():
            answers = opened.logits(x.contiguous().numpy(), 500).argmax(1)
            right[path] += int((answers == y.numpy()).sum())
    assert abs(right[artifact.path] - right[made.artifact.path]) <= 15  # 0.3 points of 5,000


BAD = {
    "no pictures": (("--target", "ort-int8"), "no calibration images"),
    "a folder that is not there": (("--target", "ort-int8", "--calibration", "{tmp}/absent"), "no such folder"),
    "an empty folder": (("--target", "ort-int8", "--calibration", "{tmp}/empty"), "got no images in the folder"),
    "a folder of other files": (
        ("--target", "ort-int8", "--calibration", "{tmp}/texts"),
        "got no images in the folder",
    ),
    "a picture that is none": (("--target", "ort-int8", "--calibration", "{tmp}/fakes"), "fake.png"),
    "an unknown processor": (("--target", "ort-int8", "--calibration", "random", "--isa", "z80"), "z80"),
    "an unknown method": (("--target", "ort-int8", "--calibration", "random", "--ranges", "luck"), "luck"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calibration_is_one_line_and_writes_nothing(case, scarlet, tmp_path):
    for folder, file, content in (("empty", None, b""), ("texts", "a.txt", b"hello"), ("fakes", "fake.png", b"no")):
        (tmp_path / folder).mkdir()
        if file:
            (tmp_path / folder / file).write_bytes(content)
    arguments, told = BAD[case]
    out = tmp_path / "out"
    code, said, err = scarlet(
        "export", "scarlet_mini_s", "--out", out, *(part.format(tmp=tmp_path) for part in arguments)
    )
    assert (code, said) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not list(out.glob("*")) if out.exists() else True


def test_only_float_classifiers_are_quantised(quantized, source, tmp_path):
    with pytest.raises(ExportError, match="got no images"):
        quantize_int8(source[0].path, tmp_path / "q.onnx", source[1][:0])
    with pytest.raises(ExportError, match="integer"):
        quantize_int8(quantized.artifact.path, tmp_path / "q.onnx", source[1])
    pixels = tmp_path / "pixels.onnx"
    from scarlet_zoo.deployment.trace import Recipe

    export_onnx(randomized(ARCH, dtype=torch.float32), pixels, Recipe(pixels=True))
    with pytest.raises(ExportError, match="uint8 pixels"):
        quantize_int8(pixels, tmp_path / "q.onnx", source[1])


@pytest.mark.slow
def test_photographs_calibrate_from_a_folder(scarlet, tmp_path):
    folder = tmp_path / "photos" / "deeper"
    folder.mkdir(parents=True)
    for index, photo in enumerate(photos(6)):
        photo.save(folder / f"{index}.jpg")
    code, out, err = scarlet("export", "scarlet_mini_s", "--target", "ort-int8", "--calibration",
                             tmp_path / "photos", "--calibration-images", 4, "--out", tmp_path, "--json")  # fmt: skip
    assert (code, err.count("\n")) == (0, 1)
    assert "got 4 different images to calibrate on; wanted 8 or more" in err
    said = json.loads(out)
    assert said["precision"] == "int8"
    assert said["judged_on"] == "calibration"
    assert (said["calibration"]["images"], said["calibration"]["skipped"]) == (4, 0)
    assert json.loads(said["metadata"]["calibration"])["images"] == 4
    assert scarlet("verify", tmp_path / "scarlet_mini_s.onnx")[0] == 0


@pytest.mark.parametrize("extremes", [(0.5, 0.5 + 1e-7), (0.0, 0.0), (-1e-30, 1e-30), (-3.0, -3.0), (1e6, 1e6 + 0.06)])
def test_a_tensor_that_is_almost_constant_has_a_range(extremes):
    seen = Observed(count(np.array(extremes, np.float32)))
    assert seen.counts.sum() == 2
    for method in METHODS.values():
        low, high = method(seen)
        assert low <= high
        assert Grid.over(low, high).scale > 0


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40))
def test_every_value_is_counted_in_the_bin_that_holds_it(values):
    seen = Observed(count(np.array(values, np.float32)))
    assert seen.counts.sum() == len(values)
    assert seen.low <= min(values) <= max(values) <= seen.high
    # An edge is at most 1/32 away, so the range is hardly wider than the values.
    assert seen.high <= max(max(values) * 33 / 32, max(values) * 31 / 32, 1e-38)


def test_values_that_are_not_finite_have_no_range():
    for bad in (np.inf, -np.inf, np.nan):
        with pytest.raises(ExportError, match="not finite"):
            count(np.array([1.0, bad], np.float32))


def test_a_channel_that_is_nothing_but_its_bias_keeps_it(tmp_path):
    random = np.random.default_rng(0)
    weight = random.standard_normal((4, 3, 1, 1)).astype(np.float32)
    weight[2] *= 1e-9
    bias = np.array([0.1, -0.2, 2.5, 0.3], np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        onnx.helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        onnx.helper.make_node("Flatten", ["p"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info("x", 1, [1, 3, 8, 8]),
        onnx.helper.make_tensor_value_info("y", 1, [1, 4]),
    ]
    held = [onnx.numpy_helper.from_array(value, name) for name, value in (("w", weight), ("b", bias))]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "f.onnx",
    )
    images = random.standard_normal((8, 3, 8, 8)).astype(np.float32)
    quantize_int8(tmp_path / "f.onnx", tmp_path / "q.onnx", images, Int8(method="minmax"))
    truth, got = (
        ort.InferenceSession(tmp_path / name).run(None, {"x": images[:1]})[0] for name in ("f.onnx", "q.onnx")
    )
    assert got == pytest.approx(truth, abs=0.05)
    assert got[0, 2] == pytest.approx(2.5, abs=0.05)


def test_tensors_of_sizes_are_not_quantised(tmp_path):
    class Resized(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)

        def forward(self, x):
            small = self.conv(x)
            return torch.nn.functional.interpolate(small, size=x.shape[-2:], mode="nearest").mean((2, 3))

    path = tmp_path / "resized.onnx"
    axes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        Resized().eval(), (torch.zeros(2, 3, 32, 32),), path, dynamic_axes={"x": axes}, dynamo=False,
        input_names=["x"], opset_version=18,
    )  # fmt: skip
    assert {"Shape", "Unsqueeze"} <= {node.op_type for node in onnx.load(path).graph.node}
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    quantize_int8(path, tmp_path / "int8.onnx", images)
    one, two = (ort.InferenceSession(file).run(None, {"x": images})[0] for file in (path, tmp_path / "int8.onnx"))
    assert np.abs(one - two).max() < 0.05 * np.abs(one).max()


def test_a_network_without_weights_has_nothing_to_correct(tmp_path):
    text = """<ir_version: 9, opset_import: ["": 17]> g (float[n,3,8,8] x) => (float[n,3] y) {
      m = ReduceMean <axes = [2, 3], keepdims = 0> (x) y = Relu (m) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "plain.onnx")
    images = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    assert quantize_int8(tmp_path / "plain.onnx", tmp_path / "q.onnx", images).sqnr_db > 30
    assert sensitivities(tmp_path / "plain.onnx", images) == []
