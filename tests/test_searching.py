"""Search: what it finds, that it never evaluates twice, and that nothing interrupts it."""

import contextlib
import io
import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import strategy_parts
import torch
from conftest import CHOICES, FASHION, TINY, fashion
from hypothesis import given, settings
from hypothesis import strategies as st
from process_parts import command_line
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

from scarlet_zoo.arch import cost
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.spaces import chain_layers, get_space
from scarlet_zoo.cli import main
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.data.folders import evenly
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.inference.accuracy import judge
from scarlet_zoo.models.supernet import Supernet, load_supernet, save_supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.search.encoding import Encoding
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.explore import explore
from scarlet_zoo.nas.search.front import choose_from, read_front
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.nas.search.mutation_policy import GUIDED, PRIOR, RANDOM, MutationPolicy
from scarlet_zoo.nas.search.objectives import Limit, Objective, closed_form, non_dominated
from scarlet_zoo.nas.search.operators import weighted_crowding
from scarlet_zoo.nas.search.reach import Reach
from scarlet_zoo.nas.search.settings import SearchSettings, metrics_of

MINI = get_space("scarlet-mini-7")
# What a second trains, scores and exports: few layers and small maps.
SMALL = replace(strategy_parts.MINI, choices=CHOICES, layers=chain_layers(((8, 2, 2), (16, 2, 2)), CHOICES, in_chs=8))
GOALS = (Objective.parse("params:max*0.4"), Objective.parse("macs*0.6"))
COSTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20)


def cheap(objectives=GOALS, space=MINI):
    return Evaluation(space, metrics_of(objectives, ()))


def how(**kwargs):
    return SearchSettings(**{"objectives": GOALS, "evaluations": 60, "population": 12, **kwargs})


@pytest.fixture(scope="module")
def supernet_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("supernet") / "supernet.safetensors"
    labels = json.dumps(list(fashion(SMALL).classes))
    save_supernet(Supernet(SMALL), path, {"data": "fashion-mnist", "validation": "5000", "labels": labels})
    return path


def scored(path):
    return Evaluation(SMALL, ("accuracy", "macs"), path, ("fashion-mnist", FASHION, 5000), 100, 100)


@pytest.mark.parametrize("method", ["nsga2", "random"])
def test_the_same_seed_finds_the_same_front_and_nothing_twice(method, tmp_path):
    found = [explore(cheap(), how(method=method), tmp_path / f"{run}.jsonl") for run in range(2)]
    assert found[0] == found[1]
    archs = [str(candidate.arch) for candidate in found[0].evaluated]
    assert len(archs) == len(set(archs)) == 60
    other = explore(cheap(), how(method=method, seed=1), tmp_path / "other.jsonl")
    assert other.evaluated != found[0].evaluated


def test_the_front_is_what_no_other_beats(tmp_path):
    result = explore(cheap(), how(), tmp_path / "j.jsonl")
    front = [candidate.values for candidate in result.front]
    for one in front:
        for other in (candidate.values for candidate in result.evaluated):
            better = other["params"] >= one["params"] and other["macs"] <= one["macs"]
            assert not better or (other["params"], other["macs"]) == (one["params"], one["macs"])
    kept = {str(candidate.arch) for candidate in result.front}
    for candidate in result.evaluated:
        if str(candidate.arch) not in kept:
            assert any(
                v["params"] >= candidate.values["params"] and v["macs"] <= candidate.values["macs"] for v in front
            )


def test_nsga2_beats_random_where_the_truth_is_known(tmp_path):
    """On the closed-form objectives it must: otherwise its operators do nothing."""

    def volume(result):
        # Area that the front leaves under it, from the largest MACs and no parameters.
        points = sorted((c.values["macs"] / 1e7, c.values["params"] / 1e5) for c in result.front)
        edges = [*(x for x, _ in points), 1.5]
        return sum((right - left) * y for (left, y), right in zip(points, edges[1:], strict=False))

    runs = {
        method: [volume(explore(cheap(), how(method=method, seed=seed, evaluations=300), tmp_path / f"{method}{seed}"))
                 for seed in range(3)]
        for method in ("nsga2", "random")
    }  # fmt: skip
    assert min(runs["nsga2"]) > max(runs["random"])


def test_hard_limits_hold_for_every_architecture(tmp_path):
    limit = Limit.parse("macs<=5e6")
    for method in ("nsga2", "random"):
        result = explore(cheap(), how(method=method, limits=(limit,)), tmp_path / method)
        assert all(candidate.values["macs"] <= 5e6 for candidate in result.evaluated)
    with pytest.raises(TrainingError, match=r"satisfies macs<=1,000, the least possible macs is 2,199,720 \(scarlet"):
        explore(cheap(), how(limits=(Limit.parse("macs<=1e3"),), max_tries=5), tmp_path / "none")
    # A limit that is known only after the evaluation keeps an architecture off the front.
    latency = Limit.parse("params>=1e5")
    result = explore(cheap(), how(limits=(latency,)), tmp_path / "params")
    assert all(candidate.values["params"] >= 1e5 for candidate in result.front)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nsga2", "random", "nao"])
def test_limits_and_costs_are_looked_up_and_not_counted_layer_by_layer(method, tmp_path, monkeypatch):
    space = replace(MINI, name=f"counted-{method}")  # whose table nobody has made yet
    counted = []
    monkeypatch.setattr(cost, "arch_cost", lambda arch: counted.append(arch) or arch_cost(arch))
    limits = (Limit.parse("macs<=5e6"), Limit.parse("params<=1e5"))
    settings = how(method=method, limits=limits, evaluations=24, population=6)
    result = explore(cheap(space=space), settings, tmp_path / "j.jsonl")
    # One network, from which the costs of all others are told without another.
    assert len(counted) == 1
    for candidate in result.evaluated:
        truth = arch_cost(candidate.arch)
        assert candidate.values == {"params": truth.params, "macs": truth.macs}
        assert Reach(space, settings.bounds).accepts(candidate.arch)


def test_evaluations_come_from_the_journal_and_a_cut_line_is_dropped(tmp_path, monkeypatch):
    journal = tmp_path / "j.jsonl"
    whole = explore(cheap(), how(), journal)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:31]) + lines[31][:20])
    asked = []
    monkeypatch.setattr(Evaluation, "__call__", lambda self, arch: asked.append(arch) or closed_form(arch))
    again = explore(cheap(), how(), journal)
    assert [str(c.arch) for c in again.evaluated] == [str(c.arch) for c in whole.evaluated]
    assert len(asked) == 30
    assert journal.read_text().count("\n") == 61


def test_a_journal_of_other_conditions_is_refused(tmp_path):
    with contextlib.closing(Journal(tmp_path / "j.jsonl", {"metrics": ["macs"], "threads": 1})) as journal:
        journal.add(Arch.of(TINY, ["e3k3"] * 8), {"macs": 1.0}, 0.0)
    with pytest.raises(TrainingError, match="threads 1, not 2"):
        Journal(tmp_path / "j.jsonl", {"metrics": ["macs"], "threads": 2})
    (tmp_path / "words").write_text("words\n")
    with pytest.raises(TrainingError, match="not the journal of a search"):
        Journal(tmp_path / "words", {})


def test_a_search_that_evaluated_nothing_leaves_its_folder_to_another_one(tmp_path):
    """One that was refused at its first evaluation, say, with the latency of its own reference."""
    first = Journal(tmp_path / "j.jsonl", {"threads": 1})
    first.close()
    first.reference.write_text("{}")
    second = Journal(tmp_path / "j.jsonl", {"threads": 2})
    second.close()
    assert json.loads((tmp_path / "j.jsonl").read_text()) == {"schema_version": 1, "conditions": {"threads": 2}}
    assert not second.reference.exists()


@given(rows=COSTS)
@settings(max_examples=60, deadline=None)
def test_equal_weights_give_the_plain_crowding_distance(rows):
    costs = np.unique(np.array(rows, dtype=float) + np.arange(len(rows))[:, None] * 1e-3, axis=0)
    ours = weighted_crowding(costs, np.ones(3))
    np.testing.assert_allclose(ours, calc_crowding_distance(costs))
    if len(costs) > 2:
        heavier = weighted_crowding(costs, np.array([8.0, 1.0, 1.0]))
        assert np.isinf(heavier).sum() == np.isinf(ours).sum()


def test_a_weight_moves_the_crowding_distance_towards_its_objective():
    costs = np.array([[0, 4], [1, 3], [3, 2.9], [3.1, 1], [4, 0]], dtype=float)
    first, second = (weighted_crowding(costs, np.array(w, dtype=float)) for w in ([1, 0.001], [0.001, 1]))
    assert first[2] == pytest.approx((3.1 - 1) / 4, rel=2e-3)
    assert second[2] == pytest.approx((3 - 1) / 4, rel=2e-3)


@given(rows=COSTS)
@settings(max_examples=60, deadline=None)
def test_a_dominated_row_changes_no_front(rows):
    values = [{"macs": a, "params": b, "latency": c} for a, b, c in rows]
    goals = [Objective.parse(name) for name in ("macs", "params", "latency")]
    front = non_dominated(values, goals)
    worse = {name: max(row[name] for row in values) + 1 for name in values[0]}
    assert non_dominated([*values, worse], goals) == front
    assert front


def test_the_mutation_policy_learns_what_scores():
    sizes = Encoding(TINY).sizes
    policy = MutationPolicy(sizes)
    generator = np.random.default_rng(0)
    for _ in range(30):
        genes = np.stack([generator.integers(sizes) for _ in range(20)])
        rewards = (genes[:, 0] == 1).astype(float)
        policy.learn(genes, rewards, genes[rewards > 0])
    assert policy.shares(GUIDED, 0).argmax() == 1
    assert policy.shares(GUIDED, 0)[1] > 0.9
    assert policy.shares(PRIOR, 0).argmax() == 1
    assert len(set(policy.shares(RANDOM, 0))) == 1
    assert policy.shares(GUIDED, 1).max() < 0.9


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_encoding_is_lossless(seed):
    arch = Arch.sample(MINI, random.Random(seed))
    assert Encoding(MINI).arch(Encoding(MINI).encode(arch)) == arch


@pytest.mark.slow
def test_one_shot_accuracy_is_that_of_the_calibrated_subnet(supernet_file):
    evaluation = scored(supernet_file)
    arch = Arch.sample(SMALL, random.Random(0))
    once = evaluation(arch)
    assert evaluation(Arch.sample(SMALL, random.Random(1)))["accuracy"] >= 0
    assert evaluation(arch) == once == scored(supernet_file)(arch)
    scorer = OneShot(supernet_file, evaluation.data, 100, 100)
    before = {key: value.clone() for key, value in scorer.supernet.state_dict().items()}
    assert scorer.accuracy(arch) == once["accuracy"]
    # The loss is the mean over the images, however they are batched.
    model, split = scorer.network(arch), scorer.validation
    images, targets = split.__getitems__(Batch(evenly(len(split), 100), 0))
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(images), targets)
    assert judge(model, split, batch=30, limit=100).loss == pytest.approx(float(expected), rel=1e-5)
    both = replace(evaluation, metrics=("loss", "accuracy"))(arch)
    assert both == {"loss": scorer.scores(arch)["loss"], "accuracy": once["accuracy"]}
    apart = replace(evaluation, metrics=("loss",), strategy="bn-nas", _loaded={})
    assert apart(arch) == {"loss": both["loss"]}
    assert all(torch.equal(value, before[key]) for key, value in scorer.supernet.state_dict().items())


@pytest.mark.slow
def test_two_ray_workers_find_what_one_process_finds(supernet_file, tmp_path):
    goals = (Objective.parse("accuracy"), Objective.parse("macs"))
    local = explore(scored(supernet_file), how(objectives=goals, evaluations=6, population=3), tmp_path / "local")
    on_ray = how(objectives=goals, evaluations=6, population=3, engine="ray", workers=2)
    try:
        assert explore(scored(supernet_file), on_ray, tmp_path / "ray") == local
    finally:
        import ray

        ray.shutdown()


@pytest.fixture(scope="module")
def searched(supernet_file, tmp_path_factory):
    """A search by the command line for accuracy and measured latency, killed once."""
    out = tmp_path_factory.mktemp("search")
    command = ["search", "--supernet", str(supernet_file), "--out", str(out), "--objectives", "accuracy,latency",
               "--evaluations", "8", "--population", "4", "--data-dir", str(FASHION), "--validation-images", "100",
               "--bn-images", "100", "--json"]  # fmt: skip
    journal = out / "evaluations.jsonl"
    with command_line(*command) as job:
        while job.running and (not journal.exists() or journal.read_text().count("\n") < 4):
            time.sleep(0.02)
        job.kill()
    before = journal.read_text()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main.run(command) == 0
    assert journal.read_text().startswith(before[: before.rindex("\n") + 1])
    return out, json.loads(printed.getvalue())


@pytest.mark.slow
def test_a_killed_search_goes_on_and_leaves_front_and_plots(searched):
    out, report = searched
    assert report == json.loads((out / "front.json").read_text())
    assert (report["evaluations"], report["method"]) == (8, "nsga2")
    lines = (out / "evaluations.jsonl").read_text().splitlines()
    archs = [json.loads(line)["arch"] for line in lines[1:]]
    assert len(archs) == len(set(archs)) == 8
    assert (out / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (out / "front.svg").read_text()
    for row in report["front"]:
        assert 0 < row["values"]["latency"] < 1000
        assert set(row["values"]) == {"accuracy", "latency", "macs", "params"}


@pytest.mark.slow
def test_derived_networks_keep_their_supernet_accuracy_through_fold_and_export(
    searched, supernet_file, scarlet, tmp_path
):
    front, _ = searched
    code, out, _ = scarlet("derive", front / "front.json", "--out", tmp_path, "--choose", "0",
                           "--supernet", supernet_file, "--data-dir", FASHION, "--json")  # fmt: skip
    assert code == 0
    (row,) = json.loads(out)
    assert row == json.loads((tmp_path / "archs.json").read_text())[0]
    code, out, _ = scarlet("export", row["arch"], "--weights", row["path"], "--out", tmp_path, "--json")
    assert code == 0
    file = json.loads(out)["path"]
    code, out, _ = scarlet("validate", file, "fashion-mnist", "--data-dir", FASHION, "--max-images", 1000, "--json")
    assert code == 0
    evaluation = Evaluation(SMALL, ("accuracy",), supernet_file, ("fashion-mnist", FASHION, 5000), 2000, 1000)
    supernet, _ = load_supernet(supernet_file)
    assert evaluation(Arch.parse(row["arch"], supernet.space))["accuracy"] == json.loads(out)["top1"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mixpath", "st-nas"])
def test_the_chain_that_a_strategy_has_extended_is_searched_and_derived(strategy, scarlet, tmp_path):
    chain = tmp_path / "small.toml"
    chain.write_text(strategy_parts.MINI_TOML)
    data = ("--data-dir", FASHION, "--json")
    train = ("supernet", "train", "--space", chain, "--data", "fashion-mnist", "--strategy", strategy, "--epochs", 1,
             "--max-steps", 8, "--batch-size", 16, "--out", tmp_path / "net")  # fmt: skip
    assert scarlet(*train, *data)[0] == 0
    file = tmp_path / "net" / "supernet.safetensors"
    assert load_supernet(file)[0].space.name.startswith("small+")
    search = ("search", "--supernet", file, "--evaluations", 6, "--population", 3, "--validation-images", 500,
              "--bn-images", 100, "--objectives", "accuracy,macs", "--out")  # fmt: skip
    code, out, err = scarlet(*search, tmp_path / "found", "--space", chain, *data)
    assert code == 0, err
    assert all(row["arch"].startswith("small:") for row in json.loads(out)["front"])
    code, out, _ = scarlet("derive", tmp_path / "found" / "front.json", "--choose", "best:accuracy", "--supernet", file,
                           "--out", tmp_path / "own", *data)  # fmt: skip
    assert code == 0
    (row,) = json.loads(out)
    code, out, _ = scarlet("export", row["arch"], "--weights", row["path"], "--out", tmp_path, "--json")
    assert code == 0
    code, out, _ = scarlet("validate", json.loads(out)["path"], "fashion-mnist", "--max-images", 500, *data)
    assert code == 0
    bench = OneShot(file, ("fashion-mnist", FASHION, 5000), validation=500)
    arch = Arch.parse(row["arch"], read_front(tmp_path / "found" / "front.json")[0].arch.space)
    assert bench.accuracy(arch) == json.loads(out)["top1"]
    code, _, err = scarlet(*search, tmp_path / "no", "--space", "scarlet-mini", *data)
    assert code == 2
    assert "wanted one of 'scarlet-mini'" in err


@pytest.mark.slow
def test_choosing_from_a_front(searched, tmp_path):
    rows = read_front(searched[0] / "front.json")
    assert choose_from(rows, "0") == [rows[0]]
    assert choose_from(rows, "best:latency")[0].values["latency"] == min(r.values["latency"] for r in rows)
    assert choose_from(rows, "spread:1") == [rows[0]]
    assert len(choose_from(rows, "spread:99")) == len(rows)
    for bad in ("best:beauty", "spread:0", "99", "x", "best:"):
        with pytest.raises(TrainingError, match="wanted positions"):
            choose_from(rows, bad)
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(TrainingError, match="not the front of a search"):
        read_front(tmp_path / "no.json")


BAD = {
    "nothing to search": (("search", "--out", "{tmp}/o"), "neither --supernet nor --space"),
    "accuracy without a supernet": (
        ("search", "--space", "scarlet-mini", "--objectives", "accuracy,macs", "--out", "{tmp}/o"),
        "wanted --supernet FILE",
    ),
    "an unknown objective": (
        ("search", "--space", "scarlet-mini", "--objectives", "beauty", "--out", "{tmp}/o"),
        "beauty",
    ),
    "an objective twice": (
        ("search", "--space", "scarlet-mini", "--objectives", "macs,macs", "--out", "{tmp}/o"),
        "macs macs",
    ),
    "a limit that is none": (
        ("search", "--space", "scarlet-mini", "--objectives", "macs", "--limit", "macs<5", "--out", "{tmp}/o"),
        "limit 'macs<5': wanted one of macs<=5M (or 5e6, multiply-adds)",
    ),
    "an unknown method": (
        ("search", "--space", "scarlet-mini", "--objectives", "macs", "--method", "luck", "--out", "{tmp}/o"),
        "luck",
    ),
    "no supernet there": (("search", "--supernet", "{tmp}/no.safetensors", "--out", "{tmp}/o"), "not a supernet"),
    "no front there": (("derive", "{tmp}/no.json", "--out", "{tmp}/o"), "no.json"),
    "an unknown space": (
        ("supernet", "train", "--space", "scarlt", "--data", "fashion-mnist", "--out", "{tmp}/o"),
        "scarlet",
    ),
    "an unknown strategy": (
        ("supernet", "train", "--data", "fashion-mnist", "--strategy", "unfair", "--out", "{tmp}/o"),
        "fair",
    ),
    "no data": (("supernet", "train", "--data", "{tmp}/none", "--out", "{tmp}/o"), "{tmp}/none"),
    "no architecture of the supernet": (
        ("train", "resnet18", "--data", "fashion-mnist", "--supernet", "{tmp}/no.safetensors", "--out", "{tmp}/o"),
        "no.safetensors",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line(what, scarlet, tmp_path):
    arguments, names = BAD[what]
    code, out, err = scarlet(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert names.format(tmp=tmp_path) in err


@pytest.mark.parametrize("text", ["macs:up", "accuracy*0", "", "macs*", "macs*.", "macs*1.2.3", "lat ency"])
def test_objectives_that_are_none(text):
    with pytest.raises(TrainingError, match="objective"):
        Objective.parse(text)


def test_objectives_and_limits_read_and_write():
    for text in ("accuracy:max*1", "params:min*0.25", "latency:min*2"):
        assert str(Objective.parse(text)) == text
    assert str(Limit.parse("macs <= 5e6")) == "macs<=5e+06"
    assert Limit.parse("params>=3").excess({"params": 2}) > 0
    arch = Arch.sample(MINI, random.Random(0))
    assert Reach(MINI, (Limit.parse("latency<=0.001"),)).accepts(arch)
