"""Names of files and folders that are not UTF-8: JSON stays valid, tables and errors print, files are read."""

import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import FEW
from PIL import Image

import scarlet_zoo as zoo
from scarlet_zoo.data.labels import labels_of
from scarlet_zoo.graph.load import loadable
from scarlet_zoo.models.supernet import Supernet, load_supernet, save_supernet
from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors, save_weights
from scarlet_zoo.utils.files import in_text, json_text, write_text
from scarlet_zoo.utils.names import in_utf8

ODD = os.fsdecode(b"odd\xff\xfe")  # a name that is not UTF-8
SHOWN = "odd\\xff\\xfe"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")


@pytest.mark.parametrize(("text", "written"), [
    ("plain", "plain"), ("größe \N{PILE OF POO}", "größe \N{PILE OF POO}"), (ODD, SHOWN), ("\ud800", "\\ud800"),
    ("é\udcff", "é\\xff"),
])  # fmt: skip
def test_text_that_utf8_cannot_write_has_escapes(text, written, tmp_path):
    assert in_utf8(text) == written
    assert json.loads(json_text({text: [text, tmp_path / text]}).encode()) == {
        written: [written, str(tmp_path / written)]
    }
    write_text(tmp_path / "t", text)
    assert (tmp_path / "t").read_text(encoding="utf-8") == written
    assert labels_of([text], 1, "x") == (written,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images, weights and an ONNX file, all of whose names are odd."""
    folder = tmp_path_factory.mktemp("names") / ODD
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for name in (ODD, "b"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(pixels + number).save(folder / "data" / name / f"{ODD}{number}.png")
    model = zoo.create_model("scarlet_mini_s")
    save_weights(model, folder / f"{ODD}.safetensors", {"name": "scarlet_mini_s"})
    torch.save(model.state_dict(), folder / f"{ODD}.pth")
    zoo.export(model.eval(), out=folder)
    shutil.move(next(folder.glob("*.onnx")), folder / f"{ODD}.onnx")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("verb", [
    ("data", "check", "{folder}/data"), ("verify", "{odd}.onnx", "{odd}.onnx", "--preprocessing", "imagenet"),
    ("predict", "scarlet_mini_s", "{folder}/data/b/" + ODD + "0.png"), ("inspect", "{odd}.onnx"),
    ("optimize", "{odd}.onnx", "--out", "{folder}/out"), ("bench", "{odd}.onnx"), ("show", "{odd}.safetensors"),
    ("export", "{odd}.safetensors", "--out", "{folder}/out"),
    ("export", "scarlet_mini_s", "--weights", "{odd}.pth", "--out", "{folder}/out"),
])  # fmt: skip
@pytest.mark.parametrize("as_json", [True, False])
def test_verbs_print_such_names(verb, as_json, folder, monkeypatch, brief_measurements):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict"))
    words = [word.format(folder=folder, odd=folder / ODD) for word in verb]
    with pytest.raises(SystemExit) as caught:
        zoo_main(words + (["--json"] if as_json else []))
    sys.stdout.flush()
    sys.stderr.flush()
    out, error = (stream.buffer.getvalue().decode("utf-8") for stream in (sys.stdout, sys.stderr))
    assert caught.value.code == 0, error
    if as_json:
        assert json.loads(out)


def zoo_main(words):
    from scarlet_zoo.cli.main import main

    main(words)


@pytest.mark.parametrize("words", [
    ("verify", "{odd}.none.onnx"), ("show", ODD), ("search", "--space", "{odd}.toml", "--out", "{odd}.out"),
    ("export", "{odd}.none.safetensors"), ("validate", "scarlet_mini_s", "{odd}.none"),
    ("derive", "{odd}.none.json", "--out", "{odd}.out"), ("verify", "\x1b[31m\u202e.onnx"),
])  # fmt: skip
def test_errors_print_such_names(words, folder, scarlet):
    code, out, error = scarlet(*(word.format(odd=folder / ODD) for word in words))
    assert (code, out, error.count("\n")) == (2, "", 1)
    error.encode("utf-8")
    assert not {"\x1b", "\u202e"} & set(error)


def test_files_of_such_names_are_read(folder, tmp_path):
    path = folder / f"{ODD}.safetensors"
    assert read_metadata(path)["name"] == "scarlet_mini_s"
    assert read_tensors(path).state.keys() == read_tensors(folder / f"{ODD}.pth").state.keys()
    save_supernet(Supernet(FEW), folder / f"{ODD}-net.safetensors", {"data": str(folder)})
    _, metadata = load_supernet(folder / f"{ODD}-net.safetensors")
    assert metadata["data"] == in_utf8(str(folder))
    with in_text(path) as named:
        assert safetensors.torch.load_file(named)
    with loadable(folder / f"{ODD}.onnx") as found:
        assert found.name == f"{SHOWN}.onnx"


def test_a_terminal_that_lacks_letters_gets_escapes(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict"))
    with pytest.raises(SystemExit) as caught:
        zoo_main(["show", "grün"])
    sys.stderr.flush()
    assert caught.value.code == 2
    assert b"gr\\xfcn" in sys.stderr.buffer.getvalue()
