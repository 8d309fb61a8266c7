"""One small architecture through every stage, each value carrying the same identity string."""

import random

import pytest
from conftest import TINY

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch

# Nothing here is about how long a network takes.
pytestmark = pytest.mark.usefixtures("brief_measurements")


@pytest.mark.slow
def test_the_same_architecture_in_every_column(tmp_path):
    arch = Arch.sample(TINY, random.Random(7))
    model = zoo.create_model(arch, stabilized=True).eval()
    folded = zoo.fold(model)
    artifact = zoo.export_onnx(folded, tmp_path / "tiny.onnx", zoo.Recipe(form="blocked"))
    parity = zoo.verify(model, artifact)
    (timing,) = zoo.measure([artifact.path])
    assert str(model.arch) == str(artifact.arch) == str(arch)
    assert sum(step.kind != "batch_norm" for step in folded.steps) == len(arch.skipped)
    assert parity.passed
    assert timing.conditions["sha256"] == artifact.sha256
