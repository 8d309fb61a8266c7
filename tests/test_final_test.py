"""Test pictures are read once."""

import json
from functools import partial

import pytest
from conftest import FASHION

from scarlet_zoo.arch.cost import cost_table
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.data.fashion_mnist import FASHION_MNIST_CLASSES
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.weights.checkpoint import save_weights


@pytest.mark.slow
def test_a_network_reads_its_test_pictures_once(tmp_path, monkeypatch):
    space = get_space("scarlet-mini-7")
    arch = cost_table(space).smallest
    weights, log = tmp_path / "model.safetensors", tmp_path / "reads.jsonl"
    save_weights(create_model(arch), weights, {"labels": json.dumps(FASHION_MNIST_CLASSES)})
    row = read_test_once("one", str(arch), weights, "fashion-mnist", log, FASHION)
    assert row["images"] == 10_000
    assert 0 <= row["top1"] <= 100
    before = log.read_text()
    assert json.loads(before) == row
    assert read_test_once("one", str(arch), weights, "none", log) == row
    other = tmp_path / "other.safetensors"
    save_weights(create_model(arch), other, {"labels": json.dumps(FASHION_MNIST_CLASSES)})
    with pytest.raises(CheckFailedError, match="read only once"):
        read_test_once("one", str(arch), other, "fashion-mnist", log, FASHION)
    assert log.read_text() == before
    # What is read is shown above; another label is read, too.
    monkeypatch.setattr("scarlet_zoo.evidence.read_once.validate_part", partial(validate_part, limit=50))
    read_test_once("two", str(arch), weights, "fashion-mnist", log, FASHION)
    assert log.read_text().count("\n") == 2
