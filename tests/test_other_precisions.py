"""fp16, bf16 and int8 files of the other runtimes: written by their own tools, verified, and taken by every verb."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from test_half import FEED, Gated

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.export import export
from scarlet_zoo.deployment.judged_integers import judge_integers
from scarlet_zoo.deployment.parity import ParityError
from scarlet_zoo.deployment.runtimes.registry import RUNTIMES, MissingRuntimeError, get_runtime, missing_modules
from scarlet_zoo.deployment.runtimes.runner import OtherNetwork, read_description
from scarlet_zoo.deployment.targets import TARGETS
from scarlet_zoo.errors import CheckFailedError, ExportError
from scarlet_zoo.graph.quantization.quantize import set_aside
from scarlet_zoo.inference.load import load
from scarlet_zoo.utils.installing import install_command

pytestmark = pytest.mark.usefixtures("brief_measurements")
OTHERS = [name for name, target in TARGETS.items() if target.runtime != "ort" and target.precision != "float32"]
# The least SQNR on photographs that a small network of somebody's gave, with room: dB.
LEAST = {"float16": 35, "bfloat16": 15, "int8": 4}


def calibration():
    return FEED.batch(photos(40))


@pytest.fixture(scope="module")
def gated():
    torch.manual_seed(0)
    return Gated()


@pytest.fixture(scope="module")
def exported(gated, tmp_path_factory):
    """The network for a target, in a folder of its own; converted once."""

    def make(name):
        target = TARGETS[name]
        if missing := missing_modules(target.runtime, target.precision):
            pytest.skip(f"{' and '.join(missing)} not installed: {install_command(target.runtime)}")
        images = calibration() if target.precision == "int8" else None
        return export(gated, out=tmp_path_factory.mktemp(name), target=name, name="gated", preprocessing=FEED,
                      calibration=images)  # fmt: skip

    return cache(make)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_each_precision_is_verified_and_runs(name, gated, exported):
    done, precision, runtime = exported(name), TARGETS[name].precision, TARGETS[name].runtime
    described = read_description(done.path)
    assert described.precision == done.described["precision"] == precision
    assert done.described["computes_in"]
    assert all(package in described.metadata for package in RUNTIMES[runtime].packages)
    if precision == "int8":
        assert RUNTIMES[runtime].more["int8"][0] in described.metadata
    if precision == "float16":
        assert done.described["float16"]["largest"] < 100
    if not RUNTIMES[runtime].runs:
        assert done.parity is None
        return
    assert done.parity.passed
    assert done.parity.sqnr_db > LEAST[precision]
    assert done.parity.tolerance == RUNTIMES[runtime].tolerance_for(precision)
    images = calibration()[:4]
    with torch.inference_mode():
        truth = gated(torch.from_numpy(images)).numpy()
    (got,) = OtherNetwork(done.path).run(images, 1)
    assert np.array_equal(load(done.path).run(images, 1), got)
    assert 0 < np.abs(got - truth).max() < 0.3 * np.abs(truth).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OTHERS if TARGETS[name].precision == "int8"])
def test_integers_are_judged_on_images_that_calibration_did_not_use(name, gated, exported):
    done = exported(name)
    assert (done.judged.judged_on, done.judged.images, done.judged.calibrated_on) == ("held-out", 10, 30)
    used, judged = set_aside(calibration())
    again = judge_integers(gated, OtherNetwork(done.path), used, judged)
    assert again == done.judged
    assert again.sqnr_db > 15
    assert done.to_dict()["sqnr_db"] == again.sqnr_db
    torch.manual_seed(1)
    assert judge_integers(Gated(), OtherNetwork(done.path), used, judged).sqnr_db < 5


@pytest.mark.slow
def test_every_verb_takes_them_beside_an_onnx_file(exported, scarlet, tmp_path):
    folders = tmp_path / "images"
    for place, photo in enumerate(photos(10)):
        (folders / f"class{place % 5}").mkdir(parents=True, exist_ok=True)
        photo.resize((32, 32)).save(folders / f"class{place % 5}" / f"{place}.png")
    here = [name for name in OTHERS if not missing_modules(TARGETS[name].runtime, TARGETS[name].precision)
            and RUNTIMES[TARGETS[name].runtime].runs]  # fmt: skip
    if not here:
        pytest.skip("no other runtime is installed")
    files = [exported(name).path for name in here]
    code, out, err = scarlet("bench", *files, "--json", "--repeats", 0)
    assert code == 0, err
    records = json.loads(out)
    assert [row["conditions"]["precision"] for row in records] == [TARGETS[name].precision for name in here]
    (tmp_path / "records.json").write_text(out)
    for path in files:
        code, out, err = scarlet("validate", path, folders, "--class-folders", "sorted", "--json")
        assert code == 0, err
        assert json.loads(out)["images"] == 10
        code, out, err = scarlet("predict", path, next(folders.rglob("*.png")), "--json")
        assert code == 0, err
    if len(files) > 1:
        code, out, err = scarlet("compare", tmp_path / "records.json", "--json")
        assert code == 0, err
    code, out, err = scarlet("recommend", "--records", tmp_path / "records.json", "--budget-ms", 10_000, "--json")
    assert code == 0, err


def test_what_does_not_fit_is_refused_before_anything_is_converted(tmp_path, scarlet):
    if missing_modules("ncnn"):
        pytest.skip("ncnn is not installed")
    torch.manual_seed(0)
    with pytest.raises(CheckFailedError, match=r"larger are 1 of its 11 layers on 12 photographs: /loud/Conv \(Conv\)"):
        export(Gated(1.5e5), out=tmp_path, target="ncnn-fp16", name="loud", preprocessing=FEED)
    assert not list(tmp_path.iterdir())
    code, out, err = scarlet("export", "scarlet_mini_s", "--target", "ncnn", "--precision", "bf16", "--out", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "got precision bf16, wanted one of its runtime's targets: ncnn ncnn-fp16" in err


def test_a_quantiser_that_is_missing_is_named(monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else real(name))
    if missing_modules("openvino"):
        pytest.skip("openvino is not installed")
    get_runtime("openvino")
    with pytest.raises(MissingRuntimeError, match="target openvino: nncf not installed, wanted: pip install"):
        get_runtime("openvino", "int8")


@pytest.mark.slow
def test_a_wrong_half_file_of_another_runtime_is_caught(gated, tmp_path, monkeypatch):
    if missing_modules("openvino"):
        pytest.skip("openvino is not installed")
    from scarlet_zoo.deployment.runtimes import with_openvino

    class Wrong(with_openvino.OpenVino):
        def open(self, *given):
            run = super().open(*given)
            return lambda images: [answer * np.float32(1.2) for answer in run(images)]

    monkeypatch.setattr(with_openvino, "RUNTIME", Wrong())
    with pytest.raises(ParityError, match=r"gated\.xml: differs"):
        export(gated, out=tmp_path, target="openvino-fp16", name="gated", preprocessing=FEED)
    assert not list(tmp_path.iterdir())


def test_there_must_be_images_to_calibrate_on(tmp_path, gated):
    with pytest.raises(ExportError, match="target openvino-int8: got no calibration images"):
        export(gated, out=tmp_path, target="openvino-int8", preprocessing=FEED)
    with pytest.raises(ExportError, match="calibration: got no images"):
        set_aside(np.zeros((0, 3, 32, 32), np.float32))
    few = np.zeros((3, 3, 32, 32), np.float32)
    assert [len(part) for part in set_aside(few)] == [3, 3]
