"""Limits of a search: their units, the least that is possible, and populations that keep narrow ones."""

import itertools
import random
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.measurement.lut.keys import HEAD, STEM, decision_key
from scarlet_zoo.measurement.lut.table import Calibration, Errors, HeldOut, LatencyTable, Stamp
from scarlet_zoo.nas.search import explore as explore_module
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.nas.search.explore import explore
from scarlet_zoo.nas.search.objectives import LIMITS, METRICS, OBJECTIVES, Limit, closed_form, shown
from scarlet_zoo.nas.search.reach import Reach
from scarlet_zoo.nas.search.settings import SearchSettings, metrics_of

FEW = {"name": "few", "stages": [[8, 2, 2], [12, 1, 2]], "kernel_sizes": [3, 5], "input_size": 16, "head_width": 16,
       "squeeze_excite": False}  # fmt: skip
SPACES = [space_of({**FEW, **more}) for more in ({}, {"branches": True}, {"paths": 2})]
MINI = get_space("scarlet-mini-7")


def invented(space):
    """A latency table with blocks of random duration."""
    rng = random.Random(0)
    keys = {decision_key(space, place, token) for place, row in enumerate(space.decisions) for token in row}
    blocks = {key: rng.uniform(0.1, 1) for key in sorted(keys - {None})}
    errors = Errors(mean=0.1, p95=0.1, largest=0.1, spearman=1.0)
    return LatencyTable(
        space=space.to_json(), blocks={**blocks, STEM: 0.5, HEAD: 0.25},
        stamp=Stamp(device="d", machine="m", cpu_features=[], runtime="r", runtime_version="1", threads=1, spin=True,
                    precision="float32", form="native", date="2026-01-01"),
        calibration=Calibration(offset_ms=0.125, slope=0.75, error=0.1, coverage=0.9, networks=[]),
        held_out=HeldOut(predictor=errors, block_sum=errors, macs=errors, covered=1.0, repeat=errors, networks=[]),
    )  # fmt: skip


@pytest.mark.parametrize("space", SPACES, ids=["plain", "branches", "path sets"])
def test_the_least_and_the_largest_are_those_of_all_architectures(space):
    table = invented(space)
    archs = [Arch.of(space, row) for row in itertools.product(*space.decisions)]
    costs = [arch_cost(arch) for arch in archs]
    truth = {"macs": [cost.macs for cost in costs], "params": [cost.params for cost in costs],
             "latency": table.predict(archs)[:, 0].tolist()}  # fmt: skip
    for name, values in truth.items():
        for kind, least in (("<=", min), (">=", max)):
            middle = sorted(values)[len(values) // 3]
            reach = Reach(space, (Limit.parse(f"{name}{kind}{middle!r}"),), table)
            (one,) = reach.additive
            assert one.value(one.extreme) == pytest.approx(least(values), rel=1e-9)
            assert [reach.accepts(arch) for arch in archs] == [
                value <= middle if kind == "<=" else value >= middle for value in values
            ]


def narrow(space, count, name="macs"):
    """The limit that the cheapest architectures of a space keep, this many of them."""
    costs = sorted(getattr(arch_cost(Arch.of(space, row)), name) for row in itertools.product(*space.decisions))
    return Limit(name, True, float(costs[count - 1]))


@pytest.mark.parametrize("method", ["nsga2", "nao", "random"])
def test_a_limit_that_few_architectures_keep_is_reached(method, tmp_path):
    space = space_of({"name": "many", "stages": [[8, 8, 2]], "kernel_sizes": [3, 5, 7], "input_size": 16})
    table = Reach(space, (Limit("macs", True, 1e12),))
    (one,) = table.additive
    limit = Limit("macs", True, one.value(one.extreme) * 1.0001)
    settings = SearchSettings(objectives=("params:max", "macs"), limits=(limit,), method=method, evaluations=12,
                              population=6, max_tries=5)  # fmt: skip
    with pytest.warns(ScarletWarning, match=r"random draws found 0 of 6 .* the least possible macs is [\d,]+ \(many:"):
        result = explore(Evaluation(space, metrics_of(settings.goals, settings.bounds)), settings, tmp_path / "j")
    assert result.evaluated
    assert all(candidate.values["macs"] <= limit.bound for candidate in result.evaluated)
    assert str(reach_extreme(space)) in {str(candidate.arch) for candidate in result.evaluated}


def reach_extreme(space):
    reach = Reach(space, (Limit("macs", True, 1.0),))
    return reach.encoding.arch(reach.additive[0].extreme)


def test_all_that_a_narrow_limit_leaves_are_found():
    space = SPACES[0]
    kept = [arch for row in itertools.product(*space.decisions) if arch_cost(arch := Arch.of(space, row)).macs
            <= narrow(space, 7).bound]  # fmt: skip
    reach, rows = Reach(space, (narrow(space, 7),)), {}
    with pytest.warns(ScarletWarning, match="random draws found 0 of 20"):
        reach.complete(rows, 20, np.random.default_rng(0))
    assert {str(reach.encoding.arch(row)) for row in rows.values()} == {str(arch) for arch in kept}


def test_several_narrow_limits_are_kept_at_once():
    space = SPACES[1]
    limits = (narrow(space, 200, "params"), narrow(space, 200, "macs"), replace(narrow(space, 150), at_most=False))
    archs = [Arch.of(space, row) for row in itertools.product(*space.decisions)]
    kept = [arch for arch in archs if all(limit.excess({"params": (cost := arch_cost(arch)).params, "macs": cost.macs})
            <= 0 for limit in limits)]  # fmt: skip
    reach, rows = Reach(space, limits), {}
    reach.check()
    with pytest.warns(ScarletWarning, match="the largest possible macs is"):
        reach.complete(rows, 10, np.random.default_rng(0))
    assert len(rows) == min(10, len(kept))
    assert {str(reach.encoding.arch(row)) for row in rows.values()} <= {str(arch) for arch in kept}


def test_an_impossible_limit_is_refused_at_once_with_the_least_possible(tmp_path, monkeypatch):
    monkeypatch.setattr(explore_module, "Journal", lambda *_: pytest.fail("the search has begun"))
    for limits, says in (
        (["macs<=2M"], r"satisfies macs<=2,000,000, the least possible macs is 2,199,720 \(scarlet-mini-7:e3k3-"),
        (["params<=1k"], r"the least possible params is 25,594 \(scarlet-mini-7:e3k3-"),
        (["macs>=1G"], r"the largest possible macs is 16,494,000 \(scarlet-mini-7:"),
        (["macs<=5M", "macs>=6M"], r"satisfies macs<=5,000,000 and macs>=6,000,000 together, although each of them is"),
        (["macs<=2.3M", "params>=200k"], "together, although each of them is possible, the least possible macs is"),
    ):
        settings = SearchSettings(objectives=("macs",), limits=limits)
        with pytest.raises(TrainingError, match=says) as caught:
            explore(Evaluation(MINI, metrics_of(settings.goals, settings.bounds)), settings, tmp_path / "j")
        assert "\n" not in str(caught.value)


def test_a_refused_limit_leaves_no_folder(scarlet, tmp_path):
    code, _, err = scarlet("search", "--space", "scarlet-mini-7", "--objectives", "macs", "--limit", "macs<=2M",
                           "--out", tmp_path / "out")  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()


def test_the_least_latency_is_told_so_that_it_can_be_kept():
    table = invented(MINI)
    with pytest.raises(TrainingError, match=r"the least possible latency is (\S+) ms \(scarlet-mini-7:") as caught:
        Reach(MINI, (Limit.parse("latency<=1us"),), table).check()
    told = str(caught.value).partition("latency is ")[2].partition(" ms")[0]
    Reach(MINI, (Limit.parse(f"latency<={told}ms"),), table).check()
    with pytest.raises(TrainingError):
        Reach(MINI, (Limit.parse(f"latency<={float(told) * 0.999}ms"),), table).check()


def test_a_limit_that_excludes_nothing_is_told_with_the_value_below_which_it_would(tmp_path):
    table = invented(MINI)
    low, high = table.reach_ms
    draws = [Arch.of(MINI, [random.Random(seed).choice(options) for options in MINI.decisions]) for seed in range(50)]
    assert all(low <= row[0] <= high for row in table.predict(draws))
    for limit in (f"latency<={high * 1.001}ms", "macs<=17M", "macs>=1M"):
        (told,) = Reach(MINI, (Limit.parse(limit),), table).idle()
        kind = "least" if ">=" in limit else "largest"
        value = re.search(rf"excludes nothing: the {kind} \w+ in scarlet-mini-7 is ([\d.,]+)", told)[1].replace(",", "")
        tighter = limit[: limit.index("=") + 1] + str(float(value) * (1.01 if kind == "least" else 0.99))
        assert Reach(MINI, (Limit.parse(tighter),), table).idle() == ()
        Reach(MINI, (Limit.parse(tighter),), table).check()
    settings = SearchSettings(objectives=("macs",), limits=("macs<=17M",), evaluations=2, population=2)
    with pytest.warns(ScarletWarning, match="the limit macs<=17,000,000 excludes nothing: the largest macs in"):
        explore(Evaluation(MINI, metrics_of(settings.goals, settings.bounds)), settings, tmp_path / "j")


@pytest.fixture
def measuring(monkeypatch):
    """Give a search measurements of latency that a function makes, and count the architectures that are measured."""
    measured = []

    def give(latency):
        def meter(arch):
            measured.append(str(arch))
            return latency(arch, len(measured))

        monkeypatch.setattr(explore_module, "_on_one_scale", lambda evaluation, _: evaluation)
        monkeypatch.setattr(Evaluation, "_meter", property(lambda _: meter))
        return measured

    return give


def search_within(limit, journal):
    settings = SearchSettings(objectives=("macs",), limits=(limit,), evaluations=4, population=4)
    explore(Evaluation(MINI, metrics_of(settings.goals, settings.bounds)), settings, journal)


@pytest.mark.parametrize(("limit", "kind"), [("latency<=300us", "least"), ("latency>=900us", "most")])
def test_without_a_table_the_cheapest_architecture_is_measured_first(measuring, tmp_path, limit, kind):
    measured = measuring(lambda _, number: 0.5 + number / 100)
    says = rf"its architecture with the {kind} multiply-adds \((\S+)\) takes 0.51 ms to 0.55 ms in 5 measurements here"
    with pytest.raises(TrainingError, match=says) as caught:
        search_within(limit, tmp_path / "j")
    assert len(measured) == 5
    assert set(measured) == {str(caught.value).partition("(")[2].partition(")")[0]}
    known = [closed_form(Arch.sample(MINI, random.Random(seed)))["macs"] for seed in range(20)]
    macs = closed_form(Arch.parse(measured[0]))["macs"]
    assert macs <= min(known) if kind == "least" else macs >= max(known)


def test_what_is_measured_with_noise_is_refused_after_the_evaluations_only(measuring, tmp_path):
    """A limit that the cheapest architecture may keep; and a search that goes on does not measure it again."""
    measured = measuring(lambda _, number: 0.5 + number % 2)
    says = (
        r"none of 4 architectures satisfies latency<=0.3 ms; the least latency of these is 0.5 ms .*cannot be computed"
    )
    with pytest.raises(TrainingError, match=says):
        search_within("latency<=300us", tmp_path / "j")
    assert len(measured) == 2 + 4
    with pytest.raises(TrainingError, match="none of 4 architectures"):
        search_within("latency<=300us", tmp_path / "j")
    assert len(measured) == 2 + 4


def test_a_wide_limit_is_kept_without_a_word(tmp_path):
    settings = SearchSettings(objectives=("macs",), limits=("macs<=10M",), evaluations=6, population=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explore(Evaluation(MINI, metrics_of(settings.goals, settings.bounds)), settings, tmp_path / "j")


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        ("latency<=5ms", "latency", 5), ("latency<=5", "latency", 5), ("latency <= 0.5 s", "latency", 500),
        ("latency<=250us", "latency", 0.25), ("macs<=5M", "macs", 5e6), ("macs<=5e6", "macs", 5e6),
        ("macs<=0.3G", "macs", 3e8), ("params<=1.2M", "params", 1.2e6), ("params>=500k", "params", 5e5),
        ("accuracy>=90%", "accuracy", 90), ("accuracy>=90", "accuracy", 90), ("score>=0.5", "score", 0.5),
    ],
)  # fmt: skip
def test_limits_have_units(text, name, bound):
    limit = Limit.parse(text)
    assert limit.name == name
    assert limit.bound == pytest.approx(bound)


@pytest.mark.parametrize("text", ["latency<=5M", "macs<=5ms", "accuracy>=0.9k", "macs<5M", "macs<=", "macs<=-5",
                                  "macs<=nan", "latency<=5 m s", "beauty<=5", "params<=1,2M"])  # fmt: skip
def test_limits_that_are_none_are_told_the_units(text):
    with pytest.raises(TrainingError, match="milliseconds") as caught:
        Limit.parse(text)
    assert all(name in str(caught.value) for name in METRICS)


def test_help_and_errors_name_the_unit_of_every_metric(scarlet):
    code, out, _ = scarlet("search", "--help")
    plain = " ".join(out.replace("│", " ").split())
    assert code == 0
    for name in METRICS:
        assert name in LIMITS
        assert name in OBJECTIVES
    for words in ("percent top-1", "multiply-adds", "parameters", "milliseconds", "latency<=5ms", "macs<=5M"):
        assert words in plain


def test_values_are_shown_with_their_unit():
    assert shown("macs", 2196480.0) == "2,196,480"
    assert (shown("latency", 1.23456, up=True), shown("latency", 1.23456)) == ("1.235 ms", "1.234 ms")
    assert (shown("accuracy", 99.5), shown("score", 0.0)) == ("99.5 %", "0")
