"""The smallest examples of what the fuzzing has found, one or a few of each kind."""

import json
import time
from contextlib import suppress
from pathlib import Path

import examples
import onnx
import pytest
import torch
import typer
from parsers import PARSERS

from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.cli import console, main
from scarlet_zoo.cli.options import levels_of, numbers, size_in_pixels
from scarlet_zoo.data.class_folders import Logits, match_folders
from scarlet_zoo.data.huggingface_config import from_hugging_face
from scarlet_zoo.data.manifests import read_manifest
from scarlet_zoo.errors import RecordError, ScarletError, TrainingError
from scarlet_zoo.graph.fusion_verdict import parse_limits
from scarlet_zoo.graph.load import open_graph, read_onnx
from scarlet_zoo.latency import MeasurementError, Settings, random_input, shapes_of_inputs
from scarlet_zoo.measurement.network_names import network_of_old_record
from scarlet_zoo.measurement.own_accuracies import read_accuracies
from scarlet_zoo.measurement.phone.measure import read_answer
from scarlet_zoo.measurement.phone.perf_tool import PerfTest
from scarlet_zoo.nas.ranking.ground_truth import read_rows
from scarlet_zoo.nas.search.front import choose_from, load_front
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.nas.search.objectives import Limit, Objective, shown
from scarlet_zoo.training.state import read_losses, read_state
from scarlet_zoo.utils.jobs import stored_result
from scarlet_zoo.utils.names import as_file_name, visible
from scarlet_zoo.utils.reading import MOST_HOLDERS, parse_json, parse_toml, whole_number

LONG = "9" * 5000  # int() refuses more than 4300 digits with a ValueError
TWO = "\N{SUPERSCRIPT TWO}"  # str.isdigit() is true for it, int() refuses it


@pytest.mark.parametrize("text", [LONG, "1" + "0" * 400, TWO, "\N{ARABIC-INDIC DIGIT THREE}", "-1", "1_0", "", "1.0"])
def test_a_number_of_another_form_is_refused_by_all_who_read_one(text):
    assert whole_number(text) is None
    for read in (numbers, levels_of):
        with pytest.raises(ScarletError):
            read(text)
    for given in (text, f"8x{text}"):
        with pytest.raises(typer.BadParameter):
            size_in_pixels(given)
    with pytest.raises(MeasurementError):
        shapes_of_inputs(Path("f"), [("x", ["n", 3])], [f"{text},3"])
    with pytest.raises(TrainingError):
        choose_from([], f"spread:{text}")


def test_plain_numbers_are_still_read():
    assert (numbers("0, 1"), levels_of("1,2"), size_in_pixels("96x128"), size_in_pixels(224)) == (
        (0, 1), (1, 2), (96, 128), 224)  # fmt: skip
    assert shapes_of_inputs(Path("f"), [("x", ["n", 3])], ["2, 3"]) == {"x": (2, 3)}


@pytest.mark.parametrize("text", ["[1" + "0" * 400 + "]", '"\\ud800"', '{"\\udcff": 1}'])
def test_json_that_no_float_or_file_can_hold_is_refused(text):
    with pytest.raises(ValueError, match="wanted"):
        parse_json(text)


def test_toml_has_the_same_bounds():
    with pytest.raises(ValueError, match="wanted a finite number"):
        parse_toml("a = 1" + "0" * 400)


@pytest.mark.parametrize("text", ["a." * 400_000 + "a = 1", "a = 1\n" * 200_000])
def test_toml_that_would_be_read_for_hours_is_refused_at_once(text):
    began = time.perf_counter()
    with pytest.raises(ValueError, match="more than"):
        parse_toml(text)
    assert time.perf_counter() - began < 1


def test_json_that_would_fill_the_memory_is_refused_at_once():
    with pytest.raises(ValueError, match="more than"):
        parse_json("[" + "[]," * MOST_HOLDERS + "[]]")


def a_front(tmp_path, **changes):
    path = tmp_path / "front.json"
    path.write_text(json.dumps({**examples.front(), **changes}))
    return path


@pytest.mark.parametrize("values", [{"accuracy": []}, {"accuracy": "1"}, {"accuracy": True}, [], {"macs": 1}])
def test_a_front_with_values_of_another_kind_is_refused(values, tmp_path):
    first, second = examples.front()["front"]
    with pytest.raises(TrainingError, match=r"front\.json"):
        load_front(a_front(tmp_path, front=[first, {**second, "values": values}]))


def test_a_front_without_candidates_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no candidates"):
        load_front(a_front(tmp_path, front=[]))


@pytest.mark.parametrize("read", [
    lambda path: Journal(path, {}), lambda path: read_rows(path, 1),
    lambda path: stored_result(path, {}, dict), lambda path: read_accuracies(path),
])  # fmt: skip
@pytest.mark.parametrize("content", [b"\xed\xa0\x80", b"[" * 10_000, b"a,b\n" + b'"' + b"x" * 200_000])
def test_files_that_are_no_text_or_no_table_are_refused(read, content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content + b"\n")
    with pytest.raises(ScarletError, match="file"):
        read(path)


@pytest.mark.parametrize("line", ['{"step": "x"}', '{"step": []}', "\udced", "[" * 9999])
def test_a_log_of_steps_ends_at_what_is_no_step(line, tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_bytes(f'{{"step": 0, "loss": 2.5}}\n{line}\n'.encode(errors="surrogateescape"))
    assert read_losses(path) == [2.5]
    path.write_text('{"step": 0}\n')
    with pytest.raises(TrainingError, match="without a loss"):
        read_losses(path)


@pytest.mark.parametrize("content", [[], {"run": 5}, {}, 5])
def test_a_checkpoint_of_another_form_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt"):
        read_state(tmp_path / "checkpoint.pt", {})


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_with_a_broken_byte_is_refused_whatever_its_reader_raises(tmp_path):
    raised = set()
    whole = bytearray(examples.weights("legacy"))
    for place in range(0, len(whole), 3):
        whole[place] ^= 0x10
        (tmp_path / "checkpoint.pt").write_bytes(whole)
        whole[place] ^= 0x10
        with pytest.raises(TrainingError) as caught:
            read_state(tmp_path / "checkpoint.pt", {})
        raised.add(type(caught.value.__cause__))
    assert len(raised) > 3


@pytest.mark.parametrize("text", ["score>=1e999", "macs<=1e300", "latency<=" + "9" * 400])
def test_a_bound_that_is_no_number_of_a_metric_is_refused(text):
    with pytest.raises(TrainingError):
        Limit.parse(text)
    with pytest.raises(TrainingError):
        Objective.parse("macs*" + "9" * 400)


def test_a_small_bound_is_shown():
    assert shown("loss", 1e-320) == "0"
    assert Limit.parse("loss<=1e-320").told == "loss<=0"


def test_a_limit_of_many_digits_is_refused_at_once():
    began = time.perf_counter()
    with pytest.raises(TrainingError):
        Limit.parse(f"score>={LONG * 4}x")
    assert time.perf_counter() - began < 1


def test_the_network_of_an_old_record_is_text():
    assert network_of_old_record("net.onnx", {"model": ["a"], "arch": {}, "source": 5}) == "net"


@pytest.mark.parametrize("answer", [b"", b"{", b"5", b"[]", b'[{"a": 1e999}]', b"[1]", b"[" * 9999, b"\xff"])
def test_an_answer_of_a_phone_that_is_no_list_of_records_is_refused(answer):
    with pytest.raises(RecordError, match="device S1"):
        read_answer(answer, 1, "S1")


@pytest.mark.parametrize("time_cost", ["nan", "inf", "-1", "0", "1e300"])
def test_a_time_that_no_run_takes_is_refused(time_cost):
    printed = examples.PERF_TEST.replace("0.00331", time_cost)
    with pytest.raises(RecordError, match="wanted a time"):
        PerfTest().read(printed, 1, 3, "net.onnx")


@pytest.mark.parametrize("name", ["benchmark_model", "executor_runner"])
def test_a_count_of_thousands_of_digits_is_none(name):
    text = {"benchmark_model": examples.BENCHMARK_MODEL, "executor_runner": examples.EXECUTOR_RUNNER}[name]
    for number in ("count=25", "Replacing 539", "successfully 11"):
        with suppress(RecordError):
            PARSERS[name].read(text.replace(number, number + "0" * 5000))


@pytest.mark.parametrize("lines", [LONG, f"-{LONG}", TWO, "x", "10" * 200])
def test_a_temperature_that_is_none_is_left_out(lines):
    answers = ["a", "b", "c", "d", "e", lines, f"{lines}\n35000\n"]
    PARSERS["adb"].read(answers)


def test_half_a_character_is_in_a_file_name_as_in_any_other():
    assert as_file_name("\ud800" * 200, "x") == "x"
    assert as_file_name("a" * 200 + "\ud800", "x").startswith("aaa")
    assert as_file_name("a" * 200 + "\ud800", "x") != as_file_name("a" * 200 + "\ud801", "x")


def test_an_error_is_one_line_that_a_terminal_shows_as_it_is(capsys):
    console.fail("net\x1b[31m.onnx: \u202egot " + "x" * 70_000 + "\n, wanted another", 2)
    said = capsys.readouterr().err
    assert said.startswith("error: net\\x1b[31m.onnx: \\u202egot xxx")
    assert said.endswith("xxx , wanted another\n")
    assert said.count("\n") == 1
    assert len(said) < 2000
    assert visible("Zürich 東京") == "Zürich 東京"


def test_an_input_larger_than_memory_is_refused():
    for shape in ((2**31, 2**31), (2**40,)):
        with pytest.raises(MeasurementError, match="wanted at most"):
            random_input(Path("net.onnx"), "x", "tensor(float)", shape)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_runs_out_is_a_line(error, scarlet, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr("scarlet_zoo.cli.main._parser", lambda: lambda **_: fail())
    code, _, said = scarlet("list")
    assert code == 2
    assert said.startswith("error: not enough memory: ")
    monkeypatch.setattr("scarlet_zoo.cli.main._parser", lambda: lambda **_: [][1])
    with pytest.raises(IndexError):
        main.run(["list"])


@pytest.mark.parametrize("config", [
    {"resample": []}, {"resample": {}}, {"rescale_factor": "1/2"}, {"rescale_factor": []}, {"rescale_factor": 10**400},
    {"image_mean": [10**400] * 3}, {"image_std": "x"}, {"crop_pct": {}, "size": 224},
    {"size": 10**400, "crop_size": 1, "do_center_crop": True},
])  # fmt: skip
def test_a_processor_of_hugging_face_with_other_kinds_is_refused(config):
    with pytest.raises(ScarletError, match="preprocessing: "):
        from_hugging_face({"do_normalize": True, **config})


@pytest.mark.parametrize("location", ["x" * 5000, "a\0b"])
def test_data_under_a_name_that_no_file_has_is_refused(location, tmp_path):
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [tensor])
    file = tmp_path / "m.onnx"
    file.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ScarletError, match=r"which is (no file's name|missing)"):
        open_graph(file)


def test_a_folder_of_thousands_of_digits_is_no_index(tmp_path):
    logits = Logits("net", 10, None)
    with pytest.raises(ScarletError, match="class folders"):
        match_folders(tmp_path, ["9" * 5000, "1"], ["9" * 5000, "1"], logits)


def test_a_name_with_halves_of_characters_has_a_file_name():
    assert safe_name("scarlet:\ud800").startswith("scarlet-")


@pytest.mark.parametrize("number", [LONG, TWO, ""])
def test_a_limit_of_thousands_of_digits_is_refused(number):
    with pytest.raises(ScarletError, match="wanted TOTAL=NUMBER"):
        parse_limits(f"unfused={number}")


def test_metadata_and_names_that_are_not_utf8_are_refused(tmp_path):
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["xname"], ["y"])], "g", [], [value])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"labels": "pqr"})
    for text, field in ((b"pqr", "value"), (b"xname", "input")):
        file = tmp_path / f"{field}.onnx"
        file.write_bytes(model.SerializeToString().replace(text, b"\xff" * len(text)))
        with pytest.raises(ScarletError, match=f"a {field} is not UTF-8"):
            read_onnx(file)


def test_a_name_that_is_too_long_for_a_file_is_refused():
    with pytest.raises(ScarletError, match="is no file's name, wanted the name of a "):
        get_space("x" * 5000 + ".toml")


def test_a_list_that_names_its_own_folder_has_no_parts(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("path,label\n.,a\nb.png,b\n")
    assert [row.part for row in read_manifest(file).rows] == [None, None]


def _whole_number_options(command, words=()):
    """(verb, flag) of every option of the command line that takes a whole number."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from _whole_number_options(inner, (*words, name))
    for parameter in command.params if words else ():
        kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None) or parameter.type
        if "int" in str(kind).lower() and parameter.opts[0].startswith("--"):
            yield words, parameter.opts[0]


@pytest.mark.parametrize("number", [2**31, -(2**31), 10**400])
def test_a_number_beyond_32_bits_is_refused_by_every_option(number, capsys):
    found = list(_whole_number_options(main._parser()))
    assert len(found) > 60
    for words, flag in found:
        if flag not in ("--input-size", "--option", "--affinity", "--keep-float"):
            assert main.run([*words, flag, str(number)]) == 2, (words, flag)
            error = capsys.readouterr().err
            assert error.count("\n") == 1, (words, flag, error)
            assert len(error) < 500, (words, flag)


def test_a_number_of_threads_beyond_32_bits_is_no_setting():
    for name in ("threads", "openings", "burst", "warmup"):
        with pytest.raises(MeasurementError, match=rf"measurement: got {name} = 10+, wanted less than 2\*\*31"):
            Settings(**{name: 10**60})  # type: ignore[arg-type]
