"""Latency tables: every block is there, the prediction says how wrong it is, and a table is not used for another."""

import itertools
import json
import random
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st
from process_parts import command_line
from scipy.stats import spearmanr

from scarlet_zoo import latency
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import ScarletWarning, TableError
from scarlet_zoo.evidence.interleaved_bundles import measure_together
from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.lut.build import build_table, measure_bundle
from scarlet_zoo.measurement.lut.bundle import Bundle, make_bundle, read_bundle
from scarlet_zoo.measurement.lut.cut import cut, holders, network_graph
from scarlet_zoo.measurement.lut.fit import conformal_error, fit, left_out, spearman
from scarlet_zoo.measurement.lut.keys import block_key, piece_key, pieces_of
from scarlet_zoo.measurement.lut.table import read_table
from scarlet_zoo.nas.search.evaluator import Evaluation
from scarlet_zoo.utils.files import file_sha256

NETWORKS = (10, 5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(TINY, tmp_path_factory.mktemp("lut") / "bundle", networks=NETWORKS)


@pytest.fixture(scope="module")
def sittings(bundle, tmp_path_factory):
    return measure_bundle(bundle, tmp_path_factory.mktemp("sittings"), Settings(), sittings=2)


@pytest.fixture(scope="module")
def table(bundle, sittings):
    return build_table(bundle, sittings)


@pytest.fixture
def table_file(table, tmp_path):
    table.write(tmp_path / "table.json")
    return tmp_path / "table.json"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pieces_in_a_row_are_the_network(precision, tmp_path):
    arch = Arch.of(TINY, ["e6k5se", "e3k3", "id", *["e3k5"] * 5])
    whole = network_graph(arch, precision)
    value = np.random.default_rng(0).standard_normal((1, 3, TINY.input_size, TINY.input_size)).astype(np.float32)
    (truth,) = ort.InferenceSession(whole.SerializeToString()).run(None, {"input": value})
    pieces = cut(whole, arch)
    assert list(pieces) == pieces_of(arch)
    for piece in pieces.values():
        onnx.checker.check_model(piece)
        session = ort.InferenceSession(piece.SerializeToString())
        (value,) = session.run(None, {session.get_inputs()[0].name: value})
    np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-5 * np.abs(truth).max())


@pytest.mark.slow
def test_holders_have_every_block(table):
    keys = {piece_key(arch, piece) for arch in holders(TINY) for piece in pieces_of(arch)}
    wanted = {block_key(TINY, index, token) for index, layer in enumerate(TINY.layers) for token in layer.tokens
              if token != "id"} | {"stem", "head"}  # fmt: skip
    assert keys == wanted == set(table.blocks)


def test_blocks_that_differ_have_different_keys():
    space = get_space("scarlet")
    keys = {}
    for index, plan in enumerate(Arch.sample(space, random.Random(0)).layers):
        for token in space.layers[index].tokens:
            seen = (plan.in_chs, plan.out_chs, plan.stride, token)
            keys.setdefault(block_key(space, index, token), set()).add(seen)
    assert all(len(seen) == 1 for seen in keys.values())


@pytest.mark.slow
def test_a_prediction_is_the_line_through_the_sum_of_blocks(table):
    archs = [Arch.sample(TINY, random.Random(seed)) for seed in range(20)]
    line = table.calibration
    for arch, (p50, low, high) in zip(archs, table.predict(archs), strict=True):
        total = sum(table.blocks[piece_key(arch, piece)] for piece in pieces_of(arch))
        assert p50 == pytest.approx(line.offset_ms + line.slope * total)
        assert low < p50 < high
        assert (high - p50) / p50 == pytest.approx(line.error)
    assert table.predict([]).shape == (0, 3)


def test_the_error_travels_with_the_table(table, table_file):
    back = read_table(table_file)
    assert back == table
    assert len(back.held_out.networks) == NETWORKS[1]
    known = {network.arch for network in back.calibration.networks}
    assert known.isdisjoint(network.arch for network in back.held_out.networks)
    measured, predicted = (np.array([getattr(network, key) for network in back.held_out.networks])
                           for key in ("measured_ms", "predicted_ms"))  # fmt: skip
    apart = np.abs(predicted / measured - 1)
    assert back.held_out.predictor.mean == pytest.approx(apart.mean())
    assert back.held_out.covered == pytest.approx(np.mean(np.abs(measured / predicted - 1) <= back.calibration.error))
    assert back.held_out.predictor.mean < 0.5


def test_a_hundred_thousand_architectures_take_less_than_a_second(table):
    genes = np.random.default_rng(0).integers([len(layer.tokens) for layer in TINY.layers], size=(100_000, 8))
    archs = [
        Arch.of(TINY, (layer.tokens[g] for layer, g in zip(TINY.layers, row, strict=True))) for row in genes[:2000]
    ]
    assert np.array_equal(table.encode(archs), genes[:2000])
    begun = time.process_time()
    assert table.predict_encoded(genes).shape == (100_000, 3)
    assert time.process_time() - begun < 1


def line_through(seed, count, noise):
    random_numbers = np.random.default_rng(seed)
    x = random_numbers.uniform(5, 12, count)
    return x, (0.5 + 0.9 * x) * (1 + noise * random_numbers.standard_normal(count))


def test_the_line_is_found_and_each_is_predicted_without_itself():
    x, measured = line_through(0, 40, 0)
    line = fit(x, measured)
    assert (line.offset, line.slope) == pytest.approx((0.5, 0.9))
    measured[7] *= 3  # an outlier must not help to predict itself
    honest = left_out(x, measured)
    assert honest[7] == pytest.approx(fit(np.delete(x, 7), np.delete(measured, 7))(x[7:8])[0])
    assert honest[7] == pytest.approx(0.5 + 0.9 * x[7])


def test_the_interval_covers_as_often_as_it_says():
    covered = []
    for seed in range(200):
        x, measured = line_through(seed, 52, 0.01)
        known, new = slice(0, 32), slice(32, None)
        error = conformal_error(measured[known], left_out(x[known], measured[known]))
        predicted = fit(x[known], measured[known])(x[new])
        covered.append(np.mean(np.abs(measured[new] / predicted - 1) <= error))
    assert 0.88 <= np.mean(covered) <= 0.95


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_ranks_agree_with_those_of_scipy(pairs):
    one, other = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    if len(set(one)) > 1 and len(set(other)) > 1:
        assert spearman(one, other) == pytest.approx(spearmanr(one, other)[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threads": 2}, "threads 1, wanted 2"),
        ({"precision": "int8"}, "precision 'float32', wanted 'int8'"),
        ({"runtime_version": "1.0"}, "runtime_version"),
        ({"space": get_space("scarlet-mini")}, "is for space 'tiny', wanted 'scarlet-mini'"),
    ],
)
def test_a_table_is_refused_for_another(table, change, told):
    with pytest.raises(TableError, match=r"latency table: ") as caught:
        table.require(**change)
    assert told in str(caught.value)


def change_stamp(file, **changes):
    content = json.loads(file.read_text())
    content["stamp"] |= changes
    file.write_text(json.dumps(content))


def test_a_table_of_another_runtime_is_refused_on_its_device_only(scarlet, table_file):
    arch = str(next(holders(TINY)))
    assert scarlet("lut", "predict", arch, "--lut", table_file)[0] == 0
    change_stamp(table_file, runtime_version="1.18.0")
    code, said, error = scarlet("lut", "predict", arch, "--lut", table_file)
    assert (code, said) == (2, "")
    assert "1.18.0" in error
    change_stamp(table_file, device="a phone")
    assert scarlet("lut", "predict", arch, "--lut", table_file)[0] == 0


def test_predictions_come_in_the_order_of_the_arguments(scarlet, table_file, table):
    archs = [str(Arch.sample(TINY, random.Random(seed))) for seed in (3, 1, 2)]
    code, said, _ = scarlet("lut", "predict", *archs, "--lut", table_file, "--json")
    assert code == 0
    rows = json.loads(said)
    assert [row["arch"] for row in rows] == archs
    assert all(set(row) == {"arch", "p50_ms", "low_ms", "high_ms", "stable"} for row in rows)
    assert [row["p50_ms"] for row in rows] == table.predict([Arch.parse(a, TINY) for a in archs])[:, 0].tolist()
    code, said, _ = scarlet("lut", "show", table_file, "--json")
    assert code == 0
    assert json.loads(said)["held_out"]["predictor"]["mean"] == table.held_out.predictor.mean


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "tiny:e3k3", "--lut", "{file}"], "wanted 8"),
        (["predict", "scarlet_a", "--lut", "{file}"], "wanted 'scarlet'"),
        (["predict", "scarlet_a", "--lut", "{gone}"], "gone.json: cannot be read"),
        (["predict", "scarlet_a", "--lut", "{broken}"], "wanted a file of lut build"),
        (["predict", "scarlet_a", "--lut", "{file}", "--threads", "2"], "threads 1, wanted 2"),
        (["build", "--space", "nowhere", "--save", "{gone}"], "nowhere"),
        (["build", "--precision", "int4", "--save", "{gone}"], "int4"),
        (["build", "--save", "{gone}", "--bundle", "{file}"], "wanted both or none"),
        (["build", "--save", "{gone}", "--bundle", "{file}", "--measured", "{file}"], "wanted a bundle"),
    ],
)
def test_bad_input_is_one_line(scarlet, table_file, tmp_path, arguments, told):
    (tmp_path / "broken.json").write_text("{")
    names = {"file": table_file, "gone": tmp_path / "gone.json", "broken": tmp_path / "broken.json"}
    code, said, error = scarlet("lut", *(text.format(**names) for text in arguments))
    assert (code, said) == (2, "")
    assert told in error
    assert error.count("\n") == 1
    assert not names["gone"].exists()


def test_a_table_that_lacks_a_block_is_refused(table_file):
    content = json.loads(table_file.read_text())
    content["blocks"].popitem()
    table_file.write_text(json.dumps(content))
    with pytest.raises(TableError, match="is missing, wanted every block"):
        read_table(table_file)


@pytest.mark.slow
def test_a_bundle_is_measured_elsewhere_with_numpy_and_onnxruntime_alone(scarlet, bundle, tmp_path):
    code = "import sys; sys.modules['torch'] = sys.modules['scarlet_zoo'] = sys.modules['onnx'] = None\n"
    code += "sys.argv = sys.argv[1:]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    files = [tmp_path / f"sitting-{number}.json" for number in range(2)]
    for file in files:
        command = [sys.executable, "-c", code, bundle.folder / "latency.py", "--groups",
                   bundle.folder / "manifest.json", "--turns", "2", "--out", file]  # fmt: skip
        subprocess.run(list(map(str, command)), check=True)
    out = tmp_path / "table.json"
    measured = [option for file in files for option in ("--measured", file)]
    assert scarlet("lut", "build", "--bundle", bundle.folder, *measured, "--save", out)[0] == 0
    assert read_table(out).stamp.device == latency.cpu_model()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda row: row["conditions"].update(threads=2), "threads 2"),
        (lambda row: row["conditions"].pop("device"), "it lacks device"),
        (lambda row: row["samples_ms"].pop(), "groups of other files"),
        (lambda row: row["sha256"][0].__setitem__(0, "0" * 64), "measured other files"),
        (lambda row: row.pop("samples_ms"), "not a measured bundle"),
    ],
)
def test_sittings_that_do_not_belong_together_are_refused(bundle, sittings, tmp_path, spoil, told):
    row = json.loads(sittings[1].read_text())
    spoil(row)
    (tmp_path / "spoiled.json").write_text(json.dumps(row))
    with pytest.raises(TableError) as caught:
        build_table(bundle, [sittings[0], tmp_path / "spoiled.json"])
    assert told in str(caught.value)


def test_a_bundle_of_something_else_is_not_written_over(bundle):
    assert read_bundle(bundle.folder) == bundle
    with pytest.raises(TableError, match="another space or precision"):
        make_bundle(TINY, bundle.folder, networks=(11, 5))


@pytest.mark.slow
def test_building_goes_on_where_it_was_killed(scarlet, tmp_path):
    out = tmp_path / "t.json"
    space = tmp_path / "small.toml"
    space.write_text('name = "small"\nin_chans = 1\ninput_size = 16\nnum_classes = 4\n'
                     "stages = [[16, 2, 2], [24, 2, 2]]\n"
                     "kernel_sizes = [3]\nexpand_ratios = [3]\nmean = [0.5]\nstd = [0.5]\n")  # fmt: skip
    command = ("lut", "build", "--space", space, "--save", out, "--json", "--networks", 8, "--held-out", 4,
               "--sittings", 3)  # fmt: skip
    first = out.with_name("t.json.work") / "float32-1" / "sitting-0.json"
    with command_line(*command) as job:
        while not first.is_file():
            assert job.running, job.err
            time.sleep(0.05)
        job.kill()
    kept = first.read_bytes()
    made = {path: path.stat().st_mtime_ns for path in out.with_name("t.json.work").rglob("*.onnx")}
    assert not out.exists()
    code, printed, _ = scarlet(*command)
    assert code == 0
    assert json.loads(printed)["stamp"]["threads"] == 1
    assert first.read_bytes() == kept
    assert made == {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.slow
def test_search_takes_a_table_and_measures_its_front(scarlet, tmp_path, table_file, monkeypatch):
    monkeypatch.setattr("scarlet_zoo.nas.search.scoring.find_space", lambda text: TINY)
    common = ("search", "--space", "tiny", "--objectives", "latency,params:max", "--evaluations", 12,
              "--population", 6, "--lut", table_file, "--json")  # fmt: skip
    code, said, error = scarlet(*common, "--out", tmp_path / "a")
    assert code == 0, error
    report = json.loads(said)
    assert report["front_measured"]
    for row in report["front"]:
        low, high = row["interval_ms"]
        assert low < row["values"]["latency"] < high
        assert 0 < row["measured_ms"] < 100
    assert report["conditions"]["latency_table"]["threads"] == 1
    code, said, error = scarlet(*common, "--out", tmp_path / "b", "--threads", 2)
    assert (code, said) == (2, "")
    assert "threads 1, wanted 2" in error
    change_stamp(table_file, device="a phone")
    code, said, _ = scarlet(*common, "--out", tmp_path / "c")
    assert code == 0
    assert json.loads(said)["front_measured"] is False


def test_bundles_measured_together_are_each_what_they_are_alone(bundle, tmp_path):
    # Two bundles with the same files: what comes back for each is of its own files, in its own order.
    halves = [Bundle(bundle.folder, bundle.space, bundle.precision, groups) for groups in
              (bundle.groups[:2], bundle.groups[2:4])]  # fmt: skip
    files = measure_together(halves, tmp_path / "together", Settings(), sittings=1)
    for half, (file,) in zip(halves, files, strict=True):
        told = json.loads(file.read_text())
        assert told["sha256"] == [[file_sha256(path) for path in group] for group in half.paths]
        assert [len(times) for times in told["samples_ms"]] == [len(group) for group in half.paths]
    assert measure_together(halves, tmp_path / "together", Settings(), sittings=1) == files


def marked(table, *stable):
    """The same table, whose networks are marked in turn."""
    marks = itertools.cycle(stable)

    def networks(part):
        return part.model_copy(
            update={"networks": [row.model_copy(update={"stable": next(marks)}) for row in part.networks]}
        )

    return table.model_copy(update={"calibration": networks(table.calibration), "held_out": networks(table.held_out)})


@pytest.mark.slow
def test_the_mark_of_an_unstable_network_travels_with_the_table(scarlet, table, tmp_path):
    files = {name: tmp_path / f"{name}.json" for name in ("shaky", "calm", "old")}
    for (_, file), marks in zip(files.items(), ((True, False), (True,), (None,)), strict=True):
        marked(table, *marks).write(file)
    arch = table.held_out.networks[0].arch
    for name, stable in (("shaky", False), ("calm", True), ("old", None)):
        told = json.loads(scarlet("lut", "show", files[name], "--json")[1])
        assert told["stable"] is stable
        (row,) = json.loads(scarlet("lut", "predict", arch, "--lut", files[name], "--json")[1])
        assert row["stable"] is stable
        for verb in (("show", files[name]), ("predict", arch, "--lut", files[name])):
            assert ("measured networks varied by more than 5 %" in scarlet("lut", *verb)[1]) is (stable is False)


def test_a_network_that_varied_is_marked_when_the_table_is_built(bundle, sittings, tmp_path):
    told = [json.loads(file.read_text()) for file in sittings]
    place = next(index for index, group in enumerate(bundle.groups) if group.use == "held-out")
    for row in told:
        for group in row["samples_ms"]:
            group[:] = [[float(np.median(times))] * len(times) for times in group]
        row["samples_ms"][place][0][0] *= 100
    files = [tmp_path / f"{number}.json" for number in range(len(told))]
    for file, row in zip(files, told, strict=True):
        file.write_text(json.dumps(row))
    made = build_table(bundle, files)
    assert made.held_out.networks[0].stable is False
    assert made.stable is False


def test_one_round_has_no_halves_to_compare(bundle, sittings, tmp_path, scarlet, table):
    one = build_table(bundle, sittings[:1])
    assert one.held_out.repeat is None
    one.write(tmp_path / "one.json")
    assert read_table(tmp_path / "one.json") == one
    for file, said in ((tmp_path / "one.json", True), (early(one, tmp_path / "early.json"), True)):
        code, out, _ = scarlet("lut", "show", file)
        assert (code, "one round: not known" in out) == (0, said)
        assert json.loads(scarlet("lut", "show", file, "--json")[1])["held_out"]["repeat"] is None
    table.write(tmp_path / "several.json")
    assert "one round" not in scarlet("lut", "show", tmp_path / "several.json")[1]
    assert table.held_out.repeat.largest > 0


def early(table, path):
    """The file of a table of one round as it was written before: an error of zero, by comparing a round with itself."""
    told = json.loads(table.model_dump_json())
    told["held_out"]["repeat"] = {"mean": 0.0, "p95": 0.0, "largest": 0.0, "spearman": 1.0}
    path.write_text(json.dumps(told))
    return path


@pytest.mark.slow
def test_a_table_of_other_classes_warns_that_times_are_off(table_file):
    table = read_table(table_file)
    stamp = table.stamp
    space = replace(table.search_space, num_classes=3)
    with pytest.warns(ScarletWarning, match=r"of networks of 10 classes, and these have 3, so predicted"):
        Evaluation(space, ("latency",), threads=stamp.threads, lut=table_file)
    Evaluation(table.search_space, ("latency",), threads=stamp.threads, lut=table_file)
