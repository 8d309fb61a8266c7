"""Committed measurements: complete, with their conditions, and saying what the documents say of them."""

import json

import pytest
from conftest import ROOT

from scarlet_zoo.targets import TARGETS

RESULTS = ROOT / "benchmarks" / "results"
NETWORKS = ("scarlet_a", "scarlet_b", "scarlet_c")
CONDITIONS = ("device", "threads", "runtime", "runtime_version", "sha256", "warmup", "date")


def rows_of(name):
    return json.loads((RESULTS / name).read_text())


def check_record(record):
    assert record["runs"] >= 100
    for key in CONDITIONS:
        assert record["conditions"][key]


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
        (name, target, threads) for name in NETWORKS for target in targets for threads in (1, 2)
    }
    for row in rows:
        check_record(row["record"])
        assert row["record"]["conditions"]["threads"] == row["threads"]
        assert TARGETS[row["target"]].runtime == "ort" or row["sqnr_db"] > 60
