"""Files of others are read within bounds, and what they state is checked: one line, never a traceback."""

import json
import os
import tomllib
from pathlib import Path

import onnx
import pytest
import safetensors.torch
from conftest import FASHION
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import scarlet_zoo as zoo
from scarlet_zoo.data.stated import stated_counts, stated_labels
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.utils import reading
from scarlet_zoo.utils.reading import MOST_DEPTH, bounded_bytes, bounded_text, parse_json, parse_toml

DEEP = "[" * 100_000
BAD_JSON = ["{", DEEP, "[" * (MOST_DEPTH + 2) + "]" * (MOST_DEPTH + 2), "NaN", "[Infinity]", "1e999", "-1e999",
            "9" * 5000, '{"a":' * 5000, "\udc80"]  # fmt: skip


@pytest.mark.parametrize("text", BAD_JSON)
def test_json_that_harms_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_json_within_bounds_is_what_it_was():
    deepest = "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1)
    assert json.dumps(parse_json(deepest)).replace(" ", "") == deepest
    assert parse_json(b'{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}


@pytest.mark.slow
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_json_value_comes_back(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["a = inf", "a = nan", "a = [-inf]", "a = 1e999", "a = " + "[" * 5000, "a", "a = {"])
def test_toml_that_harms_is_a_decode_error(text):
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml(text)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "pipe", "folder", "missing"])
def test_what_is_no_regular_file_is_an_os_error_at_once(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"."):
        bounded_bytes(tmp_path / path)


def test_a_file_is_read_up_to_a_bound(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert bounded_text(tmp_path / "a", most=100) == "x" * 100
    with pytest.raises(ValueError, match="it is larger than"):
        bounded_bytes(tmp_path / "a", most=99)
    (tmp_path / "b").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="it is not text in UTF-8"):
        bounded_text(tmp_path / "b")


@pytest.mark.parametrize("text", ["{", "5", '{"a": 1}', "[1, 2]", '"abc"', "[null]", DEEP, "null"])
def test_labels_of_another_kind_are_said(text):
    with pytest.raises(ArtifactError, match=r"net\.onnx: labels in its metadata: got") as caught:
        stated_labels({"labels": text}, "net.onnx")
    assert len(str(caught.value)) < 200
    assert stated_labels({}, "net.onnx") is None
    assert stated_labels({"labels": '["a", "b"]'}, "net.onnx") == ("a", "b")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "\N{SUPERSCRIPT TWO}", "9" * 30, "0"])
def test_counts_of_another_kind_are_said(text):
    with pytest.raises(ArtifactError, match="in_chans in its metadata"):
        stated_counts({"in_chans": text}, "net.onnx")
    assert stated_counts({"in_chans": "3", "num_classes": "0", "x": "y"}, "n") == {"in_chans": 3, "num_classes": 0}


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "net.onnx"
    zoo.export("scarlet_mini_s", out=path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), [
    ("labels", "{"), ("labels", "5"), ("labels", DEEP), ("space", "{"), ("space", "5"), ("space", DEEP),
    ("preprocessing", "{"), ("preprocessing", "[]"), ("preprocessing", DEEP), ("preprocessing", '{"size": [1e999, 2]}'),
    ("features", "{"), ("features", '[{"level": "x"}]'), ("features", "5"), ("arch", "scarlet-mini:"), ("arch", "\n"),
    ("num_classes", "\N{SUPERSCRIPT TWO}"), ("in_chans", "-1"),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["verify", "predict"])
def test_metadata_of_another_kind_are_a_line(verb, key, value, onnx_file, tmp_path, scarlet):
    model = onnx.load(onnx_file)
    kept = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept)
    file = tmp_path / "net.onnx"
    onnx.save(model, file)
    Image.new("L", (28, 28), 200).save(tmp_path / "picture.png")
    more = (tmp_path / "picture.png",) if verb == "predict" else ()
    code, _, error = scarlet(verb, file, *more)
    assert code in (0, 1, 2)
    assert code != 2 or error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_weights_file_that_states_nonsense_is_a_line(tmp_path, scarlet):
    network = zoo.create_model("scarlet_mini_s")
    for key, value in (("labels", DEEP), ("labels", "5"), ("preprocessing", "{"), ("space", "[")):
        metadata = {
            "name": "scarlet_mini_s",
            "arch": str(network.arch),
            "space": network.arch.space.to_json(),
            key: value,
        }
        safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors", metadata)
        code, _, error = scarlet("export", tmp_path / "w.safetensors", "--out", tmp_path / "out")
        assert (code, error.count("\n")) == (2, 1), error


@pytest.mark.parametrize("kind", ["pipe", "zero", "deep", "utf"])
@pytest.mark.parametrize(("verb", "named"), [
    (("derive", "{file}"), None), (("lut", "predict", "scarlet_mini_s", "--lut", "{file}"), None),
    (("compare", "{file}"), None), (("train", "scarlet_mini_s", "--data", "{file}"), ".json"),
    (("supernet", "train", "--space", "{file}", "--data", "fashion-mnist", "--data-dir", str(FASHION)), ".toml"),
    (("export", "scarlet_mini_s", "--labels", "{file}"), ".json"),
])  # fmt: skip
def test_files_that_harm_are_refused_at_once(kind, verb, named, scarlet, tmp_path):
    file = tmp_path / f"x{named or '.json'}"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    else:
        file.write_bytes(DEEP.encode() if kind == "deep" else b"\xff\xfe\xfa[")
    code, out, error = scarlet(*(str(word).format(file=file) for word in verb), "--out", tmp_path / "out")
    assert (code, out) == (2, ""), error
    assert error.count("\n") == 1
    assert str(file) in error or "--out" in error


def test_the_bound_of_a_file_is_large_enough_for_our_own():
    own = Path(__file__).parents[1] / "benchmarks" / "results"
    assert max(path.stat().st_size for path in own.glob("*.json*")) < reading.MOST_BYTES / 10
