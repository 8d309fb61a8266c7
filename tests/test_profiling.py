"""Where the time goes: the profile adds up, is joined back to blocks, and stays above the roof."""

import json

import numpy as np
import onnx
import pytest

from scarlet_zoo import arch_cost, get_arch
from scarlet_zoo.measurement.onnx_layers import Layers, macs_of, plain_name
from scarlet_zoo.measurement.profiling import block_of, profile, tokens_of
from scarlet_zoo.measurement.roofline import Machine, measure_machine
from scarlet_zoo.measurement.workloads import gather

NAME = "scarlet_mini_s"


@pytest.fixture(scope="module")
def machine():
    return measure_machine()


@pytest.fixture(scope="module", params=["native", "ort-x64", "ort-int8"])
def profiled(request, machine, tmp_path_factory):
    (subject,) = gather([NAME], tmp_path_factory.mktemp("p"), [request.param], calibration="random")
    return request.param, subject.path, profile(subject.path, machine)


@pytest.mark.slow
def test_the_machine_has_a_peak_and_is_slower_the_further_it_reaches(machine):
    assert 1 < machine.peak_gflops < 1e4
    rates = [rate for _, rate in machine.bandwidth_gbs]
    assert rates == sorted(rates, reverse=True)
    assert 0.5 < rates[-1] <= rates[0] < 1e4


def test_a_limit_is_the_larger_of_computing_and_moving():
    machine = Machine("d", 1, 100.0, ((1000, 50.0), (10**6, 10.0)))
    assert machine.limit_ms(10**6, 0, 0, 10**6) == pytest.approx(2e6 / 100e9 * 1e3)
    assert machine.limit_ms(0, 10**6, 10**6, 2 * 10**6) == pytest.approx(1e3 * (1e6 / 10e9 + 1e6 / 50e9))
    assert machine.bandwidth(10) == 50e9


@pytest.mark.slow
def test_all_multiply_adds_are_found_again_in_what_runs(profiled):
    target, _, result = profiled
    assert result.left_macs == 0
    # On x64 the gates' squeezed channels are filled up with zeros to whole blocks of the layout.
    most = 1e-3 if target == "ort-x64" else 0
    assert result.total.macs == pytest.approx(arch_cost(get_arch(NAME)).macs, rel=most)


@pytest.mark.slow
def test_blocks_are_those_of_the_architecture_with_their_tokens_and_cost(profiled):
    _, _, result = profiled
    arch = get_arch(NAME)
    costs = {row.name: row.macs for row in arch_cost(arch).layers}
    kept = [plan for plan in arch.layers if not plan.choice.is_skip]
    rows = [block for block in result.blocks if block.kind]
    assert [block.kind for block in rows] == [plan.token for plan in kept]
    assert [block.macs for block in rows] == pytest.approx([costs[str(plan.index)] for plan in kept], rel=1e-3)
    names = [block.name for block in result.blocks]
    assert (names[0], names[1], names[-1]) == ("stem", "blocks.0.0", "head")
    assert len(names) == len(set(names)) == len(kept) + 3


@pytest.mark.slow
def test_a_profile_adds_up(profiled):
    _, _, result = profiled
    for key in ("p50_us", "macs", "limit_us", "weight_bytes", "activation_bytes"):
        for parts in (result.blocks, result.operators):
            assert sum(getattr(part, key) for part in parts) == pytest.approx(getattr(result.total, key))
    assert result.total.gflops == pytest.approx(2e-3 * result.total.macs / result.total.p50_us)
    assert result.total.p50_us > 0 < result.total.limit_us


@pytest.mark.slow
def test_float_stays_below_its_roof(profiled):
    target, _, result = profiled
    if target != "ort-int8":  # whose peak is another
        assert result.total.of_limit > 1


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("/a/conv_pw/Conv_output_0_nchwc", "/a/conv_pw"),
        ("/a/conv_pw/Conv", "/a/conv_pw"),
        ("/a/conv_pw/Conv_output_0_quant", "/a/conv_pw"),
        ("/a/bn1/Clip_output_0_nchwc", "/a/bn1/Clip"),
        ("ReorderOutput_token_240", "ReorderOutput"),
    ],
)
def test_names_lose_what_exporters_and_runtimes_add(name, plain):
    assert plain_name(name) == plain


@pytest.mark.parametrize(
    ("name", "before", "block"),
    [
        ("/conv_stem/Conv", "stem", "stem"),
        ("/blocks/blocks.1/blocks.1.0/conv_pw/Conv", "stem", "blocks.1.0"),
        ("node_Mul_14", "blocks.1.0", "blocks.1.0"),
        ("/layer2/layer2.1/conv1/Conv", "layer1.0", "layer2.1"),
        ("/conv_head/Conv", "blocks.1.0", "head"),
        ("/classifier/Gemm", "head", "head"),
    ],
)
def test_the_block_of_an_operator(name, before, block):
    assert block_of(name, before) == block


def test_skipped_layers_have_no_module():
    assert len(tokens_of(get_arch(NAME))) == 5
    assert "id" not in tokens_of(get_arch(NAME)).values()
    assert tokens_of(None) == {}


def test_a_layer_is_handed_out_once(two_files):
    layers = Layers(onnx.load(two_files[0]))
    name = next(iter(layers.left)).name
    first = layers.take(name)
    assert first.macs > 0 < first.weight_bytes
    assert layers.take(name) is None
    assert layers.take("nobody") is None


@pytest.mark.slow
def test_the_verb_prints_and_draws(scarlet, two_files, tmp_path, monkeypatch, machine):
    monkeypatch.setattr("scarlet_zoo.measurement.roofline.measure_machine", lambda threads: machine)
    code, said, _ = scarlet("profile", two_files[0], "--json", "--plot", tmp_path / "p.png")
    assert code == 0
    told = json.loads(said)
    assert told["blocks"][0]["name"] == "stem"
    assert told["of_limit"] > 1
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    code, said, error = scarlet("profile", two_files[0], "--plot", tmp_path / "p.gif")
    assert (code, said) == (2, "")
    assert "p.gif" in error


def test_a_product_over_tokens_is_done_at_each_of_them():
    text = """<ir_version: 9, opset_import: ["": 17]> g (float[1,5,8] x) => (float[1,5,3] y) { y = MatMul (x, w) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 3), np.float32), "w"))
    (layer,) = Layers(model).left
    assert layer.macs == 5 * 8 * 3
    assert macs_of("Gemm", [1, 3], [3, 8]) == macs_of("MatMul", [1, 3], [8, 3]) == 24
    assert macs_of("Conv", [1, 6, 4, 4], [6, 2, 3, 3]) == 6 * 16 * 18
