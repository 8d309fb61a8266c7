"""The networks for small photographs: how they were found, beside whom they stand, and what the documents say of it."""

import json
from functools import cache
from pathlib import Path
from statistics import mean

import pytest
from conftest import ROOT
from evidence_parts import check_record

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.space_files import read_space
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.evidence.chosen import most_macs_near_the_best
from scarlet_zoo.evidence.cifar10_recipes import FIRST
from scarlet_zoo.evidence.commands import Journal
from scarlet_zoo.models.weights.cards import all_cards

RESULTS, SPACES = ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "spaces"
SIZES = {"s": 6_000_000, "m": 12_000_000, "l": 25_000_000}
PAGE = (ROOT / "weights" / "README.md").read_text()
SEARCHES = (ROOT / "weights" / "search" / "README.md").read_text()


@cache
def journal():
    return Journal(RESULTS / "cifar10.jsonl").rows


def rows():
    return {row["name"]: row for row in json.loads((RESULTS / "cifar10.json").read_text())}


MADE = [size for size in SIZES if f"scarlet_cifar_{size}" in ZOO]


def chosen(size):
    return most_macs_near_the_best(ROOT / "weights" / "search" / f"cifar10-{size}" / "evaluations.jsonl")


def test_of_equal_losses_the_most_multiply_adds_are_taken(tmp_path):
    rows = [("small", 1.0, 5), ("large", 1.009, 9), ("larger", 1.011, 20), ("middle", 1.005, 7)]
    lines = [{"journal": 1}, *({"arch": name, "values": {"loss": loss, "macs": macs}} for name, loss, macs in rows)]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert most_macs_near_the_best(tmp_path / "e.jsonl") == "large"


@pytest.mark.parametrize("size", SIZES)
def test_what_a_search_found_keeps_its_size(size):
    arch = Arch.parse(chosen(size))
    assert arch_cost(arch).macs <= SIZES[size]
    assert f"| {size} | `{arch}` | {arch_cost(arch).macs / 1e6:.1f} | {arch_cost(arch).params:,} |" in SEARCHES
    assert journal()[f"search_{size}"]["report"]["evaluations"] == 100


@pytest.mark.parametrize("size", MADE)
def test_a_network_is_the_one_of_its_search_and_the_card_says_how_it_was_made(size):
    name = f"scarlet_cifar_{size}"
    assert str(get_arch(name)) == chosen(size)
    card = all_cards()[f"{name}.cifar10_jpeg"]
    # The large and the medium network have a second part of training; of the small one the first is in the package.
    parts = [FIRST[size], f"second_{size}"][: 1 if size == "s" else 2]
    made = [journal()[run] for run in ("supernet", f"search_{size}", *parts)]
    assert card.dataset == "CIFAR-10, JPEG"
    said = [f"scarlet-zoo {' '.join(row['command'])} --out {row['name']}" for row in made]
    assert list(card.measured.commands) == said
    trained = [row["report"] for row in made[2:]]
    assert {(report["pictures"], report["validation_pictures"]) for report in trained} == {(45_000, 5_000)}
    assert card.measured.hardware == ", then ".join(report["hardware"] for report in trained)
    assert round(sum(report["seconds"] for report in trained) / 60, 1) == card.measured.minutes
    # Weights in 16 bits are taken only where they cost no validation image; the training validated in bfloat16.
    assert card.measured.validation_top1_percent == pytest.approx(trained[-1]["accuracy"]["percent"], abs=0.2)


def test_the_candidate_spaces_are_told_as_their_short_trainings_came_out():
    for path in sorted(SPACES.glob("*.toml")):
        space = read_space(path)
        reports = {key: row["report"] for key, row in journal().items() if key.startswith(space.name)}
        found = [[report["accuracy"]["percent"] for key, report in reports.items() if f"_{macs}M_" in key]
                 for macs in (6, 12)]  # fmt: skip
        assert {len(values) for values in found} in ({3}, {0})
        shown = [f"{mean(values):.1f} %" if values else "not measured yet" for values in found]
        assert f"| `{space.name}` | {shown[0]} | {shown[1]} |" in SEARCHES
    declared = read_space(SPACES / "late-stride.toml")
    assert get_space("scarlet-cifar").layers == declared.layers
    assert get_space("scarlet-cifar").choices == declared.choices


def test_networks_and_rivals_are_told_as_they_came_out():
    told = rows()
    rivals = [name for name in told if "rival_" in name]
    assert rivals == ["mobilenetv3_small_075 rival_s"], "weights/README.md says that the others have none yet"
    reads = [json.loads(line) for file in (RESULTS, ROOT / "weights")
             for line in (file / "test_reads.jsonl").read_text().splitlines()]  # fmt: skip
    for name, row in told.items():
        check_record(row["record"])
        assert row["test_images"] == 5_000
        assert [read["top1"] for read in reads if read["name"] == name] == [row["test_top1"]]
        line = f"| `{name.split()[0]}` | {row['side']} px | {row['macs'] / 1e6:.1f} | {row['params']:,} |"
        assert f"{line} {row['record']['p50_ms']:.2f} ms | {row['test_top1']:.2f} % |" in PAGE
    front = (ROOT / "README.md").read_text()
    integers = {
        row["name"]: row["test_top1"]["int8"] for row in json.loads((RESULTS / "int8_accuracy.json").read_text())
    }
    ours, rival = told["scarlet_cifar_s"], told["mobilenetv3_small_075 rival_s"]
    assert f"right on {ours['test_top1']:.2f} % of 5,000 test images" in front
    assert f"in int8 on {integers['scarlet_cifar_s']:.2f} %" in front
    slower = rival["record"]["p50_ms"] / ours["record"]["p50_ms"]
    assert f"{rival['test_top1']:.2f} % in {slower:.1f} times the time" in " ".join(front.split())
    for name in rivals:
        size = name[-1]
        made, ours = journal()[f"rival_{size}"], journal()[f"scarlet_cifar_{size}"]
        # The same recipe and the same number of epochs, images and steps.
        assert made["command"][made["command"].index("--data") :] == ours["command"][ours["command"].index("--data") :]
        assert made["report"]["steps"] == ours["report"]["steps"]
        assert told[name]["macs"] == pytest.approx(told[f"scarlet_cifar_{size}"]["macs"], rel=0.15)
        short = {key: row["report"]["accuracy"]["percent"] for key, row in journal().items()
                 if key.endswith(f"_{size}") and key.startswith(("mobilenetv3", "tinynet"))}  # fmt: skip
        assert len(short) == 2
        assert name.split()[0] == max(short, key=short.get).removesuffix(f"_{size}")


def test_every_architecture_of_the_journal_keeps_its_cost():
    for name, row in journal().items():
        if "M_" in name:
            macs = int(name.split("_")[1].removesuffix("M")) * 10**6
            space = read_space(SPACES / Path(row["command"][row["command"].index("--space") + 1]).name)
            assert 0.94 * macs <= arch_cost(Arch.parse(row["command"][1], space)).macs <= macs
