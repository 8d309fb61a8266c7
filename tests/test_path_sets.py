"""Sets of paths as tokens: what a set computes, which norm it moves, and that its file computes the same."""

import json
import random
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from conftest import TINY, images_for, randomized, skipping_arch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from supernet_parts import agreeing, images, lively, moved_keys, one_step

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import members_of
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import read_space
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import ArchError, UnknownNameError
from scarlet_zoo.measurement.lut.cut import cut, network_graph
from scarlet_zoo.measurement.lut.keys import pieces_of
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.path_sets import ParallelBlock
from scarlet_zoo.models.supernet import Supernet, load_supernet, save_supernet
from scarlet_zoo.models.weights.checkpoint import save_state

SPACE = TINY.with_path_sets(3)
NAMED = get_space("scarlet-mini+paths2")
BOTH = TINY.with_path_sets(2).with_branches()
EXACT = 1e-12  # of the largest logit, in float64
# A set, a single path, a skip, in residual layers and in others.
MIXED = Arch.of(SPACE, ["e3k3+e6k5se", "e3k3+e3k5+e6k3se", "id", "e6k3", "e3k5", "e3k3+e3k5", "id", "e3k5+e6k3"])

archs = st.integers(0, 2**32).map(lambda seed: Arch.sample(SPACE, random.Random(seed)))


def sets_arch(space, seed, share=0.4):
    """A random architecture with skips, and with branches where the space has some."""
    tokens = skipping_arch(space, seed, share).tokens
    return replace(Arch.sample(space, random.Random(seed)), tokens=tokens)


def test_a_layer_has_every_set_of_its_blocks_once():
    blocks = [token for token in TINY.layers[0].tokens if token != "id"]
    n = len(blocks)
    assert len(SPACE.layers[0].tokens) == n + n * (n - 1) // 2 + n * (n - 1) * (n - 2) // 6
    assert sum(token == "id" for token in SPACE.layers[1].tokens) == 1
    for token in SPACE.layers[1].tokens:
        members = members_of(token)
        assert members == sorted(set(members), key=lambda t: [*blocks, "id"].index(t))
        assert [SPACE.choice(member) for member in members] == list(SPACE.choice(token).blocks)
    assert SPACE.most_paths == 3
    assert SearchSpace.from_json(SPACE.to_json()) == SPACE
    assert "beside" not in TINY.to_json()
    assert get_space("scarlet-mini").with_path_sets() == NAMED


@given(archs)
def test_an_identity_string_with_sets_is_lossless(arch):
    assert Arch.parse(str(arch), SPACE) == arch


def test_a_set_has_one_name():
    with pytest.raises(ArchError, match=r"layer 0: got token 'e3k5\+e3k3'"):
        Arch.of(SPACE, ["e3k5+e3k3", *["e3k3"] * 7])
    with pytest.raises(ArchError, match="layer 1"):
        Arch.of(SPACE, ["e3k3", "e3k3+id", *["e3k3"] * 6])
    for name in ("scarlet-mini+paths", "scarlet-mini+paths02", "scarlet-mini+path2"):
        with pytest.raises(UnknownNameError, match="paths2"):
            get_space(name)
    for most in (1, 9):
        with pytest.raises(ArchError, match="wanted 2 to 8"):
            TINY.with_path_sets(most)
    with pytest.raises(ArchError, match="wanted a space without"):
        SPACE.with_path_sets()


def test_a_declaration_asks_for_sets(tmp_path):
    path = tmp_path / "mine.toml"
    lines = 'name = "mine"\nstages = [[16, 2, 2], [24, 2, 2]]\nkernel_sizes = [3]\n'
    path.write_text(f"{lines}paths = 2\nbranches = true\n")
    space = read_space(path)
    assert (space.name, space.most_paths, len(space.branches)) == ("mine", 2, 5)
    path.write_text(f"{lines}paths = '2'\n")
    with pytest.raises(ArchError, match="whole number"):
        read_space(path)


@pytest.mark.slow
@pytest.mark.parametrize("space", [SPACE, NAMED, BOTH], ids=lambda space: space.name)
def test_a_path_its_subnet_its_fold_and_its_file_agree(space, tmp_path):
    subnet, _ = agreeing(lively(space), MIXED if space is SPACE else sets_arch(space, 2), tmp_path)
    assert any(isinstance(module, ParallelBlock) for module in subnet.modules())


def test_a_set_is_the_normalised_sum_of_its_paths_and_one_shortcut():
    supernet = lively(SPACE)
    layer = supernet.layers[1]
    x = torch.randn(2, 16, 8, 8)
    with torch.inference_mode():
        one, other = (layer.paths[token](x) for token in ("e3k3", "e6k5"))
        assert torch.allclose(layer(x, "e3k3+e6k5"), x + layer.norms["e3+e6"](one + other), atol=1e-6)
        assert torch.equal(layer(x, "e3k3"), x + layer.norms["e3"](one))
        assert torch.equal(layer(x, "e6k5"), x + layer.norms["e6"](other))
        opening = supernet.layers[0]
        assert torch.equal(opening(x[:, :8], "e3k3"), opening.norms["e3"](opening.paths["e3k3"](x[:, :8])))


def test_every_layer_has_a_norm_for_each_combination_of_expansions_and_no_others_behind_its_blocks():
    wanted = {2: ["e3", "e6", "e3+e3", "e3+e6", "e6+e6"]}
    wanted[3] = [*wanted[2], "e3+e3+e3", "e3+e3+e6", "e3+e6+e6", "e6+e6+e6"]
    for most in (2, 3):
        supernet = Supernet(TINY.with_path_sets(most))
        for layer in supernet.layers:
            assert sorted(dict(layer.get_submodule("norms").named_children())) == sorted(wanted[most])
            assert all(isinstance(path.bn3, torch.nn.Identity) for path in layer.paths.values())
    assert all(isinstance(choices, torch.nn.ModuleDict) for choices in Supernet(TINY).layers)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_forward_with_these_paths_moves_the_norm_of_their_expansions_only(count):
    supernet = Supernet(SPACE)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1, 0.9, weight_decay=0.1, nesterov=True)
    for seed in range(6):
        one_step(supernet, Arch.sample(SPACE, random.Random(seed)), optimizer)
    arch = Arch.of(SPACE, ["+".join(("e3k3", "e3k5", "e6k5")[:count])] * 8)
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    one_step(supernet, arch, optimizer)
    moved = {key for key in moved_keys(supernet, before) if key.startswith("layers.")}
    norms = {key.split(".")[3] for key in moved if ".norms." in key}
    paths = {key.split(".")[3] for key in moved if ".paths." in key}
    assert norms == {wanted := ("e3", "e3+e3", "e3+e3+e6")[count - 1]}
    assert paths == set(members_of(arch.tokens[0]))
    for layer in supernet.layers:
        for name, norm in layer.norms.items():
            assert (norm.weight.grad is not None) == (name == wanted)


def test_a_file_with_one_norm_for_each_number_of_paths_computes_what_it_did(tmp_path):
    supernet = lively(SPACE)
    shared = {}
    for key, value in supernet.state_dict().items():
        head, mark, name = key.partition(".norms.")
        if mark:
            name, _, rest = name.partition(".")
            shared.setdefault(f"{head}.norms.{name.count('+')}.{rest}", value)
        else:
            shared[key] = value
    save_state(shared, tmp_path / "former.safetensors", {"space": SPACE.to_json(), "skip": supernet.skip})
    read, _ = load_supernet(tmp_path / "former.safetensors")
    for key, value in read.state_dict().items():
        head, mark, name = key.partition(".norms.")
        number = f"{name.partition('.')[0].count('+')}.{name.partition('.')[2]}" if mark else ""
        assert torch.equal(value, shared[f"{head}.norms.{number}" if mark else key])


def test_paths_are_shared_by_all_sets_that_hold_them():
    supernet = lively(SPACE)
    singles = {token for token in SPACE.layers[1].tokens if len(members_of(token)) == 1 and token != "id"}
    assert set(supernet.layers[1].paths) == singles
    one, other = (supernet.subnet(Arch.of(SPACE, ["e3k3+e3k5", *rest])) for rest in (["e3k3"] * 7, ["e6k3"] * 7))
    own, same = (net.get_submodule("blocks.1.0").state_dict() for net in (one, other))
    assert all(torch.equal(own[key], same[key]) for key in own)


@pytest.mark.slow
def test_a_supernet_of_sets_comes_back_from_its_file(tmp_path):
    supernet = lively(SPACE, "orthogonal")
    save_supernet(supernet, tmp_path / "s.safetensors", {})
    back, _ = load_supernet(tmp_path / "s.safetensors")
    with torch.inference_mode():
        assert torch.equal(back(images(SPACE), MIXED), supernet(images(SPACE), MIXED))


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_counts_sets_as_the_model_that_runs(seed):
    space = (SPACE, BOTH)[seed % 2]
    arch, size = sets_arch(space, seed), (32, 33, 47, 64)[seed]
    closed = zoo.arch_cost(arch, input_size=size, in_chans=2, num_classes=7)
    model = zoo.create_model(arch, in_chans=2, num_classes=7)
    counted = model_cost(model, (2, size, size))
    assert closed.params == counted.params == sum(p.numel() for p in model.parameters())
    assert closed.macs == counted.macs


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.floats(0.1, 1.0), st.booleans())
def test_any_architecture_of_sets_folds_exactly(seed, share, branched):
    model = randomized(sets_arch(BOTH if branched else SPACE, seed, share), seed)
    result = zoo.fold(model)
    assert not result.skipped
    assert not any(isinstance(module, (Stabilizer, torch.nn.BatchNorm2d)) for module in result.model.modules())
    x = images_for(model)
    with torch.inference_mode():
        assert (result.model(x) - model(x)).abs().max() < EXACT * model(x).abs().max()


class Sum(torch.nn.Module):
    """A norm behind a sum of convolutions, or of what else a test puts there."""

    def __init__(self, count, forward):
        super().__init__()
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(3, 4, 2 * i + 1, padding=i) for i in range(count))
        self.norm, self.how = torch.nn.BatchNorm2d(4), forward
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.norm.weight.data.normal_()
        self.norm.bias.data.normal_()

    def forward(self, x):
        return self.how(self, [conv(x) for conv in self.convs])


@pytest.mark.slow
@given(st.integers(1, 4), st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_a_norm_behind_any_sum_of_convolutions_folds_exactly(count, seed):
    torch.manual_seed(seed)
    model = Sum(count, lambda self, made: self.norm(sum(made[1:], made[0]))).double().eval()
    result = zoo.fold(model)
    assert not result.skipped
    assert [step.absorbed_by for step in result.steps] == [tuple(f"convs.{i}" for i in range(count))]
    assert result.max_rel_diff < EXACT


@pytest.mark.parametrize(
    "how",
    [
        lambda self, made: self.norm(made[0] + made[1]) + made[1],
        lambda self, made: self.norm(total := made[0] + made[1]) + total,
        lambda self, made: self.norm(made[0] + made[0]),
        lambda self, made: self.norm(made[0] + made[1].relu()),
        lambda self, made: self.norm(made[0] + 1),
    ],
    ids=["a summand is read", "the sum is read", "twice the same", "an activation", "a number"],
)
def test_a_norm_behind_a_sum_that_does_not_fold_stays_with_its_reason(how):
    torch.manual_seed(0)
    result = zoo.fold(Sum(2, how).eval())
    assert [site.site for site in result.skipped] == ["norm"]
    assert result.max_rel_diff < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pieces_in_a_row_are_the_network(precision):
    whole = network_graph(MIXED, precision)
    value = np.random.default_rng(0).standard_normal((1, 3, TINY.input_size, TINY.input_size)).astype(np.float32)
    (truth,) = ort.InferenceSession(whole.SerializeToString()).run(None, {"input": value})
    pieces = cut(whole, MIXED)
    assert list(pieces) == pieces_of(MIXED)
    assert not any(node.op_type == "BatchNormalization" for node in whole.graph.node)
    for piece in pieces.values():
        session = ort.InferenceSession(piece.SerializeToString())
        (value,) = session.run(None, {session.get_inputs()[0].name: value})
    np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())


def test_feature_levels_are_the_same_by_every_way():
    net = randomized(MIXED, 1)
    x, own = images_for(net), net.state_dict()
    features = randomized(MIXED, 1, features_only=True, out_indices=(0, 1, 2))
    features.load_state_dict({key: own[key] for key in features.state_dict()})
    with torch.inference_mode():
        truth = net.forward_intermediates(x, indices=[0, 1, 2], intermediates_only=True)
        folded = zoo.fold(features).model(x)
        for wanted, got, after in zip(truth, features(x), folded, strict=True):
            assert torch.equal(wanted, got)
            assert (after - wanted).abs().max() < EXACT * wanted.abs().max()


@pytest.mark.slow
def test_sets_are_exported_and_searched_by_name(scarlet, tmp_path):
    arch = sets_arch(NAMED, 1)
    code, said, error = scarlet("export", arch, "--out", tmp_path / "file", "--json")
    assert code == 0, error
    (file,) = (tmp_path / "file").glob("*.onnx")
    code, said, error = scarlet("verify", file, arch, "--json")
    assert code == 0, error
    code, said, error = scarlet("search", "--space", NAMED.name, "--objectives", "macs,params:max", "--evaluations", 24,
                                "--population", 8, "--out", tmp_path / "search", "--json")  # fmt: skip
    assert code == 0, error
    assert {Arch.parse(row["arch"]).space for row in json.loads(said)["front"]} == {NAMED}
