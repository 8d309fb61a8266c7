"""Other runtimes: converted, verified, measured; what is missing is one clear sentence."""

import importlib.util
import json
import shutil
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, randomized

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.parity import ParityError
from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, missing_modules, runtime_of
from scarlet_zoo.deployment.runtimes.runner import OtherNetwork, description_path, read_description
from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.quantization.isa import usual_preset
from scarlet_zoo.latency import cpu_features
from scarlet_zoo.models.loading import Network
from scarlet_zoo.utils.installing import install_command

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")

INSTALLED = [name for name in RUNTIMES if not missing_modules(name)]
RUNNABLE = [name for name, entry in RUNTIMES.items() if entry.runs]


@pytest.fixture(scope="module")
def network():
    model = randomized(
        Arch.of(TINY, ["e3k3se", "e6k5", "e3k3", "e3k3", "e3k3", "e6k3se", "id", "e3k3"]), dtype=torch.float32
    )
    feed = Preprocessing((32, 32), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875)
    return Network("tiny", model, model.arch, "made for a test", "0" * 64, feed)


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """The network for a target, in a folder of its own; converted once."""
    return cache(lambda name: export_network(network, tmp_path_factory.mktemp(name), name, Recipe()))


def needs(name):
    if name not in INSTALLED:
        pytest.skip(f"{' and '.join(missing_modules(name))} not installed: {install_command(name)}")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_network_runs_on_another_runtime_as_it_does_in_torch(name, network, exported):
    needs(name)
    done = exported(name)
    assert done.parity.passed
    assert done.parity.sqnr_db > 80
    assert runtime_of(done.path) == name
    described = read_description(done.path)
    assert described.runtime == name
    assert described.shape == (1, 3, 32, 32)
    assert described.metadata["arch"] == str(network.arch)
    assert all(package in described.metadata for package in RUNTIMES[name].packages)
    images = np.random.default_rng(1).standard_normal((3, 3, 32, 32)).astype(np.float32)
    (got,) = OtherNetwork(done.path).run(images, 1)
    with torch.inference_mode():
        truth = network.model(torch.from_numpy(images)).numpy()
    assert np.abs(got - truth).max() < 1e-4 * np.abs(truth).max()
    assert not [file for file in done.path.parent.iterdir() if file.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "ncnn"])
def test_the_same_network_gives_the_same_files_again(name, network, exported, tmp_path):
    needs(name)
    one, two = (done.path.parent for done in (exported(name), export_network(network, tmp_path, name, Recipe())))
    assert {file.name: file.read_bytes() for file in one.iterdir()} == {
        file.name: file.read_bytes() for file in two.iterdir()
    }


@pytest.mark.slow
def test_a_converter_that_changes_the_function_is_caught(network, tmp_path, monkeypatch):
    from scarlet_zoo.deployment.runtimes import with_openvino

    class Wrong(with_openvino.OpenVino):
        def open(self, *given):
            run = super().open(*given)
            return lambda images: [answer * np.float32(1.01) for answer in run(images)]

    monkeypatch.setattr(with_openvino, "RUNTIME", Wrong())
    with pytest.raises(ParityError, match=r"tiny\.xml: differs"):
        export_network(network, tmp_path, "openvino", Recipe())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_bench_measures_them_beside_each_other(exported, scarlet):
    files = [exported(name).path for name in ("ort", "openvino", "ncnn")]
    code, out, err = scarlet("bench", *files, "--json", "--repeats", 0)
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [row["conditions"]["runtime"] for row in rows] == ["onnxruntime", "openvino", "ncnn"]
    assert rows[1]["conditions"]["runtime_version"].startswith("openvino 20")
    assert len({row["conditions"]["measurement"] for row in rows}) == 1
    assert all(row["load_ms"] > 0 for row in rows)


def test_doctor_says_what_works_and_how_to_get_the_rest(scarlet, monkeypatch):
    def found(module):
        return None if module == "ncnn" else real(module)

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", found)
    code, out, _ = scarlet("doctor", "--json")
    assert code == 0
    said = json.loads(out)
    rows = {row["target"]: row for row in said["targets"]}
    assert rows.keys() == TARGETS.keys()
    assert said["cpu_features"] == cpu_features()
    assert said["isa"] == usual_preset()
    assert said["int8_faster"] is rows["ort-int8"]["suits_this_processor"]
    assert rows["ort-int8"]["runs"]
    assert rows["openvino"]["runs"]
    assert rows["openvino"]["versions"]["openvino"]
    assert not rows["ncnn"]["exports"]
    assert rows["ncnn"]["remedy"] == install_command("ncnn")
    assert not rows["coreml"]["runs"]
    code, out, _ = scarlet("doctor")
    assert install_command("ncnn") in out
    assert f"int8 files for {usual_preset()}" in out


def test_a_missing_extra_is_one_sentence(scarlet, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, out, err = scarlet("export", "scarlet_mini_s", "--target", "openvino", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err == f"error: target openvino: openvino not installed, wanted: {install_command('openvino')}\n"
    assert not (tmp_path / "out").exists()


def test_core_ml_is_written_and_not_run(network, tmp_path):
    needs("coreml")
    done = export_network(network, tmp_path, "coreml", Recipe())
    assert done.parity is None
    assert (done.path / "Manifest.json").is_file()
    export_network(network, tmp_path, "coreml", Recipe())


@pytest.mark.slow
def test_a_file_without_its_description_is_refused(exported, scarlet, tmp_path):
    whole = exported("openvino").path
    path = shutil.copytree(whole.parent, tmp_path / "copy") / whole.name
    description_path(path).write_text("{}")
    with pytest.raises(ArtifactError, match="description"):
        read_description(path)
    description_path(path).unlink()
    code, _, err = scarlet("bench", path)
    assert code == 2
    assert "is not beside it" in err
    code, _, err = scarlet("bench", tmp_path / "absent.pte")
    assert code == 2
    assert "no such file" in err


# Two files of which the first one opened is dropped first, then a signal that Python handles, as the end of a child is.
OPEN_TWO = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
from scarlet_zoo.deployment.runtimes.with_openvino import RUNTIME

faulthandler.enable()
files = [RUNTIME.open(Path(sys.argv[1]), 1, "float32") for _ in range(2)]
for _ in range(2):
    del files[0]
    gc.collect()
signal.signal(signal.SIGCHLD, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGCHLD)
"""


@pytest.mark.slow
def test_a_signal_is_heard_after_files_of_openvino_were_dropped(exported):
    needs("openvino")
    command = [sys.executable, "-c", OPEN_TWO, str(exported("openvino").path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr[-500:]
