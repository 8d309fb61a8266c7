import hashlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import timm
import torch
from conftest import TINY, images_for, randomized, skipping_arch
from process_parts import started
from torch import nn

from scarlet_zoo import Arch, SearchSpace, create_model, export, export_onnx, fold
from scarlet_zoo.cli import main
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ArtifactError, ExportError, ScarletWarning
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.passes.lower import FORMS
from scarlet_zoo.models.loading import load_network


@pytest.fixture(scope="module")
def model():
    # Gates of 6 squeezed channels (8 * 3 / 4), so that there is something to pad, and two skips.
    arch = Arch.of(TINY, ["e3k3se", "e6k5", "id", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"])
    return randomized(arch, dtype=torch.float32)


def operators(path):
    ops = [node.op_type for node in onnx.load(path).graph.node]
    return {op: ops.count(op) for op in ops}


def run(path, images):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": images.numpy()})[0]


def gap(model, path, images):
    with torch.inference_mode():
        truth = model(images).numpy()
    return float(np.abs(run(path, images) - truth).max() / np.abs(truth).max())


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_the_native_form_is_native_whatever_exporter_drives(model, exporter, tmp_path):
    artifact = export_onnx(model, tmp_path / "m.onnx", Recipe(exporter=exporter, opset=18))
    found = operators(artifact.path)
    gates = sum(plan.choice.squeeze_excite for plan in model.arch.layers)
    blocks = sum(not plan.choice.is_skip for plan in model.arch.layers)
    assert found["HardSigmoid"] == gates
    assert found["GlobalAveragePool"] == gates + 1
    assert found["HardSwish"] == 2 * blocks
    assert not {"BatchNormalization", "ReduceMean", "Identity", "Constant"} & set(found)
    assert gap(model, artifact.path, images_for(model, dtype=torch.float32)) < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_every_form_computes_the_same(model, form, tmp_path):
    artifact = export_onnx(model, tmp_path / "m.onnx", Recipe(form=form))
    assert artifact.form == form
    for batch in (1, 3):
        assert gap(model, artifact.path, images_for(model, batch, dtype=torch.float32)) < 1e-5
    found = operators(artifact.path)
    assert ("Resize" in found) == (form == "blocked")
    assert ("HardSwish" in found) == (form in ("native", "blocked"))


@pytest.mark.slow
def test_the_released_form_goes_with_every_opset(model, tmp_path):
    for opset in (18, 20):
        artifact = export_onnx(model, tmp_path / "m.onnx", Recipe(form="released", opset=opset))
        assert gap(model, artifact.path, images_for(model, dtype=torch.float32)) < 1e-5


@pytest.mark.slow
def test_a_network_whose_norms_cannot_all_fold_is_exported_with_those(tmp_path):
    dense = timm.create_model("densenet121", num_classes=3, growth_rate=8, block_config=(2, 2)).eval()
    artifact = export_onnx(dense, tmp_path / "d.onnx", Recipe(input_size=(64, 64)))
    left = sum("running" not in site.reason for site in fold(dense).skipped)
    assert 0 < operators(artifact.path)["BatchNormalization"] <= left


def test_a_wrong_form_shows_in_that_comparison(model, tmp_path, monkeypatch):
    from scarlet_zoo.graph.passes import released, rewrite

    monkeypatch.setattr(released, "constant", _constants_off_by_a_hair(rewrite.constant))
    artifact = export_onnx(model, tmp_path / "m.onnx", Recipe(form="released"))
    assert gap(model, artifact.path, images_for(model, dtype=torch.float32)) > 1e-4


def _constants_off_by_a_hair(real):
    def wrong(owner, name, value, dtype):
        return real(owner, name, np.asarray(value) * (1.001 if name == "three" else 1), dtype)

    return wrong


@pytest.mark.parametrize("opset", [17, 18, 19, 20])
def test_opset_and_ir_version_are_what_was_asked(model, opset, tmp_path):
    artifact = export_onnx(model, tmp_path / "m.onnx", Recipe(opset=opset))
    proto = onnx.load(artifact.path)
    assert [(e.domain, e.version) for e in proto.opset_import] == [("", opset)]
    assert artifact.opset == opset
    assert artifact.ir_version == proto.ir_version <= 10
    assert gap(model, artifact.path, images_for(model, 1, dtype=torch.float32)) < 1e-5


WRONG_RECIPES = (
    {"opset": 16},
    {"opset": 21},
    {"opset": 17, "exporter": "dynamo"},
    {"ir_version": 14},
    {"batch": 0},
    {"exporter": "caffe"},
)


@pytest.mark.parametrize("wrong", WRONG_RECIPES)
def test_a_recipe_that_cannot_be_is_refused(wrong):
    with pytest.raises(ExportError, match=r"got .*, wanted"):
        Recipe(**wrong)


def test_a_graph_variant_that_is_none_is_refused(model, tmp_path):
    with pytest.raises(ExportError, match="graph variant"):
        export_onnx(model, tmp_path / "never.onnx", Recipe(form="none"))
    assert not (tmp_path / "never.onnx").exists()


@pytest.mark.slow
def test_batch_is_dynamic_or_as_asked_and_any_size_and_channels_go(model, tmp_path):
    dynamic = export_onnx(model, tmp_path / "dynamic.onnx")
    shape = onnx.load(dynamic.path).graph.input[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["batch", 3, 32, 32]
    fixed = export_onnx(model, tmp_path / "fixed.onnx", Recipe(batch=2, input_size=(33, 47)))
    shape = onnx.load(fixed.path).graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [2, 3, 33, 47]
    assert fixed.preprocessing.size == (33, 47)
    grey = create_model(model.arch, in_chans=1).eval()
    artifact = export_onnx(grey, tmp_path / "grey.onnx")
    assert artifact.preprocessing.channels == 1


def test_the_file_describes_itself_and_decodes_without_us_knowing_the_space(model, tmp_path):
    labels = [f"class {i}" for i in range(10)]
    artifact = export_onnx(model, tmp_path / "m.onnx", weights="made for a test", labels=labels)
    again = read_artifact(artifact.path)
    assert again == artifact
    assert again.weights == "made for a test"
    assert again.labels == labels
    space = SearchSpace.from_json(again.metadata["space"])
    assert Arch.parse(again.metadata["arch"], space) == model.arch == again.arch
    assert again.preprocessing.interpolation == "bilinear"
    assert len(again.metadata["weights_sha256"]) == len(again.metadata["fold_certificate_sha256"]) == 64
    assert hashlib.sha256(artifact.path.read_bytes()).hexdigest() == artifact.sha256
    with pytest.raises(ExportError, match="got 3, wanted 10"):
        export_onnx(model, tmp_path / "n.onnx", labels=labels[:3])


@pytest.mark.slow
def test_export_folds_by_itself_and_leaves_the_model_alone(model, tmp_path):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one = export_onnx(model, tmp_path / "one.onnx")
    two = export_onnx(fold(model), tmp_path / "two.onnx")
    assert one.sha256 == two.sha256
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    double = fold(randomized(skipping_arch(TINY, 1)))
    export_onnx(double, tmp_path / "double.onnx")
    assert {p.dtype for p in double.model.parameters()} == {torch.float64}
    with pytest.raises(ExportError, match="train mode"):
        export_onnx(create_model(model.arch), tmp_path / "three.onnx")
    assert not (tmp_path / "three.onnx").exists()


def two_threads(*arguments):
    torch.set_num_threads(2)
    main.main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes_in_another_process(scarlet, tmp_path):
    # With another number of threads too: sums over pixels then differ in their last bits.
    command = ["export", "scarlet_c", "--input-size", "64", "--out"]
    assert torch.get_num_threads() == 1
    assert scarlet(*command, tmp_path / "one")[0] == 0
    with started(two_threads, *command, tmp_path / "two") as other:
        assert other.wait() == 0
    one, two = ((tmp_path / folder / "scarlet_c.onnx").read_bytes() for folder in ("one", "two"))
    assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_form_gives_the_same_bytes_each_time(form, tmp_path):
    model = load_network("scarlet_mini_s").model
    digests = {export_onnx(model, tmp_path / f"{number}.onnx", Recipe(form=form)).sha256 for number in range(3)}
    assert len(digests) == 1


def test_what_is_no_onnx_file_is_refused(tmp_path):
    for name, content in {"text.onnx": b"hello", "empty.onnx": b"", "noise.onnx": bytes(range(256)) * 9}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match="not an ONNX file"):
            read_artifact(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a folder"):
        read_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="no such file"):
        read_artifact(tmp_path / "absent.onnx")


def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the old one")
    monkeypatch.setattr("pathlib.Path.write_bytes", _no_space)
    with pytest.raises(OSError, match="no space"):
        export_onnx(model, path)
    assert path.read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def _no_space(*_):
    raise OSError("no space left on device")


@pytest.mark.slow
def test_what_torchscript_cannot_do_is_left_to_dynamo(tmp_path):
    """It pools to sides that do not divide those of its feature map, as vgg11 of timm does at any size but one."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5)).eval()
    feed = Preprocessing((12, 12), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    with pytest.warns(ScarletWarning, match="torch's other exporter was taken: dynamo"):
        exported = export(model, out=tmp_path, preprocessing=feed)
    assert exported.to_dict()["opset"] == 18
    assert gap(model, exported.path, torch.rand(2, 3, 12, 12)) < 1e-5
