import random
import re

import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

from scarlet_zoo import Arch, SearchSpace, get_arch, get_space, list_archs
from scarlet_zoo.arch.choices import mbconv_choices
from scarlet_zoo.arch.space import Layer
from scarlet_zoo.arch.spaces import chain_layers
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.errors import ArchError, UnknownNameError

GENOTYPES = {
    "scarlet_a": "2 4 1 8 9 7 9 0 8 2 1 8 0 8 9 10 6 9 11",
    "scarlet_b": "6 7 6 11 0 1 11 6 12 1 6 6 11 6 10 10 12 11 10",
    "scarlet_c": "7 6 7 12 12 0 11 6 6 1 8 2 6 8 6 12 9 11 10",
}


def archs(space):
    return st.integers(0, 2**32).map(lambda seed: Arch.sample(space, random.Random(seed)))


@given(archs(get_space("scarlet")))
def test_identity_string_is_lossless(arch):
    assert Arch.parse(str(arch)) == arch
    assert str(Arch.parse(str(arch))) == str(arch)
    assert hash(Arch.parse(str(arch))) == hash(arch)
    assert len(arch.layers) == 19


@given(archs(get_space("scarlet")), st.integers(0, 18), st.sampled_from(["e3k9", "", "E3K3", "e3k3 ", "se", "id_"]))
def test_a_typo_names_layer_token_and_what_was_allowed(arch, layer, typo):
    tokens = list(arch.tokens)
    tokens[layer] = typo
    with pytest.raises(ArchError, match=re.escape(f"layer {layer}: got token {typo!r}, wanted one of e3k3")):
        Arch.parse("scarlet:" + "-".join(tokens))


@pytest.mark.parametrize("text", ["", "scarlet", "scarlet:", "scarlet:e3k3", ":e3k3-e3k3", "scarlet:" + "e3k3-" * 19])
def test_a_malformed_string_is_refused_on_one_line(text):
    with pytest.raises((ArchError, UnknownNameError)) as caught:
        Arch.parse(text)
    assert "\n" not in str(caught.value)


def test_a_skip_is_legal_only_where_a_layer_keeps_size_and_channels():
    legal = [i for i, layer in enumerate(get_space("scarlet").layers) if "id" in layer.tokens]
    assert legal == [1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17]
    tokens = list(get_arch("scarlet_a").tokens)
    tokens[10] = "id"
    with pytest.raises(ArchError, match="layer 10"):
        Arch.of(get_space("scarlet"), tokens)


def test_the_zoo_is_the_published_genotypes():
    space = get_space("scarlet")
    for name, genotype in GENOTYPES.items():
        assert get_arch(name).tokens == tuple(space.choices[int(gene)][0] for gene in genotype.split())
    assert [name for name, entry in ZOO.items() if entry.published] == list(GENOTYPES)
    assert list_archs() == list(ZOO)
    assert get_arch("scarlet_b").skipped == (8, 16)
    assert get_arch("scarlet_c").skipped == (3, 4, 15)


def test_the_space_has_as_many_architectures_as_the_arithmetic_says():
    assert get_space("scarlet").size == 12**6 * 13**13


@given(archs(TINY))
def test_a_space_travels_as_json_and_decodes_elsewhere(arch):
    space = SearchSpace.from_json(TINY.to_json())
    assert space == TINY
    assert Arch.parse(str(arch), space) == arch
    with pytest.raises(UnknownNameError, match="tiny"):
        Arch.parse(str(arch))


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ((), "layers: got ().*, wanted at least 1 item"),
        ((Layer(16, 3, ("e3k3",)),), "layers.0.stride: got 3, wanted at most 2"),
        ((Layer(0, 1, ("e3k3",)),), "layers.0.width: got 0, wanted at least 1"),
        ((Layer(16, 1, ("e9k9",)),), "token 'e9k9'"),
        ((Layer(16, 1, ("id",)),), "got a skip with stride"),
        ((Layer(16, 1, ("e3k3",)), Layer(24, 1, ("id",))), "got a skip with stride"),
    ],
)
def test_an_impossible_space_is_refused(layers, why):
    with pytest.raises(ArchError, match=why):
        SearchSpace("bad", mbconv_choices(), layers, first_width=16)


def test_garbage_is_no_space():
    for text in ("", "{}", "[]", '{"name": "x", "choices": 1, "layers": []}'):
        with pytest.raises(ArchError):
            SearchSpace.from_json(text)


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(UnknownNameError, match="scarlet_a"):
        get_arch("scarlet_aa")
    with pytest.raises(UnknownNameError, match="scarlet"):
        get_space("scarlett")


def test_a_space_without_legal_skips_has_none():
    assert all("id" not in layer.tokens for layer in chain_layers(((16, 1, 2), (24, 1, 1)), mbconv_choices()))
