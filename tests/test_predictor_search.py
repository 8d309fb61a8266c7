"""The method predictor: its traits, its regression and its honest error, and the way from trainings to a front."""

import json
import math
import random
import time

import numpy as np
import pytest
import torch
from conftest import FASHION, ROOT, TINY
from process_parts import command_line
from strategy_parts import MINI, MINI_TOML
from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import TrainingError, UnknownNameError
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.nas.estimators.predictor import fit_predictor
from scarlet_zoo.nas.estimators.ridge import fit_ridge, held_out
from scarlet_zoo.nas.estimators.traits import trait_names, traits
from scarlet_zoo.nas.estimators.zero_cost import jacov, naswot, snip, zero_cost
from scarlet_zoo.nas.ranking.ground_truth import read_truth
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.objectives import Limit, closed_form
from scarlet_zoo.nas.search.short_training import spread_over_cost
from scarlet_zoo.utils.agreement import kendall_tau, partial_tau


def test_traits_are_what_the_identity_string_says():
    arch = Arch.parse("scarlet-mini:e6k5-e3k7se-id-e3k3-e6k7se-id-e3k3se-e3k5", get_space("scarlet-mini"))
    found, cost = traits(arch), arch_cost(arch)
    assert tuple(found) == trait_names(arch.space)
    assert found == {
        "log macs": math.log(cost.macs), "log params": math.log(cost.params), "skips": 2, "expansion 3": 4,
        "expansion 6": 2, "kernel 3": 2, "kernel 5": 2, "kernel 7": 2, "gates": 3,
    }  # fmt: skip


def test_every_block_of_a_set_counts_and_every_branch():
    space = MINI.with_path_sets().with_branches()
    edges = [options[0] for options in space.decisions[4:]]
    edges[0] = space.decisions[4][1]
    found = traits(Arch.of(space, ["e3k3+e6k5", "e3k3", "id", "e6k3", *edges]))
    assert [found[name] for name in ("skips", "expansion 3", "expansion 6", "kernel 5", "branches")] == [1, 2, 2, 1, 1]


def drawn_rows(count, seed=0):
    archs = [Arch.sample(TINY, random.Random(f"{seed} {i}")) for i in range(count)]
    return archs, [traits(arch) for arch in archs]


def test_a_regression_finds_a_line_and_ignores_what_never_varies():
    _, rows = drawn_rows(60)
    rows = [{**row, "constant": 7.0} for row in rows]
    values = [50 + 3 * row["log macs"] - 0.5 * row["skips"] for row in rows]
    ridge = fit_ridge(rows, values)
    _, fresh = drawn_rows(20, seed=1)
    for row in fresh:
        wanted = 50 + 3 * row["log macs"] - 0.5 * row["skips"]
        assert ridge({**row, "constant": -1e9}) == pytest.approx(wanted, abs=0.05)


def test_what_is_held_out_is_not_seen():
    _, rows = drawn_rows(12)
    values = np.random.default_rng(0).normal(size=12).tolist()
    predictions = held_out(rows, values)
    for i in (0, 7):
        changed = [*values[:i], 1e6, *values[i + 1 :]]
        assert held_out(rows, changed)[i] == predictions[i]
    # Noise cannot be predicted: no better than the mean of the others.
    error = np.sqrt(np.square(np.array(predictions) - values).mean())
    assert error > 0.8 * np.std(values)


def test_too_few_trainings_are_refused():
    _, rows = drawn_rows(3)
    with pytest.raises(TrainingError, match="got 3 rows and 3 values, wanted 4 or more"):
        fit_ridge(rows, [1.0, 2.0, 3.0])


def test_fifty_short_trainings_rank_beyond_multiply_adds():
    """The claim that the method stands on, on the committed ground truth: other seeds, other architectures."""
    truth = read_truth(ROOT / "benchmarks" / "ground_truth")
    rows, taus = [traits(arch) for arch in truth.archs], []
    for repeat in range(30):
        order, seed = random.Random(repeat).sample(range(len(rows)), len(rows)), repeat % 3
        known, new = order[:50], order[50:]
        ridge = fit_ridge([rows[i] for i in known], [truth.final[seed][i] for i in known])
        others = truth.final[[other for other in range(3) if other != seed]].mean(axis=0)[new]
        predicted, macs = [ridge(rows[i]) for i in new], [rows[i]["log macs"] for i in new]
        taus.append((kendall_tau(predicted, others), kendall_tau(macs, others), partial_tau(predicted, others, macs)))
    by_traits, by_macs, beyond = np.mean(taus, axis=0)
    assert by_traits > by_macs
    assert beyond > 0.25
    page = " ".join((ROOT / "docs" / "search.md").read_text().split())
    assert f"tau-b {by_traits:.2f}, where multiply-adds have {by_macs:.2f}" in page
    assert f"its partial tau-b is {beyond:.2f}" in page


def test_a_predictor_says_what_it_learned_and_how_well_it_predicts():
    _, rows = drawn_rows(40)
    noise = np.random.default_rng(0).normal(0, 0.1, 40)
    values = [row["log macs"] - 0.3 * row["gates"] + e for row, e in zip(rows, noise, strict=True)]
    found = fit_predictor(rows, values, "accuracy")
    assert found.error_interval[0] < found.error < found.error_interval[1] < 0.3
    assert found.tau_interval[0] < found.tau < found.tau_interval[1]
    assert found.tau > found.macs_tau
    effects = {one.feature: one for one in found.learned}
    assert effects["gates"].interval[1] < 0 < effects["log macs"].interval[0]
    assert abs(found.learned[0].effect) == max(abs(one.effect) for one in found.learned)
    assert found(rows[0]) == pytest.approx(values[0], abs=0.5)
    assert json.loads(json.dumps(found.to_dict()))["trained"] == 40


def test_zero_cost_scores_are_their_formulas():
    torch.manual_seed(0)
    images, labels = torch.randn(6, 1, 28, 28), torch.tensor([0, 1, 2, 3, 4, 5])
    model = create_model(Arch.sample(MINI, random.Random(0))).train()
    weights = [m.weight for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    nn.functional.cross_entropy(model(images), labels).backward()
    by_hand = math.log(sum(float((w.detach() * w.grad).abs().sum()) for w in weights))
    assert snip(model, images, labels) == pytest.approx(by_hand, rel=1e-4)
    # Equal images have equal signs, so that their kernel has no inverse; different ones do.
    assert naswot(model, images, labels) > 0
    assert naswot(model, images[:1].repeat(6, 1, 1, 1), labels) < naswot(model, images, labels)
    assert jacov(model, images, labels) > jacov(model, images[:1].repeat(6, 1, 1, 1) + 1e-4 * images, labels)
    arch = Arch.sample(MINI, random.Random(1))
    scores = zero_cost(arch, ("naswot", "jacov", "snip"), images, labels)
    assert scores == zero_cost(arch, ("naswot", "jacov", "snip"), images, labels)
    with pytest.raises(UnknownNameError, match="naswat"):
        zero_cost(arch, ("naswat",), images, labels)


def test_candidates_are_spread_over_cost_and_keep_the_limits():
    space = get_space("scarlet-mini")
    archs = spread_over_cost(Evaluation(space, ("macs",)), (Limit.parse("macs<=9M"),), 20, seed=3)
    macs = [closed_form(arch)["macs"] for arch in archs]
    assert len(set(map(str, archs))) == 20
    assert macs == sorted(macs)
    assert macs[-1] <= 9e6
    rng = random.Random(0)
    drawn = sorted(cost for cost in (closed_form(Arch.sample(space, rng))["macs"] for _ in range(2000)) if cost <= 9e6)
    for share in (0.25, 0.5, 0.75):
        assert macs[int(20 * share)] == pytest.approx(drawn[int(len(drawn) * share)], rel=0.06)
    assert archs == spread_over_cost(Evaluation(space, ("macs",)), (Limit.parse("macs<=9M"),), 20, seed=3)


def lines_of(file):
    return file.read_text().splitlines() if file.is_file() else []


@pytest.mark.slow
def test_a_killed_search_by_predictor_goes_on_and_confirms_what_it_found(tmp_path, scarlet):
    space, out = tmp_path / "small.toml", tmp_path / "found"
    space.write_text(MINI_TOML)
    command = ["search", "--method", "predictor", "--space", space, "--data", "fashion-mnist", "--data-dir", FASHION,
               "--validation", 200, "--training-pictures", 200, "--training-epochs", 1, "--candidates", 8,
               "--confirm", 2,
               "--zero-cost", "naswot", "--evaluations", 12, "--population", 6, "--out", out, "--json"]  # fmt: skip
    with command_line(*map(str, command)) as job:
        while job.running and len(lines_of(out / "trainings.jsonl")) < 4:
            time.sleep(0.02)
        job.kill()
    before = [line for line in (out / "trainings.jsonl").read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert 4 <= len(before) < 9
    code, printed, error = scarlet(*command)
    assert code == 0, error
    report = json.loads(printed)
    assert "short trainings is right on" in error
    assert "chance is 10.0 %" in error
    rows = (out / "trainings.jsonl").read_text().splitlines(keepends=True)
    assert rows[: len(before)] == before
    trained = {row["arch"]: row["values"] for row in map(json.loads, rows[1:])}
    confirmed = [row["arch"] for row in report["confirmed"]]
    assert len(trained) == len(rows) - 1 == 8 + len(set(confirmed) - set(list(trained)[:8]))
    assert not list((out / "trainings").iterdir())
    assert set(confirmed) <= {row["arch"] for row in report["front"]}
    for row in report["confirmed"]:
        assert row["loss"] == trained[row["arch"]]["loss"]
    predictor = json.loads((out / "predictor.json").read_text())
    assert report["predictor"] == predictor
    assert (predictor["metric"], predictor["trained"]) == ("loss", 8)
    assert "naswot" in predictor["ridge"]["names"]
    code, printed, _ = scarlet(*command[:-1])
    assert code == 0
    assert "what 8 short trainings say of loss, in nats for one standard deviation" in printed
    assert "trained to confirm them" in printed


@pytest.mark.slow
def test_a_supernets_loss_is_one_more_feature(tmp_path, scarlet):
    space, data = tmp_path / "small.toml", ("--data", "fashion-mnist", "--data-dir", FASHION, "--validation", 200)
    space.write_text(MINI_TOML)
    code, _, error = scarlet("supernet", "train", "--space", space, *data, "--pictures", 200, "--max-steps", 4,
                             "--batch-size", 16, "--out", tmp_path / "net", "--json")  # fmt: skip
    assert code == 0, error
    file = tmp_path / "net" / "supernet.safetensors"
    code, printed, error = scarlet(
        "search", "--method", "predictor", "--supernet", file, "--data-dir", FASHION,
        "--objectives", "accuracy,macs", "--training-pictures", 200, "--training-epochs", 1, "--candidates", 8,
        "--confirm", 0, "--bn-images", 100, "--evaluations", 6, "--population", 3, "--out", tmp_path / "o", "--json",
    )  # fmt: skip
    assert code == 0, error
    report = json.loads(printed)
    assert "one-shot loss" in report["predictor"]["ridge"]["names"]
    assert (report["predictor"]["metric"], report["confirmed"]) == ("accuracy", [])


@pytest.mark.parametrize(("words", "said"), [
    (("--space", "scarlet-mini"), "the method predictor trains networks, wanted --data"),
    (("--space", "scarlet-mini", "--data", "fashion-mnist", "--objectives", "macs,latency"),
     "wanted loss or accuracy among them"),
    (("--space", "scarlet-mini", "--data", "fashion-mnist", "--data-dir", FASHION, "--zero-cost", "luck"),
     "zero-cost score 'luck': unknown"),
])  # fmt: skip
def test_bad_input_of_the_predictor_is_one_line(words, said, scarlet, tmp_path):
    code, out, error = scarlet("search", "--method", "predictor", *words, "--out", tmp_path / "o")
    assert (code, out) == (2, "")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()
