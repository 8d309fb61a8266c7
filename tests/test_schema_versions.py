"""Files of version 0.1.0 are read, files say which schema they have, and those of newer versions are refused."""

import json
import shutil
import tomllib

import onnx
import pytest
import safetensors.torch
import torch
from conftest import ROOT

from scarlet_zoo import latency
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.inference.load import load
from scarlet_zoo.measurement.lut.table import read_table
from scarlet_zoo.measurement.records import read_records, write_records
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.models.weights.cards import read_card
from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors, save_state
from scarlet_zoo.nas.search.front import load_front
from scarlet_zoo.nas.search.journal import Journal
from scarlet_zoo.training.run import read_run
from scarlet_zoo.training.state import read_losses, read_state
from scarlet_zoo.utils.schema_versions import METADATA_KEY, SCHEMA_KEY, SCHEMAS, refuse_newer

KEPT = ROOT / "tests" / "data" / "v0_1_0"
CARD = "scarlet_mini_s.fashion_mnist.toml"
RUN = ("--data", "pictures", "--threads", 1)  # where the tests run
NET = "kept:e3k3-id-e2k3"


def conditions():
    return json.loads((KEPT / "search" / "evaluations.jsonl").read_text().splitlines()[0])["conditions"]


def test_what_0_1_0_measured_and_described_is_read():
    (record,) = read_records(KEPT / "record.json")
    assert record.network.startswith("kept")
    assert record.schema_version == 1
    table = read_table(KEPT / "table.json")
    assert table.search_space.name == "kept"
    assert table.predict([row.arch for row in load_front(KEPT / "search" / "front.json").candidates]).min() > 0
    assert read_card(KEPT / CARD).measured.test_top1_percent == 93.62


def test_what_0_1_0_trained_and_exported_computes():
    supernet, metadata = load_supernet(KEPT / "supernet" / "supernet.safetensors")
    assert supernet.space.name == "kept"
    assert METADATA_KEY not in metadata
    file, network = load(KEPT / "network.onnx"), load(str(KEPT / "network" / "model.safetensors"))
    images = torch.rand(2, 1, 8, 8).numpy()
    assert torch.allclose(torch.as_tensor(file.logits(images)), torch.as_tensor(network.logits(images)), atol=1e-5)
    artifact = read_artifact(KEPT / "network.onnx")
    assert (str(artifact.arch), len(artifact.labels)) == (NET, 2)
    assert read_run(KEPT / "network")["arch"] == NET


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A copy of the files in the working folder, because a run knows its images by their folder's name."""
    shutil.copytree(KEPT, tmp_path / "kept")
    monkeypatch.chdir(tmp_path / "kept")
    return tmp_path / "kept"


def test_a_run_that_0_1_0_began_goes_on(scarlet, kept):
    more = ("--validation", 4, "--batch-size", 4, "--epochs", 1, "--layers", "torch", "--strategy", "spos", "--skip",
            "identity", "--space", "space.toml", "--checkpoint-every", 1)  # fmt: skip
    code, _, err = scarlet("supernet", "train", *RUN, *more, "--out", "begun")
    assert code == 0, err
    losses = read_losses(kept / "begun" / "steps.jsonl")
    assert losses == pytest.approx(read_losses(KEPT / "supernet" / "steps.jsonl"), rel=1e-4)
    assert (KEPT / "begun" / "steps.jsonl").read_text() in (kept / "begun" / "steps.jsonl").read_text()
    assert read_run(kept / "begun")[SCHEMA_KEY] == SCHEMAS["run report"]
    assert read_state(kept / "begun" / "checkpoint.pt", {})[SCHEMA_KEY] == SCHEMAS["checkpoint"]
    assert read_metadata(kept / "begun" / "supernet.safetensors")[METADATA_KEY] == str(SCHEMAS["weights file"])


def test_a_search_of_0_1_0_evaluates_nothing_again(scarlet, kept):
    code, _, err = scarlet(
        "search", "--supernet", "supernet/supernet.safetensors", *RUN, "--validation-images", 4, "--bn-images", 8,
        "--objectives", "accuracy,macs", "--evaluations", 4, "--population", 2, "--out", "search",
    )  # fmt: skip
    assert code == 0, err
    journal = "search/evaluations.jsonl"
    assert (kept / journal).read_bytes() == (KEPT / journal).read_bytes()
    before, after = (json.loads((folder / "search" / "front.json").read_text()) for folder in (KEPT, kept))
    assert after.pop(SCHEMA_KEY) == SCHEMAS["front"]
    noise = (after.pop("validation_pictures"), after.pop("accuracy_noise"))
    assert (noise[0], 0 < noise[1] < 100) == (4, True)
    assert after == before


def test_the_file_that_measures_alone_states_the_same_version_of_a_record():
    assert SCHEMAS["record"] == latency.RECORD_SCHEMA


def as_json(path, source, key=SCHEMA_KEY):
    content = json.loads(source.read_text())
    (content[0] if isinstance(content, list) else content)[key] = SCHEMAS["record"] + 1
    path.write_text(json.dumps(content))


def as_journal(path):
    path.write_text(json.dumps({SCHEMA_KEY: SCHEMAS["journal"] + 1, "conditions": conditions()}) + "\n")


def as_checkpoint(path):
    torch.save({SCHEMA_KEY: SCHEMAS["checkpoint"] + 1, "run": {}}, path)


def as_weights(path, source):
    state, metadata = safetensors.torch.load_file(source), read_metadata(source)
    newer = {**metadata, METADATA_KEY: str(SCHEMAS["weights file"] + 1)}
    safetensors.torch.save_file(state, path, metadata=newer)


def as_onnx(path):
    model = onnx.load(KEPT / "network.onnx")
    onnx.helper.set_model_props(model, {METADATA_KEY: str(SCHEMAS["exported file"] + 1)})
    onnx.save(model, path)


def as_card(path):
    path.write_text(f"{SCHEMA_KEY} = {SCHEMAS['weights card'] + 1}\nnew = 1\n{(KEPT / CARD).read_text()}")


WEIGHTS, SUPERNET = KEPT / "network" / "model.safetensors", KEPT / "supernet" / "supernet.safetensors"
NEWER = [
    ("record", "record.json", lambda path: as_json(path, KEPT / "record.json"), read_records),
    ("latency table", "table.json", lambda path: as_json(path, KEPT / "table.json", "format"), read_table),
    ("front", "front.json", lambda path: as_json(path, KEPT / "search" / "front.json"), load_front),
    ("run report", "run.json", lambda path: as_json(path, KEPT / "network" / "run.json"),
     lambda path: read_run(path.parent)),
    ("journal", "evaluations.jsonl", as_journal, lambda path: Journal(path, conditions())),
    ("checkpoint", "checkpoint.pt", as_checkpoint, lambda path: read_state(path, {})),
    ("weights file", "w.safetensors", lambda path: as_weights(path, WEIGHTS), read_metadata),
    ("weights file", "w.pth", lambda path: as_weights(path, WEIGHTS), read_tensors),
    ("weights file", "s.safetensors", lambda path: as_weights(path, SUPERNET), load_supernet),
    ("exported file", "network.onnx", as_onnx, read_artifact),
    ("weights card", CARD, as_card, read_card),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "write", "read"), NEWER, ids=[f"{row[0]}-{row[1]}" for row in NEWER])
def test_a_file_of_a_newer_version_is_refused_in_one_line(tmp_path, kind, name, write, read):
    path = tmp_path / name
    write(path)
    before = path.read_bytes()
    with pytest.raises(ScarletError) as caught:
        read(path)
    said = f"got version 2 of the schema of a {kind}, wanted 1 or less: a newer scarlet-zoo wrote it"
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_every_kind_is_refused_and_the_command_line_says_so(tmp_path, scarlet):
    assert {row[0] for row in NEWER} == set(SCHEMAS)
    as_json(tmp_path / "record.json", KEPT / "record.json")
    code, out, err = scarlet("compare", tmp_path / "record.json", KEPT / "record.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a newer scarlet-zoo wrote it" in err


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "", "1.0", "²", "9" * 40, None, [1]])
def test_what_is_no_version_is_refused(value):
    with pytest.raises(ScarletError, match=r"file: got schema_version .*, wanted a whole number from 1 to 1"):
        refuse_newer("record", {SCHEMA_KEY: value}, "file")


def test_what_is_written_states_its_version(tmp_path):
    write_records(tmp_path / "record.json", read_records(KEPT / "record.json"))
    assert json.loads((tmp_path / "record.json").read_text())[0][SCHEMA_KEY] == 1
    Journal(tmp_path / "journal.jsonl", {}).close()
    assert json.loads((tmp_path / "journal.jsonl").read_text())[SCHEMA_KEY] == 1
    read_table(KEPT / "table.json").write(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())["format"] == 1
    save_state({}, tmp_path / "w.safetensors", {METADATA_KEY: "0"})  # such as the metadata of an older file
    assert read_metadata(tmp_path / "w.safetensors")[METADATA_KEY] == "1"
    assert SCHEMA_KEY not in tomllib.loads((KEPT / CARD).read_text())
