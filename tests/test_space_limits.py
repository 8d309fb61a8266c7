"""Spaces that would take hours or all memory are refused at once, in one line that names file and key."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import TINY

from scarlet_zoo.arch import limits
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import Choice
from scarlet_zoo.arch.cost import arch_cost, cost_table
from scarlet_zoo.arch.limits import MOST_LAYERS, MOST_OPTIONS, MOST_PARAMS, MOST_TEXT, MOST_TOKENS
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import read_space, space_of
from scarlet_zoo.arch.spaces import get_space, list_spaces
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ArchError, ArtifactError, ScarletError, UnknownNameError
from scarlet_zoo.models import loading
from scarlet_zoo.models.loading import calibration_images
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.models.weights.stated import stated_network

FEW_LINES = 'name = "mine"\nstages = [[16, 2, 2], [24, 2, 2]]\n'
ODD = list(range(1, 64, 2))


@pytest.mark.parametrize(("text", "says"), [
    (FEW_LINES + "paths = 9\n", "paths: search space 'mine': got sets of up to 9 of 12 paths, which are 4,016, wanted"),
    (FEW_LINES + f"paths = {10**23}\n", f"paths: search space 'mine': got sets of {10**23} paths, wanted 2 to 12"),
    (FEW_LINES.replace("16, 2, 2", f"16, {2 * 10**12}, 2"), "stages.0.1: got 2000000000000, wanted at most 256"),
    (FEW_LINES.replace("16, 2, 2", "16, 256, 2"), "stages: got 258 layers in all, wanted at most 256"),
    (FEW_LINES.replace("16, 2, 2", f"{10**8}, 2, 2"), "stages.0.0: got 100000000, wanted at most 16384"),
    (FEW_LINES.replace("16, 2, 2", "16384, 4, 2"), "parameters of all candidates together, wanted at most 250,000,000"),
    (FEW_LINES + "head_width = 16384\nnum_classes = 100000\n", "parameters of all candidates together"),
    (FEW_LINES + f"kernel_sizes = {ODD}\nexpand_ratios = {list(range(1, 65))}\n", "got 4,096 candidates, wanted fewer"),
    (FEW_LINES + "input_size = 4096\n", "elements in the largest feature map, wanted at most 16,777,216"),
    (FEW_LINES + f"num_classes = {'9' * 5000}\n", "not a TOML file of a search space: Exceeds the limit"),
    (FEW_LINES.replace("mine", "m" * 100_000), "wanted at most 400 characters"),
    (FEW_LINES.replace("mine", "m\\u001b[31m"), r"search space 'm\x1b[31m': wanted a name without"),
    (FEW_LINES + "#" * 2**20, "it is larger than 1 MiB"),
    (FEW_LINES.replace("16, 2, 2", "64, 60, 1") + "input_size = 384\n",
     "multiply-adds of the largest network, wanted at most 100,000,000,000"),
])  # fmt: skip
def test_declarations_beyond_the_limits_are_refused_at_once(text, says, tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(text)
    begun = time.perf_counter()
    with pytest.raises(ArchError) as caught:
        read_space(path)
    assert time.perf_counter() - begun < 2
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def definition(**more):
    return json.dumps({**json.loads(get_space("scarlet-mini-7").to_json()), **more})


LAYER = {"width": 8, "stride": 2, "tokens": ["e3k3"]}
SET = {"expand_ratio": 3, "kernel_size": 3, "beside": [{"expand_ratio": 3, "kernel_size": 5}]}
DEEP = '{"expand_ratio":3,"kernel_size":3,"beside":[' * 5000


@pytest.mark.parametrize(("text", "says"), [
    (definition(layers=[{**LAYER, "width": 10**8}]), "layers.0.width: got 100000000, wanted at most 16384"),
    (definition(layers=[LAYER] * (MOST_LAYERS + 1)), "layers: got"),
    (definition(choices=[["e3k3", {"expand_ratio": 10**6, "kernel_size": 3}]]), "wanted at most 64"),
    (definition(choices=[["e3k3", {"expand_ratio": 3, "kernel_size": 10**9 + 1}]]), "wanted at most 63"),
    (definition(choices=[["e3k3", {**SET, "beside": [SET]}]]), "got a set inside a set"),
    (definition(choices=[["e3k3", {**SET, "beside": SET["beside"] * 17}]]), "wanted at most 16 items"),
    (definition(choices=[["e3k3\u001b[2J", {"expand_ratio": 3, "kernel_size": 3}]]), "wanted one without control"),
    (definition(choices=[[f"e{n}", {"expand_ratio": 3, "kernel_size": 3}] for n in range(MOST_TOKENS + 1)]), "choices"),
    (definition(head_width=2**40), "head_width: got 1099511627776, wanted at most 16384"),
    (definition(num_classes=10**12), "num_classes: got 1000000000000, wanted at most 100000"),
    (definition(input_size=10**9), "input_size: got 1000000000, wanted at most 4096"),
    (definition(in_chans=10**9), "in_chans: got 1000000000, wanted at most 64"),
    (definition(name="x" * 500), "name: got 'xxxx"),
    (f'{{"name":"a","choices":[["e",{DEEP}', "search space definition"),
    ("[" * 100_000, "search space definition"),
    (" " * (MOST_TEXT + 1), "got 8,388,609 characters, wanted at most 8,388,608"),
])  # fmt: skip
def test_definitions_beyond_the_limits_are_refused_at_once(text, says):
    with pytest.raises(ArchError) as caught:
        SearchSpace.from_json(text, "file.onnx")
    assert says in str(caught.value)
    assert str(caught.value).startswith("file.onnx: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", [*list_spaces(), "scarlet+branches", "scarlet-mini+paths3"])
def test_the_bounds_are_close_above_the_exact_costs(name):
    space = get_space(name)
    params, _, macs = limits._totals(space)
    largest = arch_cost(cost_table(space).largest)
    assert largest.params <= params < MOST_PARAMS / 4
    assert largest.macs <= macs <= 1.1 * largest.macs


def test_sets_of_paths_within_the_limits_are_made_in_time():
    begun = time.perf_counter()
    space = get_space("scarlet+paths4")
    assert cost_table(space).largest
    assert time.perf_counter() - begun < 5
    assert sum(len(layer.tokens) for layer in space.layers) < MOST_OPTIONS
    with pytest.raises(ArchError, match="got sets of up to 5 of 12 paths"):
        get_space("scarlet+paths5")
    with pytest.raises(UnknownNameError) as caught:
        get_space(f"scarlet+paths{'9' * 5000}")
    assert len(str(caught.value)) < 500


def test_a_table_of_costs_has_the_costs_of_whole_networks():
    for space in (TINY, TINY.with_branches(), space_of({"name": "few", "stages": [[8, 2, 2]], "paths": 2})):
        table = cost_table(space)
        for place, tokens in enumerate(space.decisions):
            for token in tokens:
                decided = [options[0] for options in space.decisions]
                decided[place] = token
                cost = arch_cost(Arch.of(space, decided))
                assert table.params_and_macs(Arch.of(space, decided)) == (cost.params, cost.macs)


def test_files_that_state_such_a_space_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    wide = definition(layers=[{**LAYER, "width": 10**8}])
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"arch": "scarlet-mini-7:e3k3", "space": wide})
    with pytest.raises(ArchError, match=r"w\.safetensors: search space definition: layers\.0\.width"):
        stated_network(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"space": wide, "skip": "identity"})
    with pytest.raises(ArchError, match=r"w\.safetensors: search space definition: layers\.0\.width"):
        load_supernet(path)


def test_a_long_list_in_an_error_is_cut():
    with pytest.raises(ArchError) as caught:
        Arch.of(get_space("scarlet-mini+paths3"), ["no"] * 8)
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith(" ...")


@pytest.mark.parametrize(("key", "value", "says"), [
    ("size", [10**9, 10**9], "got a size of 1,000,000,000 x 1,000,000,000 pixels, wanted sides of 1 to 4096"),
    ("size", [0, 28], "got a size of 0 x 28 pixels"), ("size", [28, -1], "got a size of 28 x -1 pixels"),
    ("size", [10**400, 1], "wanted a finite number"), ("crop", 1e-9, "got a crop of 1e-09 of 28 pixels"),
    ("mean", [0.5] * 2000, "got 2000 channels, wanted 1 to 1024"), ("mean", [], "got 0 channels"),
])  # fmt: skip
def test_a_preprocessing_beyond_the_limits_is_refused(key, value, says):
    fields = {"size": [28, 28], "mean": [0.5], "std": [0.5], "interpolation": "bilinear", "crop": 1.0, key: value}
    with pytest.raises(ArtifactError) as caught:
        Preprocessing.from_json(json.dumps(fields))
    assert says in str(caught.value) or "OverflowError" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_numbers_of_classes_and_channels_are_bounded_for_every_network():
    for key, value in (("num_classes", 10**12), ("num_classes", -1), ("in_chans", 10**9), ("in_chans", 0)):
        given: dict[str, Any] = {key: value}
        with pytest.raises(ScarletError, match=f"got {key} = {value}, wanted"):
            create_model("scarlet_mini_s", **given)


def test_large_images_are_fewer(monkeypatch):
    feed = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    assert len(calibration_images(feed)) == 16
    monkeypatch.setattr(loading, "_CALIBRATION_PIXELS", 10 * 3 * 64**2)
    assert len(calibration_images(feed)) == 10
    monkeypatch.setattr(loading, "_CALIBRATION_PIXELS", 1)
    assert len(calibration_images(feed)) == 5


def test_the_first_number_that_is_too_large_is_refused(monkeypatch):
    with pytest.raises(ArchError, match=r"got 1,024 candidates, wanted fewer than 1,024"):
        space_of({"name": "mine", "stages": [[16, 2, 2]], "kernel_sizes": ODD, "expand_ratios": list(range(1, 17))})
    monkeypatch.setattr(limits, "MOST_TOKENS", 10)
    limits.check_sets(3, 3, "here")  # 3 + 3 + 1
    with pytest.raises(ArchError, match=r"^here: got sets of up to 2 of 4 paths, which are 10, wanted fewer than 10$"):
        limits.check_sets(4, 2, "here")


def test_a_declaration_reaches_every_field_of_its_space():
    told = {"name": "mine", "stages": [[16, 2, 2]], "in_chans": 1, "input_size": 40, "num_classes": 7, "stem_width": 11,
            "first_width": 13, "head_width": 17, "stem_stride": 1, "activation": "silu", "edge_activation": "relu",
            "mean": [0.3], "std": [0.4], "crop": 0.9}  # fmt: skip
    space = space_of(told)
    got = {key: getattr(space, key) for key in told if key != "stages"}
    assert got == {**{key: value for key, value in told.items() if key != "stages"}, "mean": (0.3,), "std": (0.4,)}
    assert [(layer.width, layer.stride) for layer in space.layers] == [(16, 2), (16, 1)]


@pytest.mark.parametrize("operator", [Choice(0, 3), Choice(3, 4)])
def test_a_branch_is_a_block_with_an_odd_kernel(operator):
    with pytest.raises(ArchError, match=r"got branch operator .*, wanted a block with an odd kernel$"):
        replace(TINY.with_branches(), branch_operator=operator)
