"""What records of measurements say of themselves: their settings, their stability, their numbers and their faults."""

import json
import re
from typing import Any

import numpy as np
import pytest
from lab_parts import CONDITIONS, record

from scarlet_zoo.errors import RecordError
from scarlet_zoo.latency import CPU, Settings
from scarlet_zoo.measurement.record_folder import Results, file_name
from scarlet_zoo.measurement.records import (
    check_record,
    read_json,
    read_records,
    record_text,
    unstable_words,
    write_records,
)

FLAT, SHAKY = np.ones(20), np.asarray([1.0, 2.0] * 10)


@pytest.mark.parametrize(("name", "off", "fits"), [
    ("p50_ms", 1 + 9e-7, True), ("p90_ms", 1 - 9e-7, True), ("p50_ms", 1 + 2e-6, False), ("p99_ms", 1 - 2e-6, False),
    ("min_ms", 1.1, False), ("cv", 1.01, False)])  # fmt: skip
def test_a_number_may_differ_from_its_samples_by_rounding_alone(name, off, fits):
    content = record(SHAKY)
    told = {**content, name: content[name] * off}
    if fits:
        assert getattr(check_record(told), name) == told[name]
        return
    words = re.escape(f"r: whole: {name} is {told[name]}, its samples give {content[name]}; wanted a record of bench")
    with pytest.raises(RecordError, match=f"^{words}$"):
        check_record(told, "r")


@pytest.mark.parametrize(("samples", "fits"), [(10, True), (9, False)])
def test_two_bursts_are_the_least(samples, fits):
    content = record(np.ones(samples), runs=samples)
    if fits:
        assert check_record(content).runs == 10
    else:
        with pytest.raises(RecordError, match=r"^record: whole: 9 samples, wanted two bursts of 5 or more; wanted a"):
            check_record(content)


@pytest.mark.parametrize(("field", "value", "said"), [
    ("file", "", "file: got '', "), ("load_ms", 0, "load_ms: got 0, "), ("load_ms", 1.1e12, "load_ms: got 11"),
    ("first_ms", -1.0, "first_ms: got -1.0, "), ("peak_rss_bytes", 0, "peak_rss_bytes: got 0, "),
    ("peak_rss_bytes", 2**60 + 1, "peak_rss_bytes: got 1152921504606846977, "), ("cv", -0.1, "cv: got -0.1, "),
    ("schema_version", 99, "schema"), ("attempts", [{"p50_ms": 1.0, "cv": -1.0}], "attempts.0.cv: got -1.0, "),
    ("attempts", [{"p50_ms": 1.0, "cv": 0.1, "x": 1}], "attempts.0.x: got 1, "),
    ("samples_ms", "x" * 60, "got '" + "x" * 36 + "..., ")])  # fmt: skip
def test_a_value_out_of_bounds_is_named_with_what_was_got(field, value, said):
    with pytest.raises(RecordError, match=rf"^here: .*{re.escape(said)}"):
        check_record({**record(FLAT), field: value}, "here")


@pytest.mark.parametrize(("field", "value"), [
    ("cores", 0), ("device", ""), ("system", ""), ("threads", 0), ("seconds", 0.0), ("frame_ms", 0.0), ("opset", 0),
    ("openings", 0), ("processes", 0), ("warmup", 10**12 + 1), ("sha256", "0" * 63), ("sha256", "G" + "0" * 63),
    ("input_shape", {"x": [0]}), ("before", {"load_average": 0.1}), ("after", None), ("provider", ""),
    ("provider_nodes", {"CPU": 0}), ("machine", ""), ("runtime", ""), ("runtime_version", ""), ("date", ""),
    ("measurement", "")])  # fmt: skip
def test_a_condition_out_of_bounds_is_named(field, value):
    with pytest.raises(RecordError, match=rf"^record: conditions\.{field}"):
        check_record(record(FLAT, **{field: value}))


def test_what_is_no_record_at_all_is_said():
    with pytest.raises(RecordError, match=r"^record: whole: "):
        check_record(None)
    with pytest.raises(RecordError, match=r"mode 'warm', wanted one of hot"):
        check_record(record(FLAT, mode="warm"))
    with pytest.raises(RecordError, match=r"^record: whole: opening_of_sample has 1 values for 20 samples; wanted"):
        check_record({**record(FLAT), "opening_of_sample": [0]})


def test_the_reader_says_whether_an_old_record_is_stable():
    assert check_record(record(FLAT)).stable is True
    assert check_record(record(SHAKY)).stable is False
    assert check_record({**record(SHAKY), "stable": True}).stable is True
    assert check_record({**record(FLAT), "stable": False}).stable is False
    assert check_record({**record(FLAT), "network": "n"}).network == "n"
    assert check_record({**record(FLAT), "file": "scarlet_a.onnx"}).network != ""


def test_unstable_measurements_are_named_with_their_spread():
    shaky = [check_record({**record(SHAKY), "file": name}) for name in ("a", "b")]
    assert unstable_words([*shaky, check_record(record(FLAT))]) == "a varied by 33.3%, b varied by 33.3%"
    assert unstable_words([check_record(record(FLAT))]) == ""
    unknown = shaky[0].model_copy(update={"stable": None})
    assert unstable_words([unknown]) == ""


def test_settings_are_those_of_the_measurement():
    told: dict[str, Any] = {
        "mode": "camera", "threads": 2, "warmup": 7, "runs": 150, "seconds": 2.5, "burst": 4, "openings": 3,
        "spin": False, "frame_ms": 40.0, "affinity": [1, 3], "shapes": ["x=1,3,8,8"], "provider": CPU,
    }  # fmt: skip
    got = check_record(record(FLAT, **told)).settings
    assert got == Settings(**{**told, "affinity": (1, 3), "shapes": ("x=1,3,8,8",)})
    still = check_record(record(FLAT, frame_ms=None, affinity=None, provider=CPU)).settings
    assert (still.affinity, still.frame_ms, still.shapes) == (None, Settings().frame_ms, ())
    other = check_record(record(FLAT, runtime="ncnn", provider="anything")).settings
    assert other.provider == CPU


def test_a_record_keeps_its_conditions_and_drops_what_is_unknown():
    made = check_record({**record(FLAT), "peak_rss_bytes": None}).to_dict()
    assert "peak_rss_bytes" not in made
    assert "attempts" not in made
    assert made["conditions"]["governor"] is None
    assert made["conditions"]["cpu_features"] == ["avx2"]
    assert json.loads(record_text({"a": 1})) == {"a": 1}
    assert check_record({**record(FLAT), "conditions": {**CONDITIONS, "battery": 5}}).conditions.model_extra


def test_a_file_of_records_is_one_list(tmp_path):
    one = record(FLAT)
    write_records(tmp_path / "two.json", [one, check_record({**one, "file": "g"})])
    assert [item["file"] for item in json.loads((tmp_path / "two.json").read_text())] == ["f", "g"]
    assert [item.file for item in read_records(tmp_path / "two.json")] == ["f", "g"]
    (tmp_path / "one.json").write_text(json.dumps(one))
    assert len(read_records(tmp_path / "one.json")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "has no records, wanted a file of bench --save"),
        ("{", "not JSON, wanted a file of bench --save"),
        ("[1]", "record 0: whole: "),
        (None, "cannot be read: No such file or directory, wanted a file of bench --save"),
    ],
)
def test_a_file_without_records_is_told_with_its_path(tmp_path, content, said):
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=rf"^{re.escape(str(path))}(: |, ){re.escape(said)}"):
        read_records(path)
    if content == "{":
        with pytest.raises(RecordError, match=rf"^{re.escape(str(path))}: not JSON, wanted a thing$"):
            read_json(path, "a thing")


def test_the_second_wrong_record_of_a_file_is_counted(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps([record(FLAT), {**record(FLAT), "cv": -1}]))
    with pytest.raises(RecordError, match=r"r\.json, record 1: cv: got -1"):
        read_records(tmp_path / "r.json")


def test_pages_of_one_name_are_numbered_and_keep_their_number(tmp_path):
    results = Results(tmp_path / "new" / "folder")
    assert [results.name_of(client, "phone") for client in "abcab"] == [
        "phone",
        "phone 2",
        "phone 3",
        "phone",
        "phone 2",
    ]
    assert results.file_of("a/b c") == tmp_path / "new" / "folder" / "a-b-c.json"
    assert (file_name("Pixel 8"), file_name("..")) == ("Pixel-8", "device")


def test_what_was_received_is_kept_in_order_and_read_again_where_another_wrote(tmp_path):
    results = Results(tmp_path)
    first, second = (check_record({**record(FLAT), "file": name}) for name in ("one", "two"))
    assert results.add(first) == results.add(second) == tmp_path / "d.json"
    assert results.received == [first, second]
    write_records(tmp_path / "d.json", [first])  # another program
    results.add(second)
    assert [row.file for row in read_records(tmp_path / "d.json")] == ["one", "two"]


def test_a_record_in_one_line_says_where_it_is_unstable():
    assert check_record(record(FLAT)).summary() == "1.000 ms (90 % of 20 runs within 1.000 ms)"
    assert check_record(record(SHAKY)).summary().endswith("2.000 ms), UNSTABLE: its runs vary by 33%")
