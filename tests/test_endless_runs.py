"""A file whose loop never ends is told in one line by every verb that runs it."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.latency import MeasurementError, Runner, Settings, run_limit

ENDLESS = """<ir_version: 9, opset_import: ["": 17]> g (float[1,3,8,8] x) => (float[1,1] y) {
  c = Conv (x, weight) m = ReduceMean <keepdims = 0> (c) m1 = Reshape (m, one) go = Not (stop)
  o = Loop <body = b (int64 i, bool go_in, float[1] v) => (bool go_out, float[1] w) {
    go_out = Identity (go_in) w = Add (v, v) }> (, go, m1)
  y = Reshape (o, two) }"""


@pytest.fixture
def endless(tmp_path, monkeypatch):
    model = onnx.parser.parse_model(ENDLESS)
    constants = {"one": [1], "two": [1, 1], "stop": False, "weight": np.ones((4, 3, 3, 3), np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    onnx.save(model, tmp_path / "endless.onnx")
    Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / "noise.png")
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / "photos" / "a" / "noise.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCARLET_ZOO_RUN_SECONDS", "0.2")
    return tmp_path / "endless.onnx"


@pytest.mark.parametrize("words", [
    "verify endless.onnx endless.onnx", "bench endless.onnx", "optimize endless.onnx --out o.onnx",
    "profile endless.onnx",
    "sensitivity endless.onnx --calibration photos --out s --preprocessing imagenet",
    "predict endless.onnx noise.png --preprocessing imagenet",
    "validate endless.onnx photos --preprocessing imagenet"])  # fmt: skip
@pytest.mark.usefixtures("endless")
def test_a_verb_ends_the_run_and_says_so(scarlet, words):
    code, out, err = scarlet(*words.split())
    assert code == 2, err
    line = err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "got no answer in 0.2 s, wanted one; SCARLET_ZOO_RUN_SECONDS=N allows N s" in line
    assert not out.strip()


def test_a_file_that_answers_has_its_time(two_files, monkeypatch):
    monkeypatch.setenv("SCARLET_ZOO_RUN_SECONDS", "30")
    runner = Runner(two_files[0], Settings())
    assert runner.time_ms() > 0
    assert runner.time_ms() > 0


def test_the_limit_grows_with_the_images_up_to_ten_minutes(monkeypatch):
    began = []
    monkeypatch.setattr("scarlet_zoo.latency.threading.Timer", lambda seconds, *_: began.append(seconds) or _Idle())
    for said, images in (("", 1), ("", 4), ("", 64), ("2", 8), ("900", 8)):
        monkeypatch.setenv("SCARLET_ZOO_RUN_SECONDS", said)
        with run_limit(images):
            pass
    assert began == [60, 240, 600, 16, 900]


class _Idle:
    def start(self):
        pass

    cancel = start


@pytest.mark.parametrize("said", ["x", "0", "-1", "nan", "inf", "1e9"])
def test_other_limits_are_refused(monkeypatch, said):
    monkeypatch.setenv("SCARLET_ZOO_RUN_SECONDS", said)
    with pytest.raises(MeasurementError, match=f"SCARLET_ZOO_RUN_SECONDS: got '{said}', wanted seconds"), run_limit():
        pass


def test_another_fault_stays_what_it_is(two_files):
    with pytest.raises(ArtifactError, match="ONNX Runtime does not run it") as caught:
        OnnxFile(two_files[0]).run({"image": np.zeros((1, 2, 3), np.float32)})
    assert "no answer" not in str(caught.value)
