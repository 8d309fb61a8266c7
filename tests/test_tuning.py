"""The fastest form by measurement, halves for weights, and what each layer loses in integers."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from conftest import FEW_LAYERS, TINY, images_for, randomized
from lab_parts import record

from scarlet_zoo import export_onnx, verify
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment import tune as tune_module
from scarlet_zoo.deployment.parity import FLOAT32, ParityError
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.deployment.tune import tune
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.graph.passes.lower import FORMS
from scarlet_zoo.graph.quantization.sensitivity import sensitivities
from scarlet_zoo.latency import Timing

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")

ARCH = Arch.of(TINY, ["e3k3se", "e6k5", "e3k3", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"])


@pytest.fixture(scope="module")
def network():
    return randomized(ARCH, dtype=torch.float32)


@pytest.fixture(scope="module")
def few():
    return randomized(FEW_LAYERS, dtype=torch.float32)


@pytest.mark.slow
def test_tuning_keeps_the_fastest_that_verifies_and_the_whole_table(scarlet, tmp_path):
    code, out, err = scarlet("export", "scarlet_mini_s", "--tune", "--out", tmp_path, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    rows = {row["form"]: row for row in said["tuning"]}
    assert rows.keys() == FORMS.keys()
    assert all(row["verified"] and row["record"]["runs"] >= 10 for row in rows.values())
    (kept,) = (row for row in rows.values() if row["chosen"])
    assert kept["form"] == said["form"]
    assert kept["ratio"] == 1 == min(row["ratio"] for row in rows.values() if row["candidate"])
    assert {file.name for file in tmp_path.iterdir()} == {"scarlet_mini_s.onnx", "scarlet_mini_s.tuning.json"}
    assert json.loads((tmp_path / "scarlet_mini_s.tuning.json").read_text()) == said["tuning"]
    code, _, err = scarlet("export", "scarlet_mini_s", "--tune", "--target", "ncnn", "--out", tmp_path)
    assert code == 2
    assert "got ncnn in float32, wanted ONNX Runtime in float32" in err


@pytest.fixture(scope="module")
def made(network, tmp_path_factory):
    """The network's file in each graph variant, and how it compares."""
    folder = tmp_path_factory.mktemp("forms")
    files = {form: export_onnx(network, folder / f"{form}.onnx", Recipe(form=form)) for form in FORMS}
    return {form: (artifact.path, verify(network, artifact)) for form, artifact in files.items()}


@pytest.mark.slow
def test_a_form_that_does_not_verify_is_never_kept(made, tmp_path):
    def make(form, path):
        file, parity = made[form]
        shutil.copyfile(file, path)
        if form in broken:
            raise ParityError(path, parity)
        return parity

    broken = {"native", "blocked", "released"}
    tuning = tune(make, tmp_path / "m.onnx")
    assert tuning.artifact.form == "friendly"
    assert [row.verified for row in tuning.table] == [row.form == "friendly" for row in tuning.table]
    broken ^= {"friendly", "released"}
    with pytest.raises(CheckFailedError, match="none of the graph variants"):
        tune(make, tmp_path / "n.onnx")
    assert not (tmp_path / "n.onnx").exists()


@pytest.mark.slow
def test_the_released_form_is_a_baseline_and_never_kept(made, tmp_path, monkeypatch):
    def faster_when_released(files, settings, progress):
        assert [file.stem for file in files] == list(FORMS)
        speeds = {"released": 1.0, "native": 3.0, "blocked": 2.0, "friendly": 4.0}
        return [
            Timing(**record(speeds[file.stem] + 1e-3 * np.arange(100)), opening_of_sample=[0] * 100) for file in files
        ]

    def make(form, path):
        file, parity = made[form]
        shutil.copyfile(file, path)
        return parity

    monkeypatch.setattr(tune_module, "measure", faster_when_released)
    tuning = tune(make, tmp_path / "m.onnx")
    assert tuning.artifact.form == "blocked"
    rows = {row.form: row for row in tuning.table}
    assert [form for form, row in rows.items() if row.chosen] == ["blocked"]
    assert [form for form, row in rows.items() if not row.candidate] == ["released"]
    assert rows["released"].verified
    assert rows["released"].ratio < rows["blocked"].ratio == 1


@pytest.mark.slow
def test_halves_halve_the_file_and_say_what_they_cost(scarlet, tmp_path):
    assert scarlet("export", "scarlet_c", "--input-size", 64, "--out", tmp_path / "whole")[0] == 0
    code, out, _ = scarlet(
        "export", "scarlet_c", "--input-size", 64, "--float16-weights", "--out", tmp_path / "halves", "--json"
    )
    assert code == 0
    said = json.loads(out)
    assert said["precision"] == "float16 weights"
    assert 30 < said["parity"]["sqnr_db"] < FLOAT32.min_sqnr_db
    whole, halves = ((tmp_path / name / "scarlet_c.onnx").stat().st_size for name in ("whole", "halves"))
    assert halves < 0.52 * whole
    kinds = {t.data_type for t in onnx.load(said["path"]).graph.initializer if len(t.dims) == 4}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert scarlet("verify", said["path"])[0] == 0


@pytest.mark.slow
def test_the_layer_that_loses_most_comes_first(few, tmp_path):
    source = export_onnx(few, tmp_path / "m.onnx")
    images = images_for(few, 8).float().numpy()
    rows = sensitivities(source.path, images)
    assert len(rows) == sum(node.op_type in ("Conv", "Gemm") for node in onnx.load(source.path).graph.node)
    losses = [row.sqnr_db for row in rows]
    assert losses == sorted(losses)
    assert losses[0] > 10


@pytest.mark.slow
def test_sensitivity_leaves_its_table_and_its_plot(few, scarlet, tmp_path):
    source = export_onnx(few, tmp_path / "m.onnx")
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, photo in enumerate(photos(8)):
        photo.resize((32, 32)).save(folder / f"{index}.png")
    out = tmp_path / "out"
    code, said, err = scarlet("sensitivity", source.path, "--calibration", folder, "--out", out, "--json")
    assert (code, err) == (0, "")
    assert json.loads(said) == json.loads((out / "sensitivity.json").read_text())
    assert (out / "sensitivity.png").read_bytes()[:4] == b"\x89PNG"
    assert np.isfinite([row["sqnr_db"] for row in json.loads(said)]).all()
