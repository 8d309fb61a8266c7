"""Search spaces that a user declares."""

import itertools
import json
import random
import re
import tomllib
from dataclasses import replace

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from timm.layers import get_act_layer
from timm.layers.create_act import _ACT_LAYER_DEFAULT

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import Choice
from scarlet_zoo.arch.cost import arch_cost, cost_table
from scarlet_zoo.arch.space import Layer, SearchSpace
from scarlet_zoo.arch.space_files import ACTIVATIONS, SpaceDeclaration, find_space, read_space, space_of
from scarlet_zoo.arch.spaces import get_space, list_spaces
from scarlet_zoo.errors import ArchError, UnknownNameError
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.nas.train_supernet import train_supernet

FEW_LINES = 'name = "mine"\nstages = [[16, 2, 2], [24, 2, 2]]\nkernel_sizes = [3]\nsqueeze_excite = false\n'


def written(tmp_path, text):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return path


def test_a_few_lines_declare_a_space(tmp_path):
    space = find_space(str(written(tmp_path, FEW_LINES + "num_classes = 7\ninput_size = 32\n")))
    assert (space.name, space.num_classes, len(space.layers)) == ("mine", 7, 4)
    assert [layer.tokens for layer in space.layers] == [("e3k3", "e6k3"), ("e3k3", "e6k3", "id")] * 2
    arch = Arch.sample(space, random.Random(0))
    model = create_model(arch)
    assert sum(p.numel() for p in model.parameters()) == arch_cost(arch).params
    assert Arch.parse(str(arch), SearchSpace.from_json(space.to_json())) == arch


def test_named_spaces():
    assert list_spaces() == ["scarlet", "scarlet-7", "scarlet-mini", "scarlet-mini-7",
                             "scarlet-rgb32", "scarlet-cifar", "scarlet-rgb96", "scarlet-grey96"]  # fmt: skip
    seven, mini = get_space("scarlet-7"), get_space("scarlet-mini")
    assert {len(layer.tokens) for layer in seven.layers} == {6, 7}
    assert {len(layer.tokens) for layer in mini.layers} == {12, 13}
    assert (mini.input_size, mini.in_chans, mini.num_classes, mini.crop) == (28, 1, 10, 1.0)
    assert get_space("scarlet").size == 12**6 * 13**13


@pytest.mark.parametrize("name", ["scarlet", "scarlet-mini"])
def test_mutants_and_children_stay_in_the_space(name):
    space, rng = get_space(name), random.Random(0)
    one, other = Arch.sample(space, rng), Arch.sample(space, rng)
    child = one.cross(other, rng)
    assert all(token in pair for token, *pair in zip(child.tokens, one.tokens, other.tokens, strict=True))
    assert one.mutate(rng, 0.0) == one
    assert all(a != b for a, b in zip(one.mutate(rng, 1.0).tokens, one.tokens, strict=True))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "a"', "missing field 'stages'"),
        ("", "missing field 'name'"),
        (FEW_LINES + "depth = 3\n", "unknown field 'depth', wanted one of activation branches"),
        ("name = ", "not a TOML file of a search space: Invalid value (at end of document)"),
        (FEW_LINES + "crop = 1.0\ncrop = 0.5\n", "Cannot overwrite a value (at line 6, column 11)"),
        (FEW_LINES + "stem_stride = 3\n", "stem_stride: got 3, wanted at most 2"),
        (FEW_LINES.replace("[16, 2, 2]", "[0, 2, 2]"), "stages.0.0: got 0, wanted at least 1"),
        (FEW_LINES.replace("[16, 2, 2]", "[-16, 2, 2]"), "stages.0.0: got -16, wanted at least 1"),
        (FEW_LINES.replace("[16, 2, 2]", "[1e9, 2, 2]"), "stages.0.0: got 1000000000.0, wanted a whole number"),
        (FEW_LINES.replace("[16, 2, 2]", "[16, 0, 2]"), "stages.0.1: got 0, wanted at least 1"),
        (FEW_LINES.replace("[16, 2, 2]", "[16, 2]"), "stages.0: got [16, 2], wanted three numbers, [channels, layers"),
        (FEW_LINES.replace("[[16, 2, 2], [24, 2, 2]]", "[16, 2, 2]"), "stages.0: got 16, wanted three numbers"),
        (FEW_LINES.replace("[[16, 2, 2], [24, 2, 2]]", "3"), "stages: got 3, wanted a list"),
        (FEW_LINES.replace("[[16, 2, 2], [24, 2, 2]]", "[]"), "stages: got [], wanted at least 1 item"),
        (FEW_LINES.replace("mine", "a:b"), "name: got 'a:b', wanted a name without colons"),
        (FEW_LINES.replace("mine", "a/b"), "name: got 'a/b', wanted a name without colons"),
        (FEW_LINES.replace("mine", "a+b"), "name: got 'a+b', wanted a name without colons"),
        (FEW_LINES.replace("mine", ""), "name: got '', wanted a name without colons"),
        (FEW_LINES.replace("mine", "hf-hub"), "and none of timm's hf-hub"),
        (FEW_LINES.replace("mine", "scarlet-mini"), "name: got 'scarlet-mini', the name of a built-in space with ano"),
        (FEW_LINES + "std = [0.5, 0.0, 0.5]\n", "std.1: got 0.0, wanted more than 0"),
        (FEW_LINES + "std = [0, 0, 0]\n", "std.0: got 0, wanted more than 0"),
        (FEW_LINES + "std = [58.4, 57.1, 57.4]\n", "std.0: got 58.4, wanted 0 to 1, since pixels are scaled"),
        (FEW_LINES + "mean = [123.7, 116.3, 103.5]\n", "mean.0: got 123.7, wanted 0 to 1, since pixels are scaled"),
        (FEW_LINES + "mean = [nan, 0.5, 0.5]\n", "mean.0: got nan, wanted a finite number"),
        (FEW_LINES + "crop = nan\n", "crop: got nan, wanted"),
        (FEW_LINES + "paths = 1\n", "paths: got 1, wanted at least 2"),
        (FEW_LINES + "paths = 9\n", "paths: search space 'mine': got sets of 9 paths, wanted 2 to 2"),
        (FEW_LINES + "branches = 1\n", "branches: got 1, wanted true or false"),
        (FEW_LINES.replace("[16, 2, 2], [24, 2, 2]", "[16, 1, 2]") + "branches = true\n", "branches: search space"),
        (FEW_LINES.replace("[3]", "[]"), "kernel_sizes: got [], wanted at least 1 item"),
        (FEW_LINES.replace("[3]", "[3, 3]"), "kernel_sizes: got [3, 3], wanted each number once"),
        (FEW_LINES.replace("[3]", "[301]"), "kernel_sizes.0: got 301, wanted at most 63"),
        (FEW_LINES + "mean = [0.5]\n", "mean: got 1 values, wanted 3, one for each channel of in_chans"),
        (FEW_LINES + "mean = 0.5\n", "mean: got 0.5, wanted a list"),
        (FEW_LINES.replace("[3]", "[4]"), "kernel_sizes.0: got 4, wanted an odd kernel"),
        (FEW_LINES.replace("[3]", '["3"]'), "kernel_sizes.0: got '3', wanted a whole number"),
        (FEW_LINES + "expand_ratios = [2.5]\n", "expand_ratios.0: got 2.5, wanted a whole number"),
        (FEW_LINES + "expand_ratios = [-3]\n", "expand_ratios.0: got -3, wanted at least 1"),
        (FEW_LINES + 'stem_width = "16"\n', "stem_width: got '16', wanted a whole number"),
        (FEW_LINES + "in_chans = true\n", "in_chans: got True, wanted a whole number"),
        (FEW_LINES + "head_width = -5\n", "head_width: got -5, wanted at least 1"),
        (FEW_LINES + "input_size = 1\n", "input_size: got 1, wanted at least 8"),
        (FEW_LINES + "input_size = 100000000\n", "input_size: got 100000000, wanted at most 4096"),
        (FEW_LINES.replace("2]]", "2], [32, 1, 2]]") + "input_size = 9\n", "input_size: got 9, wanted 16 or more"),
        (FEW_LINES + 'activation = "swoosh"\n', "activation: got 'swoosh', wanted one of celu elu"),
        (FEW_LINES + "crop = 0.0\n", "crop: got 0.0, wanted more than 0"),
        (FEW_LINES + 'mean = ["a", "b", "c"]\n', "mean.0: got 'a', wanted a number"),
    ],
)
def test_bad_declarations_name_file_and_fault(text, says, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(ArchError) as caught:
        read_space(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("head_width", "16", "head_width: got '16', wanted a whole number"),
        (
            "layers",
            [{"width": 8.5, "stride": 1, "tokens": ["e3k3"]}],
            "layers.0.width: got 8.5, wanted a whole number",
        ),
        ("layers", [{"width": 8, "stride": 1}], "missing field 'layers.0.tokens'"),
        ("zoom", 1, "unknown field 'zoom', wanted one of activation"),
        ("choices", [["e3k3", {"expand_ratio": 3, "kernel_size": 4}]], "wanted an odd kernel"),
        ("name", "a b", "without colons, spaces or line breaks"),
    ],
)
def test_a_definition_with_a_fault_is_refused_on_one_line(field, value, says):
    definition = {**json.loads(get_space("scarlet-mini-7").to_json()), field: value}
    with pytest.raises(ArchError) as caught:
        SearchSpace.from_json(json.dumps(definition))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArchError, match="search space definition: Invalid JSON"):
        SearchSpace.from_json("{")


def test_a_space_made_in_python_is_checked_as_one_from_a_file_is():
    space = get_space("scarlet-mini-7")
    for values, says in (
        ({"in_chans": "1"}, "search space 'scarlet-mini-7': in_chans: got '1', wanted a whole number"),
        ({"choices": (("e3k3", Choice("3", 3)), *space.choices[1:])}, "choices.0.1.expand_ratio: got '3'"),  # type: ignore[arg-type]
        ({"layers": (Layer(True, 1, ("e3k3",)),)}, "layers.0.width: got True"),
        ({"name": "a:b"}, "search space 'a:b': wanted a name without"),
    ):
        with pytest.raises(ArchError) as caught:
            replace(space, **values)
        assert says in str(caught.value)
    with pytest.raises(ArchError, match=r"search space 'x': choices: got 3, wanted"):
        SearchSpace("x", 3, space.layers)  # type: ignore[arg-type]


def test_spaces_that_are_not_there(tmp_path):
    with pytest.raises(ArchError, match="no such file"):
        find_space(str(tmp_path / "none.toml"))
    with pytest.raises(UnknownNameError, match=r"scarlet-mini .*or the TOML file of your own .*scarlet_mini\.toml"):
        find_space("scarlet_mini")


def test_files_that_are_no_text_of_a_space(tmp_path):
    folder, binary, marked = (tmp_path / f"{name}.toml" for name in ("folder", "binary", "marked"))
    folder.mkdir()
    with pytest.raises(ArchError, match="cannot be read: Is a directory, wanted a TOML file"):
        read_space(folder)
    binary.write_bytes(b"\xff\xfe\x00n")
    with pytest.raises(ArchError, match="not a TOML file of a search space: it is not text in UTF-8"):
        read_space(binary)
    # The mark that Windows's editors write before UTF-8.
    marked.write_bytes(b"\xef\xbb\xbf" + FEW_LINES.encode())
    assert read_space(marked) == space_of(tomllib.loads(FEW_LINES))


def test_a_built_in_space_may_be_declared_again_as_it_is():
    mini = {
        "name": "scarlet-mini", "stages": [[16, 1, 2], [24, 3, 1], [48, 4, 2]], "in_chans": 1, "input_size": 28,
        "num_classes": 4, "stem_width": 16, "first_width": 8, "head_width": 256, "stem_stride": 1, "mean": [0.286],
        "std": [0.353], "crop": 1.0,
    }  # fmt: skip
    assert space_of(mini) == replace(get_space("scarlet-mini"), num_classes=4)


def test_spaces_of_other_channels_are_timed_but_take_no_images(tmp_path, scarlet):
    path = written(tmp_path, FEW_LINES + "in_chans = 4\n")
    assert find_space(str(path)).mean == (0.5,) * 4
    code, _, said = scarlet("supernet", "train", "--space", path, "--data", tmp_path, "--out", tmp_path / "out")
    assert (code, said.count("\n")) == (2, 1)
    assert f"{path}: in_chans: got 4, wanted 1 (grey) or 3 (colour)" in said
    with pytest.raises(ArchError, match="search space 'mine': in_chans: got 4"):
        train_supernet(find_space(str(path)), data=tmp_path, out=tmp_path / "out")


def test_a_layer_has_each_token_once():
    space = get_space("scarlet-mini-7")
    with pytest.raises(ArchError, match="layer 0: got tokens e3k3 e3k3, wanted each token once"):
        replace(space, layers=(Layer(8, 1, ("e3k3", "e3k3")),))


def test_timm_has_the_activations():
    assert set(ACTIVATIONS) == set(_ACT_LAYER_DEFAULT)
    assert all(get_act_layer(name) is not None for name in ACTIVATIONS)


DOCUMENT = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")


def test_the_document_names_every_key_with_its_default_and_limits():
    rows = {row[0].strip(" `"): row for row in table_below(DOCUMENT, "| key |")}
    assert list(rows) == list(SpaceDeclaration.model_fields)
    for key, (_, _, _, limits, default) in rows.items():
        field = SpaceDeclaration.model_fields[key]
        given = re.fullmatch(r" `(.*)` ", default)
        if given:
            value = tomllib.loads(f"x = {given[1] if field.annotation is not str else repr(given[1])}")["x"]
            assert value == pytest.approx(field.default), key
        bounds = re.fullmatch(r" (\d+) to (\d+)(?:[,;] .*)? ", limits)
        if field.annotation is int and bounds:
            assert accepted(key, int(bounds[1])), key
            assert accepted(key, int(bounds[2])), key
            assert not accepted(key, int(bounds[1]) - 1), key
            assert not accepted(key, int(bounds[2]) + 1), key
    assert sum(SpaceDeclaration.model_fields[key].annotation is int for key in rows) == 7


def accepted(key, value):
    try:
        SpaceDeclaration.model_validate({"name": "mine", "stages": [[8, 1, 1]], key: value})
    except ValidationError:
        return False
    return True


def test_the_example_in_the_document_declares_a_space(tmp_path):
    space = read_space(written(tmp_path, re.search(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)[1]))
    assert (space.name, space.input_size, len(space.layers)) == ("mine", 64, 9)
    assert create_model(Arch.sample(space, random.Random(0))).num_classes == 100


def test_the_document_has_the_cost_of_the_built_in_spaces():
    rows = list(table_below(DOCUMENT, "| name | for |"))
    assert [row[0].strip(" `") for row in rows] == [
        "scarlet", "scarlet-rgb96", "scarlet-grey96", "scarlet-rgb32", "scarlet-cifar", "scarlet-mini"
    ]  # fmt: skip
    for name, _, layers, macs, params in rows:
        space = get_space(name.strip(" `"))
        costs = [arch_cost(arch) for arch in (cost_table(space).smallest, cost_table(space).largest)]
        assert int(layers) == len(space.layers)
        assert macs.strip() == " to ".join(f"{cost.macs / 1e6:.1f} M" for cost in costs)
        assert params.strip() == " to ".join(f"{cost.params / 1e6:.2f} M" for cost in costs)


def table_below(text, head):
    """The rows of the table whose first line begins so, as cells."""
    lines = text[text.index(head) :].splitlines()[2:]
    return [line.split("|")[1:-1] for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]


@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    depths=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_every_declared_space_survives_its_own_text(widths, depths, seed):
    stages = [[width, depth, 2] for width, depth in zip(widths, depths, strict=False)]
    space = space_of({"name": "x", "stages": stages, "in_chans": 1, "input_size": 16, "first_width": 8})
    assert SearchSpace.from_json(space.to_json()) == space
    arch = Arch.sample(space, random.Random(seed))
    assert Arch.parse(str(arch), space) == arch
