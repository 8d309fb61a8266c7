"""Committed measurements: complete, with their conditions, and saying what the documents say of them."""

import json

import numpy as np
import pytest
from conftest import ROOT
from evidence_parts import check_record

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.measurement.lut.table import read_table
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.models.supernet import SKIPS
from scarlet_zoo.models.weights.cards import all_cards
from scarlet_zoo.nas.ranking.ground_truth import read_truth
from scarlet_zoo.nas.strategies.registry import DEFAULT, DEFAULT_SKIP, STRATEGIES
from scarlet_zoo.utils.files import file_sha256

RESULTS = ROOT / "benchmarks" / "results"
NETWORKS = ("scarlet_a", "scarlet_b", "scarlet_c")


def rows_of(name):
    return json.loads((RESULTS / name).read_text())


def test_integers_are_faster_smaller_and_near():
    rows = rows_of("int8.json")
    assert tuple(row["name"] for row in rows) == NETWORKS
    for row in rows:
        assert row["speedup"]["low"] >= 1.3
        assert row["bytes_ratio"] <= 0.3
        assert row["sqnr_db"] >= 30
        assert row["top1_agreement"] >= 0.8
        assert row["fusion"]["float"] == row["fusion"]["stray"] == 0
        assert row["form"] == "blocked"
        for record in row["records"]:
            check_record(record)
        assert len({record["conditions"]["measurement"] for record in row["records"]}) == 1


@pytest.mark.parametrize("opset", [17, 20, 22])
def test_the_matrix_of_versions_is_whole_and_shows_the_cliffs(opset):
    rows = [row for row in rows_of("versions.json")["rows"] if row["opset"] == opset]
    versions = {row["version"] for row in rows}
    assert len(versions) >= 5
    assert {(row["version"], row["form"]) for row in rows} == {
        (version, form) for version in versions for form in ("native", "released", "int8")
    }
    cells = {(row["version"], row["form"]): row for row in rows}
    for row in rows:
        assert row["loads"] == (row["relative_latency"] is not None)
        assert not row["loads"] or row["form"] == "int8" or row["max_abs_err"] < 1e-3
    if opset == 22:
        assert not cells["1.20.1", "native"]["loads"]
        assert cells["1.22.1", "native"]["fused"] == cells["1.24.1", "native"]["fused"] == 0
        assert cells["1.30.0", "native"]["fused"] > 0
    else:
        assert all(row["loads"] and row["fused"] > 0 for row in rows if row["form"] == "native")


def test_every_runtime_was_measured_with_one_thread_and_two():
    rows = rows_of("runtimes.json")
    targets = {row["target"] for row in rows}
    assert {"native", "ort", "ort-int8", "openvino", "ncnn", "executorch"} <= targets <= TARGETS.keys()
    assert {(row["name"], row["target"], row["threads"]) for row in rows} == {
        (name, target, threads)
        for name in (*NETWORKS, "mobilenetv3_large_100")
        for target in targets
        for threads in (1, 2)
    }
    for row in rows:
        check_record(row["record"])
        assert row["record"]["conditions"]["threads"] == row["threads"]
        assert TARGETS[row["target"]].runtime == "ort" or row["sqnr_db"] > 60


def test_the_shipped_networks_lose_little_in_integers():
    rows = rows_of("int8_accuracy.json")
    assert {row["name"] for row in rows} == {name for name, entry in ZOO.items() if entry.published is None}
    reads = [json.loads(line) for line in (RESULTS / "test_reads.jsonl").read_text().splitlines()]
    for row in rows:
        (card,) = (card for card in all_cards().values() if card.redistributed and card.name == row["name"])
        assert row["test_images"] == card.measured.test_images
        assert row["test_points_lost"] <= {"fashion_mnist": 0.3, "cifar10_jpeg": 0.5}[card.tag]
        assert row["test_top1"]["float32"] == card.measured.test_top1_percent
        # The name under which it was read has changed once; the number has not.
        assert {read["top1"] for read in reads if read["sha256"] == row["int8_sha256"]} == {row["test_top1"]["int8"]}


def test_a_comparison_can_be_trusted_here():
    told = rows_of("trust.json")
    verdicts = {kind: [row["verdict"] for row in told["trials"] if row["slowed"] == kind] for kind in (False, True)}
    assert [len(rows) for rows in verdicts.values()] == [50, 50]
    assert told["same_called_different"] == sum(verdict != "no difference" for verdict in verdicts[False]) <= 2
    assert told["slower_found"] == verdicts[True].count("slower") >= 45
    assert (told["confidence"], told["planted_slowdown"]) == (0.99, 0.05)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_latency_tables_predict_what_they_have_not_seen(precision):
    (row,) = (row for row in rows_of("lut.json") if row["precision"] == precision)
    measured, predicted = (np.array([network[key] for network in row["networks"]])
                           for key in ("measured_ms", "predicted_ms"))  # fmt: skip
    apart = np.abs(predicted / measured - 1)
    assert len(apart) == 100
    assert apart.mean() == pytest.approx(row["predictor"]["mean"])
    assert apart.mean() <= 0.015
    assert np.mean(apart <= 0.04) == row["within_4_percent"] >= 0.95
    assert row["predictor"]["spearman"] >= row["repeat"]["spearman"] - 0.01
    assert abs(row["covered"] - row["promised_coverage"]) <= 0.1
    assert row["build_minutes"] < 10
    assert row["seconds_for_100000"] < 1
    table = read_table(RESULTS / f"lut_scarlet_{precision}.json")
    assert table.predict([Arch.parse(network["arch"]) for network in row["networks"]])[:, 0] == pytest.approx(predicted)
    unseen = {network["arch"] for network in row["networks"]}
    assert unseen.isdisjoint(n.arch for n in (*table.calibration.networks, *table.held_out.networks))


def test_profiles_found_all_multiply_adds_again():
    for row in rows_of("profiles.json"):
        assert row["left_macs"] <= 0.001 * row["macs"]
        assert row["of_limit"] > 1


def test_search_against_random_is_told_as_it_came_out():
    told = rows_of("search.json")
    assert len(told["pairs"]) == 9
    assert {row["seed"] for row in told["pairs"]} == {0, 1, 2}
    for row in told["pairs"]:
        assert abs(row["found_ms"] / row["random_ms"] - 1) <= told["latency_slack"]
    gains = [row["found_top1"] - row["random_top1"] for row in told["pairs"]]
    assert np.mean(gains) == pytest.approx(told["mean_gain_points"])
    low, high = told["interval_95"]
    said = " ".join((RESULTS.parent / "README.md").read_text().split())
    assert f"better by {told['mean_gain_points']:.2f} points, 95 % interval {low:.2f} to {high:.2f}" in said


def test_the_page_of_strategies_says_what_was_measured():
    told = rows_of("strategies.json")
    rows = {row["strategy"]: row for row in told["rows"]}
    page = (ROOT / "docs" / "strategies.md").read_text()
    assert list(rows) == list(STRATEGIES)
    assert told["conditions"]["rounds"] >= 20
    for name, row in rows.items():
        cells = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |")).split("|")
        assert float(cells[4]) == pytest.approx(row["ratio"]["p50"], abs=0.05)


def test_peers_are_all_there_in_every_variant():
    told = rows_of("peers.json")
    names = {peer.name for peer in published_peers()}
    assert len(names) == 15
    assert {network["name"] for network in told["networks"]} == names
    made = {(row["name"], row["variant"], row["threads"]) for row in told["rows"]}
    failed = {(network["name"], variant) for network in told["networks"] for variant in network["failed"]}
    for name in names:
        variants = {"native", "blocked", "int8", "timm"}
        variants |= {"friendly", "released"} if name.startswith("scarlet") else set()
        for variant in variants:
            assert (name, variant) in failed or {(name, variant, 1), (name, variant, 2)} <= made
    assert len(failed) <= 2
    for row in told["rows"]:
        check_record(row["record"])
        assert row["record"]["conditions"]["threads"] == row["threads"]
    assert len({row["record"]["conditions"]["measurement"] for row in told["rows"]}) == 2


def test_files_answer_alike_on_arm64_and_on_x64():
    told = json.loads((RESULTS / "arm64.json").read_text())
    rows = {(row["file"], row["processor"]): row for row in told["rows"]}
    names = {file for file, _ in rows}
    assert len(names) == 6 * 4
    assert {processor for _, processor in rows} == {"here", "cortex-a57", "cortex-a76", "Haswell"}
    assert all(row["error"] is None for row in rows.values())
    for (file, processor), row in rows.items():
        assert row["emulated"] is (processor != "here")
        if row["precision"] == "float32":
            assert row["answers"]["max_rel_diff"] < 1e-6
        elif processor != "Haswell":
            assert row["golden"]["exact"] is True
            assert row["answers"]["same_bits"] is True
        elif file.endswith("int8-x64"):
            assert row["golden"]["exact"] is True
    # int8 weights saturate before VNNI; that is why there is a preset for it.
    for name in ("scarlet_a", "scarlet_b", "scarlet_c"):
        decibels = [rows[f"{name}-int8-arm64", where]["answers"]["sqnr_db"] for where in ("here", "Haswell")]
        assert decibels[0] - decibels[1] > 3
    words = {word for row in told["rows"] for key in (*row, *row["answers"]) for word in key.split("_")}
    assert not words & {"ms", "seconds", "time", "p50", "latency"}


def test_the_ground_truth_is_whole_and_is_what_its_package_says():
    folder = RESULTS.parent / "ground_truth"
    truth = read_truth(folder)
    assert truth.final.shape == (3, 100)
    assert np.isfinite(truth.latency_ms).all()
    package = json.loads((folder / "datapackage.json").read_text())
    (resource,) = package["resources"]
    rows = folder / resource["path"]
    assert resource["hash"] == f"sha256:{file_sha256(rows)}"
    assert package["rows"] == 300
    names = [field["name"] for field in resource["schema"]["fields"]]
    assert rows.read_text().split("\n", 1)[0] == ",".join(names)
    noise, spread = truth.final.var(axis=0, ddof=1).mean(), truth.final.mean(axis=0).var(ddof=1)
    assert spread - noise / 3 > noise, "what networks differ by is more than what seeds do"
    assert all(cost.macs == macs for cost, macs in zip(map(arch_cost, truth.archs), truth.macs, strict=True))


def test_the_verdict_is_whole_and_supports_the_default():
    told, page = rows_of("rank.json"), (ROOT / "docs" / "ranking.md").read_text()
    assert (told["architectures"], told["truth_seeds"], told["seeds"]) == (100, 3, [0, 1, 2])
    recipes = told["recipes"]
    # These two came after the record, and the page says so.
    assert {recipe["strategy"] for recipe in recipes} == set(STRATEGIES) - {"ofa", "bignas"}
    assert "`ofa` and `bignas` are newer than this record" in " ".join(page.split())
    assert {recipe["budget"] for recipe in recipes} == {400_000}
    assert told["device"]
    made = [row for row in told["rows"] if row["strategy"]]
    assert all(len(row["tau_each"]) == row["seeds"] == 3 for row in made)
    assert all(row["images"] == pytest.approx(400_000, rel=0.15) for row in made), "equal units"
    # MixPath, which is before it, trains a larger space.
    chains = [row for row in made if row["strategy"] != "mixpath"]
    assert chains[0]["recipe"] == f"{DEFAULT} skip={DEFAULT_SKIP}"
    assert chains[0]["behind"]["low"] < 0, "not told from the first"
    macs = next(row for row in told["rows"] if row["recipe"] == "macs")
    assert macs["behind"]["high"] < 0, "multiply-adds are ahead of every supernet, and the page says so"
    equal = rows_of("rank_mixpath_three_quarters.json")
    (mixpath,) = [row for row in equal["rows"] if row["strategy"]]
    assert mixpath["images"] == pytest.approx(300_000, rel=0.02)
    assert mixpath["tau"]["value"] > chains[0]["tau"]["value"]
    assert f"({macs['tau']['value']:.2f})" in page
    for tau in (made[0]["tau"], mixpath["tau"], chains[0]["tau"]):
        assert f"{tau['value']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]" in page


def test_the_findings_are_whole_and_are_told_as_they_came_out():
    told = rows_of("findings.json")
    assert told["device"]
    rows = {(row["asked"]["name"], row["asked"]["skip"]): row for row in told["inside"]}
    names = {name for name, _ in rows}
    assert len(names) == 9
    assert set(rows) == {(name, skip) for name in names for skip in SKIPS}
    for name in names - {"no shortcuts"}:
        assert all(layer["skip"] > layer["blocks"] for layer in rows[name, "plain"]["layers"])
        assert np.mean(rows[name, "plain"]["one_shot"]) > np.mean(rows[name, "identity"]["one_shot"])
        for skip in ("orthogonal", "kaiming"):
            assert np.mean([layer["skip"] - layer["blocks"] for layer in rows[name, skip]["layers"]]) < -0.3
    for row in (rows["no shortcuts", skip] for skip in SKIPS):
        assert all(abs(np.mean([layer[key] for layer in row["layers"]])) < 0.02 for key in ("skip", "blocks"))
    taus = {size: np.mean([row["tau"] for row in told["updates"] if row["asked"]["size"] == size])
            for size in (100, 300, 1000, 3000, None)}  # fmt: skip
    assert taus[100] == max(taus.values())
    assert len(told["updates"]) == 10
    page = (ROOT / "docs" / "ranking.md").read_text()
    assert f"{taus[100]:.2f}" in page
    assert f"{taus[None]:.2f}" in page
    assert {row["asked"]["temperature"] for row in told["stability"]} == {0.0, 1.0}


def test_the_baselines_have_equal_multiply_adds_and_are_told_as_they_came_out():
    rows = {row["name"]: row for row in rows_of("baselines.json")}
    own = {name for name in ZOO if name.startswith("scarlet_mini")}
    others = set(rows) - own
    assert {"mobilenetv3_small_075", "tinynet_e"} == others
    page = (ROOT / "weights" / "README.md").read_text()
    for name, row in rows.items():
        assert row["record"]["runs"] >= 100
        assert f"| `{name}` | {row['side']} px | {row['macs'] / 1e6:.1f} | {row['params']:,} |" in page
        assert f"| {row['record']['p50_ms']:.2f} ms | {row['test_top1']:.2f} % |" in page
    front, ours = (ROOT / "README.md").read_text(), rows["scarlet_mini_s"]["record"]["p50_ms"]
    ratios = [rows[name]["record"]["p50_ms"] / ours for name in ("mobilenetv3_small_075", "tinynet_e")]
    assert "they take {:.1f} and {:.1f} times as long".format(*ratios) in front
    for name in others:
        assert f"{rows[name]['test_top1']:.2f} %" in front
        assert rows[name]["macs"] == pytest.approx(rows["scarlet_mini_s"]["macs"], rel=0.15)
    reads = [json.loads(line) for line in (RESULTS / "test_reads.jsonl").read_text().splitlines()]
    for name in others:
        (read,) = [row for row in reads if row["name"] == name]
        assert (read["images"], read["top1"]) == (10_000, rows[name]["test_top1"])


def test_fine_tuning_is_told_with_its_interval():
    found = rows_of("finetuning.json")
    document = (ROOT / "docs" / "training.md").read_text()
    assert "JPEG" in found["asked"]["data"]
    for row in found["rows"]:
        low, high = row["test"]["interval"]
        assert low < row["test"]["percent"] < high
        assert f"{row['test']['percent']} % of {row['test']['images']:,} test images" in document
        assert f"interval {low:.1f} to {high:.1f}" in document
        assert f"{row['core_seconds'] / 60:.0f} core-minutes" in document
