"""Search spaces that a user declares."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import Choice
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.space import Layer, SearchSpace
from scarlet_zoo.arch.spaces import find_space, get_space, list_spaces, read_space, space_of
from scarlet_zoo.errors import ArchError, UnknownNameError
from scarlet_zoo.models.scarlet import create_model

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
    assert list_spaces() == ["scarlet", "scarlet-7", "scarlet-mini", "scarlet-mini-7"]
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
        (FEW_LINES + "depth = 3\n", "unknown field 'depth', wanted one of activation branches"),
        ("name = ", "not a TOML file of a search space"),
        (FEW_LINES + "stem_stride = 3\n", "stem_stride: got 3, wanted at most 2"),
        (FEW_LINES.replace("[16, 2, 2]", "[0, 2, 2]"), "stages.0.0: got 0, wanted at least 1"),
        (FEW_LINES.replace("[16, 2, 2]", "[16, 2]"), "stages.0.2"),
        (FEW_LINES.replace("mine", "a:b"), "without colons"),
        (FEW_LINES + "std = [0.5, 0.0, 0.5]\n", "std.1: got 0.0, wanted more than 0"),
        (FEW_LINES + "paths = 1\n", "paths: got 1, wanted at least 2"),
        (FEW_LINES + "branches = 1\n", "branches: got 1, wanted true or false"),
        (FEW_LINES.replace("[3]", "[]"), "layers.0.tokens: got (), wanted at least 1 item"),
        (FEW_LINES + "mean = [0.5]\n", "1 means and 3 deviations"),
        (FEW_LINES.replace("[3]", "[4]"), "odd kernel"),
        (FEW_LINES.replace("[3]", '["3"]'), "kernel_sizes.0: got '3', wanted a whole number"),
        (FEW_LINES + "expand_ratios = [2.5]\n", "expand_ratios.0: got 2.5, wanted a whole number"),
        (FEW_LINES + 'stem_width = "16"\n', "stem_width: got '16', wanted a whole number"),
        (FEW_LINES + "head_width = -5\n", "head_width: got -5, wanted at least 1"),
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
    with pytest.raises(UnknownNameError, match="scarlet-mini"):
        find_space("scarlet_mini")


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
