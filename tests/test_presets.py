"""What a search optimises when it is not told, the baselines beside its front, and the recipes of papers."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from strategy_parts import MINI, settings

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.cli.search import _print_front, _remark_on_noise
from scarlet_zoo.nas.presets import PRESETS
from scarlet_zoo.nas.search.baselines import baselines
from scarlet_zoo.nas.search.objectives import Objective
from scarlet_zoo.nas.search.scoring import habits_of
from scarlet_zoo.nas.search.search import default_settings
from scarlet_zoo.nas.search.settings import Candidate, SearchResult, metrics_of
from scarlet_zoo.nas.search.writing import _judged_on
from scarlet_zoo.nas.strategies.registry import STRATEGIES
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.utils.figures import short_count

FEW = ("--validation-images", 200, "--bn-images", 100)


def goals(text):
    return tuple(map(Objective.parse, text.split(",")))


def candidate(tokens, **values):
    return Candidate(Arch.parse(f"small:{tokens}", MINI), values)


@pytest.fixture(scope="module")
def supernet(tmp_path_factory):
    out = tmp_path_factory.mktemp("supernet")
    return train_supernet(MINI, data=DataPlan(name="fashion-mnist", images=500), out=out, settings=settings()).path


def test_a_search_is_for_loss_and_latency_and_without_a_supernet_for_size():
    assert {habits_of(name, None)[0] for name in STRATEGIES} == {"loss", "score"}
    assert [name for name in STRATEGIES if habits_of(name, None)[0] == "score"] == ["bn-nas", "parsec"]
    assert [str(goal) for goal in default_settings(None, None).goals] == ["macs:max*1", "latency:min*1"]


def test_accuracy_is_told_beside_a_loss_that_is_measured_on_the_same_images():
    assert metrics_of(goals("loss,latency"), ()) == ("loss", "latency", "accuracy", "macs", "params")
    assert metrics_of(goals("accuracy,latency"), ()) == ("accuracy", "latency", "macs", "params")


def test_a_baseline_is_the_front_with_size_in_the_place_of_the_score():
    rows = [
        candidate("e3k3-e3k3-id-id", loss=2.0, latency=1.0, macs=10.0, params=5.0),
        candidate("e3k5-e3k3-id-id", loss=1.0, latency=1.0, macs=9.0, params=6.0),
        candidate("e6k3-e3k3-id-id", loss=1.5, latency=2.0, macs=30.0, params=4.0),
        candidate("e6k5-e3k3-id-id", loss=0.5, latency=3.0, macs=20.0, params=8.0),
    ]
    by_macs, by_params = baselines(rows, goals("loss*0.4,latency*0.6"))
    assert by_macs["objectives"] == ["macs:max", "latency"]
    assert [row["values"]["macs"] for row in by_macs["front"]] == [30.0, 10.0]
    assert by_params["objectives"] == ["params:max", "latency"]
    assert [row["values"]["params"] for row in by_params["front"]] == [8.0, 6.0]
    assert by_params["front"][0] == {"arch": str(rows[3].arch), "values": rows[3].values}


def test_an_objective_is_no_baseline_of_itself_and_size_alone_needs_none():
    row = candidate("e3k3-e3k3-id-id", accuracy=50.0, macs=10.0, params=5.0)
    assert [found["objectives"] for found in baselines([row], goals("accuracy,macs"))] == [["params:max", "macs"]]
    assert baselines([row], goals("accuracy,macs,params:max")) == []
    assert baselines([row], goals("macs:max,params")) == []


def told(front, by_size, *, objectives=("loss:min*1", "latency:min*1"), **more):
    """What a person reads of a search that found architectures, and what size would have chosen."""

    def rows(names):
        return [{"arch": name, "values": {"loss": 1.25, "latency": 0.04, "macs": 1128288.0, "params": 84052.0}}
                for name in names]  # fmt: skip

    report = {"objectives": list(objectives), "evaluations": 9, "front": rows(front), "conditions": {}, **more,
              "baselines": [{"objectives": ["macs:max", "latency"], "front": rows(by_size)}]}  # fmt: skip
    written = io.StringIO()
    console = Console(file=written, width=80, soft_wrap=True, markup=False)
    _print_front(console, report, Path("a folder with a rather long name, so that the line is longer") / "out")
    return written.getvalue()


def test_a_front_is_told_with_units_a_verdict_on_size_and_the_command_that_comes_next():
    out = told(["e3k3-id", "e6k5-id"], ["e3k3-id"])
    lines = out.splitlines()
    assert lines[1].split() == ["architecture", "loss", "latency", "ms", "macs", "params"]
    assert lines[2].split() == ["e3k3-id", "1.25", "0.04", "1.13", "M", "84.1", "k"]
    assert "size alone (macs) would not have chosen 1 of the 2 on the front" in out
    front = "'a folder with a rather long name, so that the line is longer/out/front.json'"
    assert lines[-1] == f"next: scarlet-zoo derive {front} --choose best:loss --out DIR"
    same = " ".join(told(["e3k3-id"], ["e3k3-id", "e6k5-id"], objectives=("macs:max*1",)).split())
    assert "size alone (macs) would have chosen the whole front too, so here it is as good as the search" in same
    assert same.endswith("--choose 0 --out DIR")  # best:macs is the least


def test_accuracies_of_few_images_are_told_how_far_apart_they_are_by_chance(capsys):
    def note(images, accuracy, **conditions):
        row = candidate("e3k3-e3k3-id-id", accuracy=accuracy)
        result = SearchResult((row,), (row,), (row,))
        _remark_on_noise({**_judged_on(images, result), "conditions": conditions})
        return capsys.readouterr().err

    told = note(20, 45.0)
    assert told.startswith("note: judged on 20 validation images: differences below about 20 points of accuracy are")
    assert "search --validation-data FOLDER" in told
    assert "more --validation-images" in note(100, 100.0, validation=100)  # all right is not exact
    assert "about 3 points" in note(1_000, 70.0)
    assert note(10_000, 70.0) == note(None, 70.0) == ""


def test_counts_have_three_digits():
    counts = (0, 512, 999, 999.7, 84_052, 99_950, 999_600, 1_128_288, 13e6, 365e6, 1.3e9)
    assert [short_count(count) for count in counts] == [
        "0", "512", "999", "1.00 k", "84.1 k", "100 k", "1.00 M", "1.13 M", "13.0 M", "365 M", "1.30 G",
    ]  # fmt: skip


@pytest.mark.slow
def test_every_search_of_a_supernet_reports_what_size_would_have_chosen(supernet, scarlet, tmp_path):
    code, out, error = scarlet("search", "--supernet", supernet, "--evaluations", 12, "--population", 6,
                               *FEW, "--out", tmp_path / "a", "--json")  # fmt: skip
    assert code == 0, error
    report = json.loads(out)
    assert report["objectives"] == ["loss:min*1", "latency:min*1"]
    assert [found["objectives"] for found in report["baselines"]] == [
        ["macs:max", "latency"],
        ["params:max", "latency"],
    ]
    lines = (tmp_path / "a" / "evaluations.jsonl").read_text().splitlines()[1:]
    evaluated = {row["arch"]: row["values"] for row in map(json.loads, lines)}
    for found in report["baselines"]:
        name = found["objectives"][0].removesuffix(":max")
        best = max(values[name] for values in evaluated.values())
        assert found["front"][0]["values"][name] == best
        assert all(evaluated[row["arch"]] == row["values"] for row in found["front"])
    code, out, _ = scarlet("search", "--supernet", supernet, "--evaluations", 12, "--population", 6,
                           *FEW, "--out", tmp_path / "a")  # fmt: skip
    assert "without a supernet, macs:max,latency would choose of these" in out


@pytest.mark.slow
def test_a_preset_sets_what_is_known_of_a_recipe_and_not_given(supernet, scarlet, tmp_path):
    code, out, error = scarlet("search", "--supernet", supernet, "--preset", "scarlet", "--evaluations", 4,
                               *FEW, "--out", tmp_path / "a", "--json")  # fmt: skip
    assert code == 0, error
    assert json.loads(out)["objectives"] == ["accuracy:max*0.4", "macs:min*0.4", "params:max*0.2"]
    assert "preset scarlet (SCARLET-NAS, arXiv 1908.06022), recalled from the paper" in error
    command = ("supernet", "train", "--space", "scarlet-mini", "--data", "fashion-mnist", "--pictures", 600,
               "--preset", "scarlet", "--lr", 0.02, "--max-steps", 1, "--out", tmp_path, "--json")  # fmt: skip
    code, out, error = scarlet(*command)
    assert code == 0, error
    report = json.loads(out)
    told = report["settings"]
    assert (report["strategy"], report["skip"], told["batch_size"]) == ("scarlet", "identity", 256)
    assert (told["lr"], told["weight_decay"], told["momentum"]) == (0.02, 4e-5, 0.9)


@pytest.mark.parametrize("verb", [("search", "--space", "scarlet-mini"), ("supernet", "train", "--data", "x")])
def test_an_unknown_preset_is_one_line(verb, scarlet, tmp_path):
    code, out, error = scarlet(*verb, "--preset", "scarlit", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert error.startswith("error: preset 'scarlit': unknown, wanted one of scarlet")
    assert error.count("\n") == 1


def test_presets_name_options_that_their_verbs_have(scarlet):
    for verb, part in ((("search",), "search"), (("supernet", "train"), "supernet")):
        _, shown, _ = scarlet(*verb, "--help")
        for preset in PRESETS.values():
            assert all(f"--{name.replace('_', '-')} " in shown for name in getattr(preset, part)), preset.name
