"""A file may differ from its source by as much as the source differs from itself, and a fault shows all the same."""

import numpy as np
import onnx
import pytest
import torch
from foreign_files import Swish, faulty, network, torch_file
from onnx import numpy_helper
from torch import nn

from scarlet_zoo import optimize
from scarlet_zoo.deployment.compare_files import compare_files
from scarlet_zoo.deployment.parity import ParityError
from scarlet_zoo.errors import ArtifactError

IMAGE = torch.rand(1, 3, 32, 32)


class Saturated(nn.Module):
    """A segmenter that sees nothing: every answer is about 1e-8."""

    def __init__(self, bias, spelled=False):
        super().__init__()
        self.body, self.spelled = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), Swish(), nn.Conv2d(8, 1, 1)), spelled
        self.body[2].bias.data.fill_(bias)

    def forward(self, x):
        z = self.body(x)
        return 1 / (1 + torch.exp(-z)) if self.spelled else torch.sigmoid(z)


class Pixels(nn.Module):
    """A network that takes values from 0 to 255."""

    def __init__(self, last):
        super().__init__()
        self.body, self.last = network(), last

    def forward(self, x):
        return self.last(self.body((x / 255 - 0.45) / 0.22))


KINDS = {
    "saturated low": (lambda: Saturated(-17.0), IMAGE),
    "saturated high": (lambda: Saturated(17.0), IMAGE),
    "saturated, spelled out": (lambda: Saturated(-17.0, spelled=True), IMAGE),
    "two channels": (lambda: network(2), torch.rand(1, 2, 32, 32)),
    "two classes": (lambda: nn.Sequential(network(classes=2), nn.Softmax(1)), IMAGE),
    "pixels": (lambda: Pixels(nn.Identity()), IMAGE),
    "pixels, probabilities": (lambda: Pixels(nn.Softmax(1)), IMAGE),
    "vectors": (lambda: nn.Sequential(nn.Linear(6, 8), Swish(), nn.Linear(8, 3), nn.Sigmoid()), torch.rand(1, 6)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_rounding_is_no_fault_and_one_weight_off_by_a_hundredth_is(kind, tmp_path):
    make, given = KINDS[kind]
    source = torch_file(make(), tmp_path / "m.onnx", given)
    made = optimize(source, tmp_path / "o.onnx")
    assert made.lowering.applied["raise_hard_swish"] > 0
    assert made.parity.passed
    planted = 0
    for what in faulty(made.artifact.path, tmp_path / "faulty.onnx"):
        try:
            missed = compare_files(source, tmp_path / "faulty.onnx")
        except ParityError:
            planted += 1
        else:
            pytest.fail(f"{what}: taken for right with {missed.sqnr_db} dB")
    assert planted >= 2


def test_float16_has_the_rounding_of_float16_and_a_wrong_layer_shows(tmp_path):
    source = torch_file(network().half(), tmp_path / "m.onnx", IMAGE.half())
    made = optimize(source, tmp_path / "o.onnx")
    assert 40 < made.parity.sqnr_db < 80
    model = onnx.load(made.artifact.path)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float16(1.1), weight.name))
    onnx.save(model, tmp_path / "faulty.onnx")
    with pytest.raises(ParityError):
        compare_files(source, tmp_path / "faulty.onnx")


class Classes(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return self.body(x).argmax(1)


def test_classes_are_compared_as_such_and_what_decides_them_too(tmp_path):
    source = torch_file(Classes(), tmp_path / "m.onnx", IMAGE)
    made = optimize(source, tmp_path / "o.onnx")
    assert any(case.case.startswith("inner tensors") for case in made.parity.cases)
    *_, _last = faulty(made.artifact.path, tmp_path / "faulty.onnx")
    with pytest.raises(ParityError, match="inner tensors"):
        compare_files(source, tmp_path / "faulty.onnx")


def test_a_source_without_a_number_and_another_output_are_refused(tmp_path):
    class Nothing(nn.Module):
        def forward(self, x):
            return torch.log(-torch.abs(x) - 1)

    source = torch_file(Nothing(), tmp_path / "nan.onnx", IMAGE)
    with pytest.raises(ArtifactError, match="no finite number"):
        optimize(source, tmp_path / "o.onnx")
    three, five = (torch_file(network(classes=n), tmp_path / f"{n}.onnx", IMAGE) for n in (3, 5))
    with pytest.raises(ArtifactError, match="got shapes"):
        compare_files(three, five)


class OverflowsOnNoise(nn.Module):
    """A network whose answers are finite on photographs and infinite on values that no photograph has."""

    def __init__(self):
        super().__init__()
        self.body, self.pool = network(), nn.MaxPool2d(32)

    def forward(self, x):
        # Prepared photographs stay below 2.7; noise of this size does not.
        beyond = torch.relu(self.pool(x).amax((1, 2, 3)) - 2.8)
        return self.body(x) * torch.exp(1000 * beyond)[:, None]


def test_a_source_that_overflows_on_noise_is_compared_on_photographs(tmp_path):
    source = torch_file(OverflowsOnNoise(), tmp_path / "m.onnx", IMAGE)
    made = optimize(source, tmp_path / "o.onnx")
    assert made.parity.passed
    assert any(case.case.startswith("photographs") for case in made.parity.cases)
    next(faulty(tmp_path / "o.onnx", tmp_path / "f.onnx"))
    with pytest.raises(ParityError):
        compare_files(source, tmp_path / "f.onnx")
