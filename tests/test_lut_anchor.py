"""The speed of the device now: predictions follow it, and their interval widens by what was seen of noise."""

import json

import numpy as np
import pytest
from conftest import TINY

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.lut.anchor import Anchor, _spread
from scarlet_zoo.measurement.lut.build import build_table, measure_bundle
from scarlet_zoo.measurement.lut.bundle import make_bundle
from scarlet_zoo.measurement.lut.table import Network

ARCH = Arch.of(TINY, ["e6k5se", "e3k3", "id", *["e3k5"] * 5])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lut")
    bundle = make_bundle(TINY, folder / "bundle", networks=(8, 4))
    return build_table(bundle, measure_bundle(bundle, folder / "rounds", Settings(), sittings=1))


def slower(table, times):
    """The table as it would be of a device that was so many times as slow."""
    networks = {part: [one.model_copy(update={"measured_ms": one.measured_ms * times})
                       for one in getattr(table, part).networks] for part in ("calibration", "held_out")}  # fmt: skip
    line = table.calibration.model_copy(update={"networks": networks["calibration"],
                                                "offset_ms": table.calibration.offset_ms * times})  # fmt: skip
    return table.model_copy(update={
        "blocks": {key: value * times for key, value in table.blocks.items()}, "calibration": line,
        "held_out": table.held_out.model_copy(update={"networks": networks["held_out"]}),
    })  # fmt: skip


def test_predictions_follow_and_intervals_widen():
    rows = Anchor(1.5, 0.1, ("a",)).apply(np.array([[2.0, 1.9, 2.1], [4.0, 3.8, 4.2]]))
    np.testing.assert_allclose(rows, [[3.0, 1.9 * 1.5 * 0.9, 2.1 * 1.5 * 1.1], [6.0, 3.8 * 1.5 * 0.9, 4.2 * 1.5 * 1.1]])
    assert Anchor(2.0, 7.0, ()).apply(np.ones((1, 3))).tolist() == [[2.0, 0.0, 16.0]]


@pytest.mark.parametrize(("steady", "taken"), [
    (range(9), [1, 4, 7]), ((1, 3, 5), [1, 3, 5]), ((0, 1, 7, 8), [0, 7, 8]), ((1, 3), [1, 4, 7])])  # fmt: skip
def test_steady_networks_of_different_size_are_taken(steady, taken):
    rows = [Network(arch=str(number), measured_ms=1.0 + number, predicted_ms=1.0, stable=number in steady)
            for number in range(9)]  # fmt: skip
    assert [int(one.arch) for one in _spread(rows[::-1], 3)] == taken
    assert [int(one.arch) for one in _spread(rows[:2], 3)] == [0, 1]


@pytest.mark.slow
def test_a_table_of_slower_days_predicts_today(table, tmp_path, scarlet):
    rows = {}
    for name, one in (("today", table), ("slower", slower(table, 3.0))):
        one.write(tmp_path / f"{name}.json")
        file = tmp_path / f"{name}.json"
        code, said, error = scarlet("lut", "predict", str(ARCH), "--lut", file, "--anchor", "--json")
        assert code == 0, error
        (rows[name],) = json.loads(said)
    assert 0.2 < rows["slower"]["anchor_ratio"] / rows["today"]["anchor_ratio"] * 3 < 5
    assert rows["slower"]["p50_ms"] == pytest.approx(table.predict([ARCH])[0, 0] * 3 * rows["slower"]["anchor_ratio"])
    assert rows["slower"]["anchor_noise"] >= 0
    low, high = (rows["slower"][key] / rows["slower"]["p50_ms"] for key in ("low_ms", "high_ms"))
    error, noise = table.calibration.error, rows["slower"]["anchor_noise"]
    assert (low, high) == pytest.approx(((1 - error) * (1 - min(noise, 1)), (1 + error) * (1 + noise)))
    told = " ".join(scarlet("lut", "predict", str(ARCH), "--lut", tmp_path / "slower.json", "--anchor")[1].split())
    assert "now: 3 networks of the table take 0." in told


def test_another_devices_speed_cannot_be_measured_here(table, tmp_path, scarlet):
    stamp = table.stamp.model_copy(update={"device": "a phone"})
    table.model_copy(update={"stamp": stamp}).write(tmp_path / "phone.json")
    code, _, said = scarlet("lut", "predict", str(ARCH), "--lut", tmp_path / "phone.json", "--anchor")
    assert (code, said.count("\n")) == (2, 1)
    assert "latency table: is of a phone" in said
    assert "wanted one of this machine" in said
