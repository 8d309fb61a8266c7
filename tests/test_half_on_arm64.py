"""float16 on arm64 under emulation: with arithmetic in it (Cortex-A76) and without (Cortex-A57); nothing is timed."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from adb_stand_in import arm64_root
from conftest import FEW_LAYERS
from fetch import EMULATORS
from filelock import FileLock
from test_half import FEED, Gated

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.export import export
from scarlet_zoo.deployment.runtimes.registry import missing_modules, versions
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.emulation import Case, other_processors, prove, this_processor
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.models.loading import load_network

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not EMULATORS, reason="needs Debian's apt and qemu-user-static")]  # fmt: skip
WITH, WITHOUT = "cortex-a76", "cortex-a57"
NCNN = """
import json, sys
import ncnn, numpy as np
asked = json.loads(sys.argv[1])
network = ncnn.Net()
network.opt.use_vulkan_compute = False
for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
    setattr(network.opt, option, True)
network.opt.use_bf16_storage = False
assert not network.load_param(asked["param"]) and not network.load_model(asked["bin"])
rows = []
for image in np.load(asked["images"]):
    extractor = network.create_extractor()
    extractor.input(network.input_names()[0], ncnn.Mat(np.ascontiguousarray(image)).clone())
    rows.append(np.array(extractor.extract(network.output_names()[0])[1]))
np.save(asked["out"], np.stack(rows))
print(ncnn.cpu_support_arm_asimdhp())
"""


@pytest.fixture
def sysroot():
    """The arm64 root, for one test at a time: it presents one processor, and pytest's workers share it."""
    root = arm64_root()
    with FileLock(f"{root.folder}.lock"):
        yield root


def sqnr_db(truth, got):
    return 10 * np.log10(np.mean(truth.var(axis=0)) / np.mean((truth - got) ** 2))


def exact(model, images):
    with torch.inference_mode():
        return model.double()(torch.from_numpy(images).double()).numpy()


def test_onnx_runtime_computes_float16_files_in_float16_where_the_processor_does(sysroot, tmp_path):
    """Ours with a float16 input and with a float32 one, and somebody's whose mean adds up to more than 65,504."""
    network = load_network(FEW_LAYERS)
    images = network.preprocessing.batch(photos(4))
    files = {io: export_network(network, tmp_path / io, "ort-fp16", Recipe(keep_io=io == "kept")).path
             for io in ("kept", "half")}  # fmt: skip
    torch.manual_seed(0)
    theirs = Gated(1e3)
    files["theirs"] = export(theirs, out=tmp_path / "theirs", target="ort-fp16", preprocessing=FEED).path
    truths = {"kept": exact(network.model, images), "theirs": exact(theirs, images)}
    truths["half"] = truths["kept"]
    cases = [Case(name, read_artifact(path), images if name == "kept" else images.astype(np.float16), truths[name])
             for name, path in files.items()]  # fmt: skip
    rows = prove(cases, [this_processor(), *other_processors(sysroot)], tmp_path / "out")
    assert [row["error"] for row in rows] == [None] * len(rows)
    for row in rows:
        assert row["precision"] == "float16"
        got = np.load(tmp_path / "out" / row["processor"] / f"{row['file']}.npy").astype(np.float64)
        assert sqnr_db(truths[row["file"]], got) > 30, row
        graph = onnx.load(tmp_path / "out" / row["processor"] / f"{row['file']}.runs.onnx").graph
        kernels = {node.op_type for node in graph.node}
        assert ("NhwcFusedConv" in kernels) is (row["processor"] == WITH), row["processor"]


def test_ncnn_computes_float16_files_in_float16_where_the_processor_does(sysroot, tmp_path):
    if missing_modules("ncnn"):
        pytest.skip("ncnn and pnnx are not installed")
    site = sysroot.folder.with_name("arm64-ncnn")
    sysroot.unpack_wheels(site, ["--no-deps", f"ncnn=={versions('ncnn')['ncnn']}"])
    network = load_network(FEW_LAYERS)
    path = export_network(network, tmp_path, "ncnn-fp16", Recipe()).path
    images = network.preprocessing.batch(photos(4))
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "run.py").write_text(NCNN)
    answers = {}
    for cpu in (WITHOUT, WITH):
        command, environment = sysroot.emulated(cpu)
        environment["PYTHONPATH"] += f":{site}"
        asked = {"param": str(path), "bin": str(Path(path).with_suffix(".bin")), "images": str(tmp_path / "images.npy"),
                 "out": str(tmp_path / f"{cpu}.npy")}  # fmt: skip
        done = subprocess.run([*command, str(tmp_path / "run.py"), json.dumps(asked)], capture_output=True, text=True,
                              env={**os.environ, **environment}, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (int(done.stdout) > 0) is (cpu == WITH)
        answers[cpu] = np.load(asked["out"]).astype(np.float64)
    truth = exact(network.model, images)
    assert sqnr_db(truth, answers[WITH]) > 25
    assert sqnr_db(truth, answers[WITHOUT]) > sqnr_db(truth, answers[WITH]) + 3
