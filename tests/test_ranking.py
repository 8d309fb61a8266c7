"""The verb rank: supernets trained and scored on a small ground truth, taken up again, judged."""

import json
from dataclasses import replace
from functools import partial

import pytest
from conftest import FASHION
from test_ranking_truth import PLAN, row_of

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import ArchError
from scarlet_zoo.nas.ranking.ground_truth import read_plan, read_truth, write_rows
from scarlet_zoo.nas.ranking.ranker import Ranker, Recipe, parse_recipe, read_ranker
from scarlet_zoo.nas.ranking.verdict import verdict
from scarlet_zoo.nas.strategies.registry import STRATEGIES


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Nothing here is about how wide an interval is."""
    monkeypatch.setattr("scarlet_zoo.nas.ranking.rank.verdict", partial(verdict, resamples=50))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("truth")
    (made / "plan.toml").write_text(PLAN.replace("architectures = 3", "architectures = 6"))
    plan = read_plan(made)
    noise = (0.0, 0.3, -0.2, 0.1, 0.2, -0.3)
    rows = [row_of(plan, number, top1=[10.0, 50.0 + 2 * (number % 6) + noise[number % 5]]) for number in range(12)]
    write_rows(made / "ground_truth.csv", rows, 2)
    return made


def ranker_of(truth, recipe, seed, scores, **fields):
    by_name = dict(zip(map(str, truth.archs), scores, strict=True))
    return Ranker(
        **{"recipe": recipe, "strategy": recipe, "seed": seed, "scores": by_name, "accuracies": by_name, "epochs": 1,
           "steps": 4, "images": 1000, "train_core_seconds": 2.0, "score_core_seconds": 1.0, "conditions": {}, **fields}
    )  # fmt: skip


def test_a_verdict_puts_the_better_ranker_first_and_chance_near_zero(folder):
    truth = read_truth(folder)
    good, bad = range(6), (0, 5, 1, 4, 2, 3)
    made = [ranker_of(truth, name, seed, map(float, scores)) for name, scores in (("bad", bad), ("good", good))
            for seed in range(2)]  # fmt: skip
    report = verdict(truth, made, resamples=50)
    rows = {row["recipe"]: row for row in report["rows"]}
    assert [row["recipe"] for row in report["rows"] if row["strategy"]] == ["good", "bad"]
    assert rows["good"]["tau"]["value"] == pytest.approx(1)
    assert rows["good"]["regret"]["value"] == 0
    assert report["rows"][0]["behind"] is None
    gap = rows["good"]["tau"]["value"] - rows["random"]["tau"]["value"]
    assert rows["random"]["behind"]["value"] == pytest.approx(gap)
    assert rows["macs"]["behind"]["value"] == pytest.approx(rows["good"]["tau"]["value"] - rows["macs"]["tau"]["value"])
    assert rows["macs"]["beyond_macs"]["value"] == 0, "nothing is known beyond itself"
    assert rows["bad"]["tau"]["value"] < 0.9
    assert set(rows) == {"good", "bad", "macs", "params", "random"}, "without latency there is no ranker by latency"
    assert rows["macs"]["seeds"] == 1
    assert 0 < report["ceiling"]["one_another"]["value"] <= 1
    assert report["spread"] > report["seed_noise"]


@pytest.mark.slow
def test_strategies_are_judged_and_a_second_call_makes_nothing_anew(folder, tmp_path, scarlet):
    out = tmp_path / "out"
    command = ["rank", "--truth", folder, "--out", out, "--seeds", 2, "--budget", 200, "--recipe", "scarlet",
               "--recipe", "scarlet:skip=plain", "--recipe", "mixpath", "--recipe", "bn-nas", "--data-dir",
               FASHION, "--bn-images", 50, "--validation-images", 50, "--json"]  # fmt: skip
    code, said, err = scarlet(*command)
    assert (code, err) == (0, "")
    report = json.loads(said)
    assert report == json.loads((out / "rank.json").read_text())
    assert {row["recipe"] for row in report["rows"] if row["strategy"]} == {
        "scarlet", "scarlet skip=plain", "mixpath", "bn-nas"}  # fmt: skip
    assert all(len(row["tau_each"]) == 2 for row in report["rows"] if row["strategy"])
    assert (out / "rank.svg").read_text().startswith("<?xml")
    files = sorted(out.rglob("ranker.json"))
    assert len(files) == 8
    own = read_ranker(files[0])
    lines = [json.loads(line) for line in (files[0].parent / "steps.jsonl").read_text().splitlines()]
    assert own.images == sum(line["images"] * len(line["archs"]) for line in lines)
    assert own.steps == len(lines)
    times = {file: file.stat().st_mtime_ns for file in files}
    # One is lost as a kill would leave it: trained, half scored, without its record.
    files[1].unlink()
    journal = files[1].parent / "evaluations.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:3]))
    assert scarlet(*command)[0] == 0
    assert json.loads((out / "rank.json").read_text())["rows"][0]["recipe"] == report["rows"][0]["recipe"]
    assert [file for file in files if file.stat().st_mtime_ns != times[file]] == [files[1]]
    assert len(journal.read_text().splitlines()) == 1 + 6


@pytest.mark.slow
def test_a_path_by_path_budget_gives_costly_strategies_fewer_steps(folder, tmp_path, scarlet):
    out = tmp_path / "out"
    command = ["rank", "--truth", folder, "--out", out, "--seeds", 1, "--budget", 2000, "--recipe", "spos",
               "--recipe", "sandwich", "--data-dir", FASHION, "--bn-images", 50, "--validation-images", 50,
               "--architectures", 2]  # fmt: skip
    assert scarlet(*command)[0] == 0
    spos, sandwich = (read_ranker(out / name / "0" / "ranker.json") for name in ("spos", "sandwich"))
    assert spos.steps > sandwich.steps
    assert sandwich.images == pytest.approx(spos.images, rel=0.25)
    assert len(spos.scores) == 2


@pytest.mark.slow
def test_other_conditions_are_not_mixed_with_what_is_there(folder, tmp_path, scarlet):
    command = ["rank", "--truth", folder, "--out", tmp_path / "out", "--seeds", 1, "--budget", 200, "--recipe",
               "spos", "--data-dir", FASHION, "--bn-images", 50, "--validation-images", 50]  # fmt: skip
    assert scarlet(*command)[0] == 0
    code, _, err = scarlet(*command, "--lr", 0.2)
    assert code == 2
    assert "a ranker of other conditions" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "spot"], "strategy 'spot': unknown, wanted one of spos"),
        (["--recipe", "sandwich:children"], "got 'children', wanted KEY=VALUE"),
        (["--recipe", "spos:colour=1"], "option colour=1, wanted no option"),
        (["--recipe", "spos", "--recipe", "spos"], "each once"),
        (["--architectures", "7"], "got 7 architectures, wanted 2 to 6"),
    ],
)
def test_what_cannot_be_judged_is_refused(folder, tmp_path, scarlet, arguments, message):
    code, _, err = scarlet("rank", "--truth", folder, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in err


def test_recipes_are_read_and_named():
    recipe = parse_recipe("sandwich:skip=plain:children=3", budget=10)
    assert recipe == Recipe(strategy="sandwich", skip="plain", options={"children": "3"}, budget=10)
    assert recipe.name == "sandwich skip=plain children=3"


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_architecture_of_the_truth_is_one_of_every_strategys_space(folder, name):
    plan = read_plan(folder)
    kind = STRATEGIES[name]
    space = kind.extended(plan.search_space, kind.Options())
    for arch in plan.archs:
        assert arch.embed_in(space).tokens == arch.tokens
        assert not arch.embed_in(space).branches
    assert space.chain == plan.search_space
    with pytest.raises(ArchError, match=r"got other:.*, wanted an architecture of 'few'"):
        Arch.of(replace(plan.search_space, name="other"), plan.archs[0].tokens).embed_in(space)
