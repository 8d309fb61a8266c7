"""Spaces whose widths are no multiples of 8: every stage agrees on how wide timm builds a block."""

import json
import random

import numpy as np
import pytest
import torch
from conftest import images_for, skipping_arch
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from timm.layers import make_divisible

from scarlet_zoo.arch.architecture import Arch, BlockPlan
from scarlet_zoo.arch.choices import Choice
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import find_space
from scarlet_zoo.folding.fold import fold
from scarlet_zoo.measurement.lut.cut import cut, holders, network_graph
from scarlet_zoo.measurement.lut.keys import piece_key, pieces_of
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.loading import calibration_images, preprocessing_of
from scarlet_zoo.models.random_weights import randomize
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.models.weights.checkpoint import save_weights

ODD = """
name = "odd"
input_size = 32
num_classes = 5
stem_width = 9
first_width = 10
head_width = 51
stages = [[12, 2, 2], [17, 2, 2], [30, 2, 1]]
kernel_sizes = [3, 5]
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "odd.toml"
    path.write_text(ODD)
    return find_space(str(path))


@given(channels=st.integers(1, 400), ratio=st.integers(1, 8))
@how(max_examples=300, deadline=None)
def test_a_block_is_as_wide_as_timm_makes_it(channels, ratio):
    plan = BlockPlan("", Choice(ratio, 3, squeeze_excite=True), channels, channels, 1)
    hidden = make_divisible(channels * float(ratio))
    assert (plan.hidden_chs, plan.squeeze_chs) == (hidden, round(hidden * 0.25))


def test_the_cost_is_what_torch_counts(odd):
    rng = random.Random(0)
    for _ in range(6):
        arch = Arch.sample(odd, rng)
        assert Arch.parse(str(arch), SearchSpace.from_json(odd.to_json())) == arch
        counted = model_cost(create_model(arch), (3, 32, 32))
        assert (arch_cost(arch).params, arch_cost(arch).macs) == (counted.params, counted.macs)


@pytest.mark.parametrize("extend", [SearchSpace.with_branches, SearchSpace.with_path_sets])
def test_branches_and_sets_of_paths_cost_what_torch_counts(odd, extend):
    space = extend(odd)
    arch = Arch.sample(space, random.Random(1))
    counted = model_cost(create_model(arch), (3, 32, 32))
    assert (arch_cost(arch).params, arch_cost(arch).macs) == (counted.params, counted.macs)


def test_a_path_of_the_supernet_is_its_subnet_and_folds(odd):
    torch.manual_seed(0)
    supernet = Supernet(odd, skip="orthogonal").eval().double()
    arch = skipping_arch(odd, seed=2)
    assert arch.skipped
    subnet = supernet.subnet(arch).eval().double()
    images = images_for(subnet)
    with torch.inference_mode():
        logits = subnet(images)
        torch.testing.assert_close(logits, supernet(images, arch))
        torch.testing.assert_close(fold(subnet).model(images), logits, rtol=1e-9, atol=1e-9)


def test_every_block_has_a_piece_of_the_latency_table(odd):
    arch = next(holders(odd))
    pieces = cut(network_graph(arch), arch)
    assert list(pieces) == pieces_of(arch)
    assert piece_key(arch, "2") == f"{arch.tokens[2]} 12-17 s2 8px"


@pytest.mark.slow
def test_it_is_exported_verified_and_quantized(odd, tmp_path, scarlet):
    """From the supernet's weights to float and integer files, by the command line."""
    torch.manual_seed(0)
    arch = skipping_arch(odd, seed=2)
    model = Supernet(odd).subnet(arch)
    weights = tmp_path / "odd.safetensors"
    randomize(model, calibration_images(preprocessing_of(model)))
    save_weights(model.eval(), weights, {"stabilized": "True", "labels": json.dumps(list("abcde"))})
    for target in ("native", "ort-x64"):
        code, out, err = scarlet("export", arch, "--weights", weights, "--target", target, "--out", tmp_path, "--json")
        assert code == 0, err
        file = json.loads(out)["path"]
        code, out, err = scarlet("verify", file, "--weights", weights, "--json")
        assert code == 0, err
        assert json.loads(out)["passed"]
    code, out, err = scarlet("export", arch, "--weights", weights, "--target", "ort-int8", "--calibration", "random",
                             "--out", tmp_path / "int8", "--json")  # fmt: skip
    assert code == 0, err
    assert np.isfinite(json.loads(out)["sqnr_db"])
    assert scarlet("verify", json.loads(out)["path"])[0] == 0
