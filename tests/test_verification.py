import copy
import json

import numpy as np
import onnx
import pytest
import torch
from conftest import TINY

from scarlet_zoo import Arch, ParityError, export_onnx, verify
from scarlet_zoo.data.sample_images import extremes, photos
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.models.loading import load_network

# Every kind of block, gates among them.
ARCH = Arch.of(TINY, ["e3k3se", "e6k5", "e3k3se", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"])


@pytest.fixture(scope="module")
def network():
    return load_network(ARCH)


@pytest.fixture(scope="module")
def artifact(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "n.onnx"
    return export_onnx(network.model, path, preprocessing=network.preprocessing)


@pytest.mark.slow
def test_a_faithful_file_passes_on_photographs_noise_and_extremes(network, artifact):
    parity = verify(network.model, artifact, preprocessing=network.preprocessing)
    assert parity.passed
    assert parity.top1_agreement == 1
    assert parity.sqnr_db > 95
    assert {case.case.partition(",")[0] for case in parity.cases} == {"photographs", "noise", "extremes"}
    assert {case.case.partition(", ")[2] for case in parity.cases} == {"batch 1", "batch 3", "batch 8"}


def faulty(network, change):
    model = copy.deepcopy(network.model)
    with torch.no_grad():
        change(model)
    return model


def _flip_a_channel(model):
    model.conv_stem.weight.copy_(model.conv_stem.weight.flip(1))


def _scale_one_block(model):
    for module in model.blocks[2][1].modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.mul_(1.001)


def _drop_a_bias(model):
    model.blocks[2][0].bn2.bias.zero_()


def _drop_one_gate_bias(model):
    gates = [m for m in model.modules() if type(m).__name__ == "SqueezeExcite"]
    gates[3].conv_expand.bias.zero_()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [_flip_a_channel, _scale_one_block, _drop_a_bias, _drop_one_gate_bias])
def test_a_planted_fault_fails(network, fault, tmp_path):
    path = tmp_path / "faulty.onnx"
    artifact = export_onnx(faulty(network, fault), path, preprocessing=network.preprocessing)
    with pytest.raises(ParityError, match="relative error") as caught:
        verify(network.model, artifact, preprocessing=network.preprocessing)
    assert not caught.value.parity.passed
    assert caught.value.parity.max_rel_err > 5e-3


@pytest.mark.slow
@pytest.mark.parametrize("key", ["mean", "std", "interpolation", "crop"])
def test_a_wrong_preprocessing_in_the_file_fails(network, artifact, key, tmp_path):
    proto = onnx.load(artifact.path)
    for entry in proto.metadata_props:
        if entry.key == "preprocessing":
            fields = json.loads(entry.value)
            wrong = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "nearest", "crop": 1.0}
            fields[key] = wrong[key]
            entry.value = json.dumps(fields)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(ParityError, match="photographs"):
        verify(network.model, tmp_path / "wrong.onnx", preprocessing=network.preprocessing)


@pytest.mark.slow
def test_a_function_serves_as_reference(network, artifact):
    def run(images):
        with torch.inference_mode():
            return network.model(torch.from_numpy(images)).numpy()

    assert verify(run, artifact).passed
    with pytest.raises(ParityError):
        verify(lambda images: run(images) * 1.002, artifact)
    with pytest.raises(ParityError):
        verify(lambda images: run(images) * np.nan, artifact)


@pytest.mark.slow
def test_a_fixed_batch_is_filled_up(network, tmp_path):
    fixed = export_onnx(network.model, tmp_path / "b5.onnx", Recipe(batch=5), preprocessing=network.preprocessing)
    parity = verify(network.model, fixed, photos(7), preprocessing=network.preprocessing)
    assert parity.cases[0].case == "photographs, batch 5"
    assert parity.cases[0].images == 7


@pytest.mark.slow
def test_random_weights_have_logits_in_which_a_fault_can_show():
    network = load_network("scarlet_a", input_size=64)
    with torch.inference_mode():
        logits = network.model(torch.from_numpy(network.preprocessing.batch(photos(8))))
    assert 0.01 < float(logits.std(0).mean()) < 5
    assert network.weights == "random (structure and latency only)"
    for name, parameter in network.model.named_parameters():
        assert not name.endswith("bias") or parameter.abs().max() > 0


def test_extreme_images_are_four():
    assert extremes(3, 5, 6).shape == (4, 3, 5, 6)


@pytest.mark.slow
def test_a_file_for_other_classes_or_channels_is_refused_and_the_model_left_alone(network, artifact, tmp_path):
    training = copy.deepcopy(network.model).train()
    before = {key: value.clone() for key, value in training.state_dict().items()}
    assert verify(training, artifact, preprocessing=network.preprocessing).passed
    assert training.training
    assert all(torch.equal(before[key], value) for key, value in training.state_dict().items())
    many = load_network(ARCH, num_classes=1000)
    with pytest.raises(ArtifactError, match="1000"):
        verify(many.model, artifact, preprocessing=many.preprocessing)
    grey = load_network(ARCH, in_chans=1)
    with pytest.raises(ArtifactError, match="takes 3 channels, its source 1"):
        verify(grey.model, artifact, preprocessing=grey.preprocessing)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_source_may_have_another_precision_than_the_file(network, dtype, tmp_path):
    model = copy.deepcopy(network.model).to(dtype)
    artifact = export_onnx(model, tmp_path / "m.onnx", preprocessing=network.preprocessing)
    assert verify(model, artifact, preprocessing=network.preprocessing).passed
