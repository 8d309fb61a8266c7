"""Ground truth: its plan, its rows on disk, trainings that go on, and what is refused."""

import json

import numpy as np
import pytest
from conftest import FASHION
from hypothesis import given
from hypothesis import strategies as st

from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.errors import ArchError, DatasetError, ScarletError
from scarlet_zoo.nas.ranking import collect as collecting
from scarlet_zoo.nas.ranking.collect import add_latency, collect, write_package
from scarlet_zoo.nas.ranking.ground_truth import TruthRow, read_plan, read_rows, read_truth, write_rows
from scarlet_zoo.utils.files import file_sha256

PLAN = """
title = "six small networks"
architectures = 3
draw = 1
seeds = [0, 1]
data = "fashion-mnist"
pictures = 200
[training]
epochs = 2
batch_size = 50
lr = 0.05
[space]
name = "few"
in_chans = 1
input_size = 28
num_classes = 10
stem_width = 8
first_width = 8
head_width = 16
stages = [[8, 2, 2], [16, 2, 2]]
kernel_sizes = [3]
expand_ratios = [1, 3]
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "truth"
    made.mkdir()
    (made / "plan.toml").write_text(PLAN)
    return made


def row_of(plan, number, **fields):
    arch, seed = plan.trainings[number]
    cost = arch_cost(arch)
    return TruthRow(
        **{"arch": str(arch), "seed": seed, "macs": cost.macs, "params": cost.params, "latency_ms": None,
           "core_seconds": 1.0, "top1": [10.0 + number, 20.0 + number], **fields}
    )  # fmt: skip


def test_a_plan_draws_the_same_architectures_each_once(folder):
    plan = read_plan(folder)
    assert len({str(arch) for arch in plan.archs}) == 3
    assert plan.archs == read_plan(folder).archs
    assert [seed for _, seed in plan.trainings] == [0, 0, 0, 1, 1, 1]


@given(st.lists(st.floats(0, 100), min_size=2, max_size=2), st.floats(0.01, 1e4), st.none() | st.floats(0.01, 1e3))
def test_rows_are_read_as_they_were_written(tmp_path_factory, top1, seconds, latency):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    row = TruthRow(arch="few:e1k3", seed=3, macs=7, params=9, latency_ms=latency, core_seconds=seconds, top1=top1)
    write_rows(path, [row], 2)
    (read,) = read_rows(path, 2)
    assert (read.arch, read.seed, read.macs, read.params) == ("few:e1k3", 3, 7, 9)
    assert read.top1 == pytest.approx(top1, abs=0.00051)
    assert (read.latency_ms is None) == (latency is None)


@pytest.mark.slow
def test_every_training_is_a_row_on_disk_and_none_is_made_twice(folder, tmp_path, monkeypatch):
    made = []
    real = collecting.train_one

    def counted(job):
        made.append((job.arch, job.seed))
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(collecting, "train_one", counted)
    with pytest.raises(KeyboardInterrupt):
        collect(folder, tmp_path / "work", FASHION)
    assert len(read_rows(folder / "ground_truth.csv", 2)) == 2
    rows = collect(folder, tmp_path / "work", FASHION)
    plan = read_plan(folder)
    assert [row.key for row in rows] == [(str(arch), seed) for arch, seed in plan.trainings]
    assert len(made) == 7, "the one that was stopped, again; the others once"
    again = real(collecting._Training(plan, rows[0].arch, 0, FASHION, tmp_path / "again"))
    assert again.top1 == pytest.approx(rows[0].top1, abs=0.001), "a training is a function of its plan"
    assert rows[0].top1 != rows[3].top1, "another seed is another training"
    add_latency(folder)
    write_package(folder, "2026-01-01T00:00:00+00:00")
    truth = read_truth(folder)
    assert truth.top1.shape == (2, 3, 2)
    assert (truth.latency_ms > 0).all()
    assert (truth.macs == [arch_cost(arch).macs for arch in truth.archs]).all()
    package = json.loads((folder / "datapackage.json").read_text())
    (resource,) = package["resources"]
    assert resource["hash"] == f"sha256:{file_sha256(folder / 'ground_truth.csv')}"
    header = (folder / "ground_truth.csv").read_text().splitlines()[0].split(",")
    assert [field["name"] for field in resource["schema"]["fields"]] == header
    assert package["rows"] == 6


def test_a_line_that_a_kill_has_cut_is_left_out(folder):
    plan, path = read_plan(folder), folder / "ground_truth.csv"
    write_rows(path, [row_of(plan, 0), row_of(plan, 1)], 2)
    path.write_text(path.read_text()[:-4])
    assert [row.key for row in read_rows(path, 2)] == [row_of(plan, 0).key]


def test_only_architectures_with_every_seed_count(folder):
    plan = read_plan(folder)
    write_rows(folder / "ground_truth.csv", [row_of(plan, number) for number in (0, 1, 2, 3, 5)], 2)
    truth = read_truth(folder)
    assert truth.archs == (plan.archs[0], plan.archs[2])
    assert np.array_equal(truth.final, [[20.0, 22.0], [23.0, 25.0]])
    assert np.isnan(truth.latency_ms).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("architectures = 3", "architectures = 1"), "plan.toml: architectures: "),
        (lambda text: text.replace("pictures = 200", 'pictures = "200"'), "plan.toml: pictures: "),
        (lambda text: text + "colour = 1\n", "unknown field 'colour'"),
        (lambda text: text.replace("[space]", "[other]"), "plan.toml: space: "),
        (lambda text: text + "=", "not a plan in TOML"),
        (lambda text: text.replace("architectures = 3", "architectures = 3000"), "wanted at most half"),
    ],
)
def test_a_broken_plan_is_refused_with_its_place(folder, change, message):
    path = folder / "plan.toml"
    path.write_text(change(path.read_text()))
    with pytest.raises((DatasetError, ArchError)) as caught:
        _ = read_plan(folder).archs
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("seed,", "sead,", 1), "got columns arch,sead"),
        (lambda text: text.replace(",20.000\n", ",120.000\n"), "line 2, top1: got '120.000'"),
        (lambda text: text.replace(",20.000\n", "\n"), "line 2: got 7 cells, wanted 8"),
        (lambda text: text + text.splitlines()[1] + "\n", "line 4: got few:"),
        (lambda text: text.replace("few:", "many:", 1), "is not one of the trainings"),
    ],
)
def test_broken_rows_are_refused_with_their_place(folder, change, message):
    plan, path = read_plan(folder), folder / "ground_truth.csv"
    write_rows(path, [row_of(plan, 0), row_of(plan, 1)], 2)
    path.write_text(change(path.read_text()))
    with pytest.raises(DatasetError) as caught:
        read_truth(folder)
    assert message in str(caught.value)


def test_no_ground_truth_is_said_to_be_none(tmp_path):
    with pytest.raises(ScarletError, match=r"plan\.toml: no such file"):
        read_truth(tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN)
    with pytest.raises(ScarletError, match="got 0 architectures with every seed"):
        read_truth(tmp_path)


def test_a_wide_draw_makes_whole_networks_differ(folder):
    def spread(added):
        text = PLAN.replace("architectures = 3", f"architectures = 40\n{added}").replace("8, 2, 2", "8, 6, 2")
        (folder / "plan.toml").write_text(text)
        archs = read_plan(folder).archs
        assert len({*map(str, archs)}) == 40
        return np.std([arch_cost(arch).macs for arch in archs])

    assert spread("wide = 0.7") > 1.5 * spread("")
