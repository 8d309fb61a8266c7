"""Spaces with branches: what they hold, what their networks compute, and what the rest makes of them."""

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from conftest import TINY, images_for, randomized, skipping_arch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from supernet_parts import agreeing, images, lively, moved_keys, one_step

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch, branch_plan
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import read_space
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import ArchError, FoldError, ScarletError, UnknownNameError
from scarlet_zoo.folding import regions, stabilizers
from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.lut.build import build_table, measure_bundle
from scarlet_zoo.measurement.lut.bundle import make_bundle
from scarlet_zoo.measurement.lut.cut import cut, holders, network_graph
from scarlet_zoo.measurement.lut.keys import decision_key, piece_key, pieces_of
from scarlet_zoo.measurement.profiling import profile
from scarlet_zoo.measurement.roofline import Machine
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.branched import BranchedNet
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.scarlet_net import ScarletNet
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.models.weights.checkpoint import read_metadata, save_weights
from scarlet_zoo.models.weights.store import find_shipped
from scarlet_zoo.nas.search.encoding import Encoding

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")

SPACE = TINY.with_branches()
NAMED = get_space("scarlet-mini+branches")
EXACT = 1e-12  # of the largest logit, in float64


def branched_arch(seed, share=0.5, on=0.4, space=SPACE):
    """A random architecture with skips, in which about this share of the branches are on; at least one is."""
    rng = random.Random(seed)
    edges = [edge for edge in space.branches if rng.random() < on] or [rng.choice(space.branches)]
    return Arch(space, skipping_arch(space, seed, share).tokens, tuple(edges))


archs = st.integers(0, 2**32).map(lambda seed: Arch.sample(SPACE, random.Random(seed)))


def test_the_nineteen_layers_have_the_thirty_five_edges_of_the_abstract():
    space = get_space("scarlet+branches")
    assert len(space.branches) == 18 + 17
    assert {target - source for source, target in space.branches} == {2, 3}
    assert space.size == get_space("scarlet").size * 2**35
    assert 2**35 > 3.4e10
    assert all(branch_plan(space, edge).choice == space.branch_operator for edge in space.branches)


def test_definitions_of_chains_are_the_text_that_files_carry():
    for name in ("scarlet_mini_s", "scarlet_mini_m", "scarlet_mini_l"):
        assert read_metadata(find_shipped(name))["space"] == get_space("scarlet-mini").to_json()
    assert "branch" not in get_space("scarlet").to_json()
    assert SearchSpace.from_json(NAMED.to_json()) == NAMED == get_space("scarlet-mini").with_branches()


@given(archs)
def test_an_identity_string_with_branches_is_lossless(arch):
    assert Arch.parse(str(arch), SPACE) == arch
    assert str(Arch.parse(str(arch), SPACE)) == str(arch)
    assert ("/" in str(arch)) == bool(arch.branches)
    assert Arch.of(SPACE, arch.decisions) == arch
    assert Encoding(SPACE).arch(Encoding(SPACE).encode(arch)) == arch


CHAIN = "-".join(["e3k3"] * 8)


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        ("0.1", "got branch '0.1', wanted one of 0.2 0.3"),
        ("0.2-6.9", "branch '6.9'"),
        ("2.0", "branch '2.0'"),
        ("0.2-0.2", "branch '0.2' after '0.2'"),
        ("1.3-0.2", "got branch '0.2' after '1.3', wanted sorted branches without repetition"),
        ("", "branch ''"),
        ("0.2-", "branch ''"),
        ("0.2/1.3", "branch '0.2/1.3'"),
        ("00.2", "branch '00.2'"),
    ],
)
def test_a_typo_in_a_branch_is_named(edges, says):
    with pytest.raises(ArchError) as caught:
        Arch.parse(f"tiny+branches:{CHAIN}/{edges}", SPACE)
    assert says in str(caught.value)
    with pytest.raises(ArchError, match="wanted no branch, because the space has none"):
        Arch.parse(f"tiny:{CHAIN}/0.2", TINY)


def test_names_of_augmented_spaces():
    for name in ("scarlet-mini+branchs", "scarlet-mini+", "mini+branches"):
        with pytest.raises(UnknownNameError, match="wanted one of"):
            get_space(name)
    with pytest.raises(UnknownNameError, match=r"scarlet-mini\+branches"):
        get_space("scarlet-mini+branchs")
    with pytest.raises(ArchError, match="without branches"):
        NAMED.with_branches()


def test_a_declaration_asks_for_branches(tmp_path):
    path = tmp_path / "mine.toml"
    lines = 'name = "mine"\nstages = [[16, 2, 2], [24, 2, 2]]\n'
    path.write_text(f"{lines}branches = true\n")
    space = read_space(path)
    assert space.name == "mine"
    assert space.branches == ((0, 2), (0, 3), (1, 3), (1, 4), (2, 4))
    path.write_text(f"{lines}branches = 3\n")
    with pytest.raises(ArchError, match="true or false"):
        read_space(path)


@given(st.integers(0, 2**32))
def test_mutation_and_crossing_decide_branches_too(seed):
    rng = random.Random(seed)
    one, other = Arch.sample(SPACE, rng), Arch.sample(SPACE, rng)
    child = one.cross(other, rng)
    assert all(gene in pair for gene, *pair in zip(child.decisions, one.decisions, other.decisions, strict=True))
    assert one.mutate(rng, 0) == one
    changed = one.mutate(rng, 1)
    assert all(a != b for a, b in zip(changed.decisions, one.decisions, strict=True))
    rng, again = random.Random(seed), random.Random(seed)
    assert Arch.sample(TINY, rng).tokens == tuple(again.choice(layer.tokens) for layer in TINY.layers)


def steep():
    """A space in which two layers in a row have stride 2, so that branches have stride 4."""
    layers = list(TINY.layers)
    layers[1] = replace(layers[1], stride=2, tokens=layers[0].tokens)
    return replace(TINY, name="steep", layers=tuple(layers)).with_branches()


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_counts_branches_as_the_model_that_runs(seed):
    space = steep()
    assert {branch_plan(space, edge).stride for edge in space.branches} == {1, 2, 4}
    arch = branched_arch(seed, space=space, share=0.3, on=1)
    size = (32, 33, 47, 51)[seed]
    model = zoo.create_model(arch, in_chans=2, num_classes=7)
    closed = zoo.arch_cost(arch, input_size=size, in_chans=2, num_classes=7)
    counted = model_cost(model, (2, size, size))
    assert closed.params == counted.params == sum(p.numel() for p in model.parameters())
    assert closed.macs == counted.macs
    rows = {row.name: row for row in closed.layers}
    for plan in arch.branch_plans:
        assert rows[plan.name].out_size == rows[str(plan.target - 1)].out_size


@pytest.mark.parametrize("stabilized", [True, False])
def test_without_branches_it_is_the_chain_bit_for_bit(stabilized):
    tokens = skipping_arch(SPACE, 0).tokens
    chain_net = randomized(Arch.of(TINY, tokens), stabilized=stabilized, dtype=torch.float32)
    bare = zoo.create_model(Arch.of(SPACE, tokens), stabilized=stabilized)
    assert type(bare) is type(chain_net) is ScarletNet
    walked = BranchedNet(Arch.of(SPACE, tokens), stabilized=stabilized, num_classes=10)
    walked.load_state_dict(chain_net.state_dict())
    x = images(TINY)
    with torch.inference_mode():
        assert torch.equal(walked.eval()(x), chain_net(x))
    supernet, with_branches = lively(TINY), lively(SPACE)
    with_branches.load_state_dict(supernet.state_dict(), strict=False)
    with torch.inference_mode():
        assert torch.equal(with_branches(x, Arch.of(SPACE, tokens)), supernet(x, Arch.of(TINY, tokens)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_path_its_subnet_its_fold_and_its_file_agree(seed, tmp_path):
    space = (SPACE, NAMED, steep())[seed]
    supernet, arch = lively(space), branched_arch(seed, space=space)
    _, folded = agreeing(supernet, arch, tmp_path)
    x = images(space, 4)
    with torch.inference_mode():
        truth, chain_only = supernet(x, arch), supernet(x, Arch.of(space, arch.tokens))
    assert (truth - chain_only).abs().max() > 1e-2 * truth.abs().max()
    assert not any(isinstance(module, Stabilizer) for module in folded.modules())


def test_a_step_moves_no_branch_that_was_not_sampled():
    supernet = Supernet(SPACE)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1, 0.9, weight_decay=0.1, nesterov=True)
    for seed in range(4):
        one_step(supernet, Arch.sample(SPACE, random.Random(seed)), optimizer)
    arch = branched_arch(0, on=0.5)
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    one_step(supernet, arch, optimizer)
    moved = {".".join(key.split(".")[1:3]) for key in moved_keys(supernet, before) if key.startswith("branches.")}
    assert moved == {plan.name for plan in arch.branch_plans}


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.floats(0.1, 1.0), st.floats(0.05, 1.0), st.floats(1.5, 50))
def test_any_branched_architecture_folds_exactly(seed, share, on, condition):
    arch = branched_arch(seed, share, on)
    model = randomized(arch, seed, condition)
    result = zoo.fold(model)
    assert not result.skipped
    assert not any(isinstance(module, (Stabilizer, torch.nn.BatchNorm2d)) for module in result.model.modules())
    x = images_for(model)
    with torch.inference_mode():
        assert (result.model(x) - model(x)).abs().max() < EXACT * model(x).abs().max()


# The stabilizer of layer 3 stands before the next stage and would go forward without an inverse.
BESIDE = f"tiny+branches:{'-'.join(['e3k3'] * 3 + ['id'] + ['e3k3'] * 4)}"
BETWEEN = f"tiny+branches:{'-'.join(['e3k3'] + ['id'] * 3 + ['e3k3'] * 4)}"


@pytest.mark.parametrize("text", [f"{BESIDE}/4.6", f"{BESIDE}/1.4", f"{BETWEEN}/0.2", f"{BETWEEN}/2.5"])
def test_a_fold_that_forgets_the_branches_is_caught(text, monkeypatch):
    model = randomized(Arch.parse(text, SPACE))
    assert not zoo.fold(model).skipped
    monkeypatch.setattr(regions, "_branch_off", lambda *_: None)
    monkeypatch.setattr(stabilizers, "branched_sites", lambda *_: set())
    monkeypatch.setattr(stabilizers, "_excess", lambda *_: "")
    with pytest.raises(FoldError, match="differs by"):
        zoo.fold(model)


def test_stabilizers_are_not_multiplied_across_a_branch(monkeypatch):
    model = randomized(Arch.parse(f"{BETWEEN}/0.2", SPACE))
    monkeypatch.setattr(stabilizers, "branched_sites", lambda *_: set())
    with pytest.raises(FoldError, match="differs by"):
        zoo.fold(model)


def test_feature_levels_are_the_same_by_every_way_and_survive_a_fold():
    arch = branched_arch(3)
    net, x = randomized(arch, 3), images_for(randomized(arch, 3))
    levels = (0, 1, 2)
    with torch.inference_mode():
        truth = net.forward_intermediates(x, indices=list(levels), intermediates_only=True)
        last, _ = net.forward_intermediates(x)
        assert torch.equal(last, net.forward_features(x))
    for kwargs in ({}, {"feature_cls": "getter"}):
        model = randomized(arch, 3, features_only=True, out_indices=levels, **kwargs)
        inner = getattr(model, "model", model)
        own = net.state_dict()
        inner.load_state_dict({key: own[key] for key in inner.state_dict()})
        folded = zoo.fold(model).model
        with torch.inference_mode():
            for wanted, got, after in zip(truth, model(x), folded(x), strict=True):
                assert torch.equal(wanted, got)
                assert (after - wanted).abs().max() < EXACT * wanted.abs().max()
    pruned = zoo.create_model(arch, features_only=True, feature_cls="getter", out_indices=(0, 1)).model
    edges: Any = pruned.edges
    assert all(target <= 4 for _, target in edges)
    kind = type(net.get_submodule(f"branches.{arch.branch_plans[0].name}"))
    assert len(edges) == sum(isinstance(module, kind) for module in pruned.get_submodule("branches").modules())
    for refused in (net.as_sequential, net.set_grad_checkpointing):
        with pytest.raises(ScarletError, match="without branches"):
            refused()


@pytest.mark.slow
def test_a_branched_network_is_exported_verified_and_searched_by_name(scarlet, tmp_path):
    arch = branched_arch(5, space=NAMED)
    model = randomized(arch, 5, dtype=torch.float32)
    weights = tmp_path / "net.safetensors"
    save_weights(model, weights, {"stabilized": "True"})
    code, said, error = scarlet("export", arch, "--weights", weights, "--out", tmp_path / "file", "--json")
    assert code == 0, error
    (file,) = (tmp_path / "file").glob("*.onnx")
    code, said, error = scarlet("verify", file, arch, "--weights", weights, "--json")
    assert code == 0, error
    deployed = zoo.deploy(str(arch), tmp_path / "deployed", settings=Settings(warmup=1))
    assert deployed.parity.passed
    assert deployed.cost.macs == zoo.arch_cost(arch).macs
    code, said, error = scarlet("show", arch, "--json")
    assert code == 0, error
    assert {plan.name for plan in arch.branch_plans} <= {row["name"] for row in json.loads(said)["layers"]}
    code, said, error = scarlet("search", "--space", NAMED.name, "--objectives", "macs,params:max", "--evaluations", 24,
                                "--population", 8, "--out", tmp_path / "search", "--json")  # fmt: skip
    assert code == 0, error
    front = [Arch.parse(row["arch"]) for row in json.loads(said)["front"]]
    assert {arch.space for arch in front} == {NAMED}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pieces_and_sums_are_the_network(precision):
    arch = Arch.parse("tiny+branches:e6k3se-e3k3-id-e3k5-e6k5-e3k3-id-id/0.2-1.3-1.4-2.5-5.7", SPACE)
    whole = network_graph(arch, precision)
    value = np.random.default_rng(0).standard_normal((1, 3, TINY.input_size, TINY.input_size)).astype(np.float32)
    (truth,) = ort.InferenceSession(whole.SerializeToString()).run(None, {"input": value})
    pieces = cut(whole, arch)
    assert list(pieces) == pieces_of(arch)
    if precision == "int8":
        return  # integers of different scales do not add up by hand
    run = {name: ort.InferenceSession(piece.SerializeToString()) for name, piece in pieces.items()}
    value = run["stem"].run(None, {run["stem"].get_inputs()[0].name: value})[0]
    maps = [value]
    for plan in arch.layers:
        if str(plan.index) in run:
            value = run[str(plan.index)].run(None, {run[str(plan.index)].get_inputs()[0].name: value})[0]
        for branch in (b for b in arch.branch_plans if b.target == plan.index + 1):
            session = run[branch.name]
            value = value + session.run(None, {session.get_inputs()[0].name: maps[branch.source]})[0]
        maps.append(value)
    (value,) = run["head"].run(None, {run["head"].get_inputs()[0].name: value})
    np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())


@pytest.mark.slow
def test_a_table_knows_every_branch_and_predicts(tmp_path, scarlet):
    (tmp_path / "small.toml").write_text(
        'name = "small"\nin_chans = 1\ninput_size = 16\nnum_classes = 4\nstages = [[16, 2, 2], [24, 2, 2]]\n'
        "kernel_sizes = [3]\nexpand_ratios = [3]\nmean = [0.5]\nstd = [0.5]\nbranches = true\n"
    )
    space = read_space(tmp_path / "small.toml")
    made = make_bundle(space, tmp_path / "bundle", networks=(8, 4))
    table = build_table(made, measure_bundle(made, tmp_path / "sittings", Settings(), sittings=1))
    keys = {decision_key(space, place, token) for place, allowed in enumerate(space.decisions) for token in allowed}
    assert set(table.blocks) == keys - {None} | {"stem", "head"}
    wanted = {"branch e3k3 16-16 s2 8px", "branch e3k3 16-24 s4 8px", "branch e3k3 16-24 s2 4px"}
    assert {key for key in table.blocks if key.startswith("branch")} == wanted
    assert {piece_key(arch, piece) for arch in holders(space) for piece in pieces_of(arch)} == set(table.blocks)
    tokens = next(holders(space)).tokens
    bare, full = Arch.of(space, tokens), Arch(space, tokens, space.branches)
    sums = table.block_sum(table.encode([bare, full]))
    extra = sum(table.blocks[piece_key(full, plan.name)] for plan in full.branch_plans)
    assert sums[1] - sums[0] == pytest.approx(extra)
    table.write(tmp_path / "table.json")
    code, said, error = scarlet("lut", "predict", full, "--lut", tmp_path / "table.json", "--json")
    assert code == 0, error
    assert json.loads(said)[0]["p50_ms"] == pytest.approx(table.predict([full])[0, 0])


def test_a_profile_names_the_branches(tmp_path):
    arch = branched_arch(7)
    machine = Machine("d", 1, 100.0, ((1000, 50.0), (10**6, 10.0)))
    artifact = zoo.export_onnx(randomized(arch, 7, stabilized=False, dtype=torch.float32), tmp_path / "net.onnx")
    blocks = {block.name: block for block in profile(artifact.path, machine, runs=4).blocks}
    for plan in arch.branch_plans:
        assert blocks[f"branches.{plan.name}"].kind == "branch e3k3"
        assert blocks[f"branches.{plan.name}"].macs > 0
