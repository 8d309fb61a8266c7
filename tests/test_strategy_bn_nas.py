"""BN-NAS: what learns and what stays, and a score that is a function of the scales alone."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategy_parts import MINI, Moves, run, strategy_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data import datasets
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import save_supernet
from scarlet_zoo.nas import one_shot
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.search.scoring import habits_of
from scarlet_zoo.nas.strategies.bn_nas import BnNas, gamma_table, last_norm
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.training.learner import StepBatch

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def is_last(name):
    return ".bn3." in name and name.startswith(("layers.", "branches."))


def is_norm(name):
    return name.rpartition(".")[0].rpartition(".")[2] in ("bn1", "bn2", "bn3")


class Bench:
    """What a scorer may use of a bench without opening pictures."""

    def __init__(self, supernet):
        self.supernet = supernet


def with_random_scales(supernet, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if is_norm(name):
                parameter.normal_(0, 1, generator=generator)
    return supernet


@pytest.fixture(scope="module")
def supernet():
    return with_random_scales(strategy_of("bn-nas").supernet)


@pytest.mark.parametrize(("train", "learns"), [("last", is_last), ("all", is_norm)])
def test_only_the_norms_that_are_named_learn(train, learns, tmp_path):
    strategy = strategy_of("bn-nas", train=train)
    moves = Moves(strategy.model)
    done, rows = run(strategy, tmp_path, max_steps=12)
    parameters = dict(strategy.supernet.named_parameters())
    wanted = {name for name in parameters if learns(name)}
    assert {name for name, parameter in parameters.items() if parameter.requires_grad} == wanted
    changed = {name for row in rows for name in row["changed"]}
    assert changed & parameters.keys() == wanted
    assert {name for name in moves.names() if name in parameters} == wanted
    # The statistics of every norm that has run follow the pictures, whether it learns or not.
    assert {"bn1.running_mean", "bn2.running_var"} <= set(moves.names())
    assert changed - parameters.keys() == {f"{name.rpartition('.')[0]}.{what}" for name in parameters
                                           if is_norm(name) for what in STATISTICS}  # fmt: skip
    for name, before in moves.before.items():
        if name in parameters and not is_norm(name):
            assert torch.equal(done.state[name], before), name


def test_the_classifier_and_the_stabilizers_stay_too(tmp_path):
    strategy = strategy_of("bn-nas", skip="orthogonal")
    moves = Moves(strategy.model)
    run(strategy, tmp_path, max_steps=6)
    assert not [name for name in moves.names() if "classifier" in name or ".id." in name]


@given(first=st.randoms(use_true_random=False), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_score_is_a_sum_of_cells(supernet, first, data):
    table, score = gamma_table(supernet), BnNas.scorer(cast(OneShot, Bench(supernet)))
    arch = Arch.sample(MINI, first)
    tokens = list(arch.decisions)
    place = data.draw(st.integers(0, len(tokens) - 1))
    old, tokens[place] = tokens[place], data.draw(st.sampled_from(MINI.decisions[place]))
    difference = score(Arch.of(MINI, tokens))["score"] - score(arch)["score"]
    assert difference == pytest.approx(table[place][tokens[place]] - table[place][old], abs=1e-12)


def test_cells_are_mean_absolute_scales_of_last_norms(supernet):
    table = gamma_table(supernet)
    for layer, (choices, row) in enumerate(zip(supernet.layers, table, strict=True)):
        assert tuple(row) == MINI.decisions[layer]
        for token, block in choices.items():
            if token == "id":
                assert row[token] == 0
                continue
            assert last_norm(block) is block.bn3
            own = block.bn3.weight.detach()
            assert row[token] == pytest.approx(float(own.abs().sum()) / len(own), rel=1e-6)


@pytest.mark.parametrize("skip", ["plain", "kaiming"])
def test_a_skip_scores_nothing_and_so_is_never_preferred(skip):
    table = gamma_table(with_random_scales(strategy_of("bn-nas", skip=skip).supernet))
    for row in table:
        assert row.get("id", 0.0) == 0.0
        assert all(cell > 0 for token, cell in row.items() if token != "id")


@given(factor=st.floats(0.01, 100), seed=st.integers(0, 20))
@settings(max_examples=10, deadline=None)
def test_one_scale_times_k_is_its_cell_times_k_and_signs_do_not_count(factor, seed):
    supernet = with_random_scales(strategy_of("bn-nas").supernet, seed)
    before = gamma_table(supernet)
    with torch.no_grad():
        supernet.layers[1]["e6k3"].bn3.weight.mul_(factor)
        for choices in supernet.layers:
            for block in choices.values():
                if last_norm(block) is not None:
                    signs = torch.randint(0, 2, last_norm(block).weight.shape) * 2 - 1
                    last_norm(block).weight.mul_(signs)
    after = gamma_table(supernet)
    changed = {(i, t) for i, row in enumerate(after) for t in row if abs(row[t] - before[i][t]) > 1e-6 * abs(row[t])}
    assert changed <= {(1, "e6k3")}
    assert after[1]["e6k3"] == pytest.approx(factor * before[1]["e6k3"], rel=1e-5)


def test_other_parameters_and_statistics_do_not_count(supernet):
    before = gamma_table(supernet)
    copy = create_strategy("bn-nas", MINI).supernet
    copy.load_state_dict({name: value if is_last(name) else value + 1
                          for name, value in supernet.state_dict().items()})  # fmt: skip
    assert gamma_table(copy) == before


def test_scoring_opens_no_data(supernet, tmp_path, monkeypatch):
    strategy = strategy_of("bn-nas")
    said = {"strategy": "bn-nas", "data": "nowhere"}
    save_supernet(strategy.supernet, tmp_path / "s.safetensors", said)
    assert habits_of(None, tmp_path / "s.safetensors") == ("score", "nsga2")
    opened = []
    monkeypatch.setattr(one_shot, "open_with_validation", lambda *told, **_: opened.append(told))
    bench = OneShot(tmp_path / "s.safetensors", ("nowhere", None, None))
    arch = Arch.of(MINI, (layer[0] for layer in MINI.decisions))
    assert BnNas.scorer(bench)(arch)["score"] == len(MINI.decisions)  # scales begin as 1
    assert opened == []


def test_pictures_of_other_classes_are_refused_when_they_are_asked_for(tmp_path, monkeypatch):
    strategy = strategy_of("bn-nas", replace(MINI, num_classes=7))
    save_supernet(strategy.supernet, tmp_path / "s.safetensors", {})
    data = datasets.ImageData("d", tuple("0123456789"), lambda *_: None)
    monkeypatch.setattr(one_shot, "open_with_validation", lambda *_, **__: data)
    bench = OneShot(tmp_path / "s.safetensors", ("d", None, None))
    with pytest.raises(TrainingError, match="for 7 classes, wanted 10 as in d"):
        bench.accuracy(Arch.of(strategy.space, (layer[0] for layer in MINI.decisions)))


def test_without_skips_every_architecture_is_as_deep_as_the_space():
    strategy = strategy_of("bn-nas", skips=False)
    assert [len(tokens) for tokens in strategy.space.decisions] == [4, 4, 4, 4]
    assert all(not arch.skipped for step in range(50) for arch in strategy.paths(step))
    assert any(arch.skipped for step in range(50) for arch in strategy_of("bn-nas").paths(step))


def test_branches_learn_and_score():
    space = MINI.with_branches()
    supernet = with_random_scales(strategy_of("bn-nas", space).supernet)
    score = BnNas.scorer(cast(OneShot, Bench(supernet)))
    tokens = [layer[0] for layer in MINI.decisions]
    edge = space.decisions[-1][1]
    off = ["off"] * (len(space.branches) - 1)
    weight = supernet.branches.get_submodule(edge).bn3.weight
    gained = (
        score(Arch.of(space, [*tokens, *off, edge]))["score"] - score(Arch.of(space, [*tokens, *off, "off"]))["score"]
    )
    assert gained == pytest.approx(float(weight.detach().abs().mean()), rel=1e-6)
    assert weight.requires_grad


def test_an_option_of_another_kind_is_refused():
    with pytest.raises(TrainingError, match="bn-nas: option train=most"):
        strategy_of("bn-nas", train="most")


def test_one_uniform_path_a_step():
    strategy = strategy_of("bn-nas")
    strategy.criterion = torch.nn.CrossEntropyLoss()
    batch = StepBatch(3, (torch.randn(4, 1, 28, 28),), torch.tensor([0, 1, 2, 3]))
    (term,) = strategy.terms(strategy.model, batch)
    assert term.arch == strategy_of("spos").paths(3)[0]


def test_sets_of_paths_are_refused():
    with pytest.raises(TrainingError, match=r"bn-nas: got small\+paths2, wanted a space without sets of paths"):
        strategy_of("bn-nas", MINI.with_path_sets())
