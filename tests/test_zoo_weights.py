"""The weights that this package ships: what their cards say, and what they do after an installation."""

import json

import pytest
import timm
import torch
from conftest import FASHION, ROOT

from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.inference.accuracy import validate_part
from scarlet_zoo.inference.load import load
from scarlet_zoo.models.weights.cards import all_cards
from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors, state_sha256
from scarlet_zoo.utils.files import file_sha256

SHIPPED = {name: card for name, card in all_cards().items() if card.redistributed}
FOUR_MB = 4_000_000
TEST_IMAGES = {"fashion_mnist": 10_000, "cifar10_jpeg": 5_000}


@pytest.fixture(params=sorted(SHIPPED))
def shipped(request):
    return request.param, SHIPPED[request.param], ROOT / "weights" / "networks" / f"{request.param}.safetensors"


def test_every_network_found_here_has_weights_here():
    found = {name for name, entry in ZOO.items() if entry.published is None}
    assert {card.name for card in SHIPPED.values()} == found


def test_the_file_is_the_one_of_the_card(shipped):
    _, card, path = shipped
    assert file_sha256(path) == card.sha256
    assert path.stat().st_size < FOUR_MB
    state = read_tensors(path).state
    assert state_sha256(state) == read_metadata(path)["sha256"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert str(get_arch(card.name)) == card.arch
    learned = sum(value.numel() for key, value in state.items() if "running" not in key and "tracked" not in key)
    assert learned == arch_cost(get_arch(card.name)).params


def test_test_pictures_were_read_once_and_the_card_tells_what_was_seen(shipped):
    _, card, path = shipped
    rows = [json.loads(line) for line in (ROOT / "weights" / "test_reads.jsonl").read_text().splitlines()]
    # Weights that were replaced stay in the log: nobody reads until a number pleases.
    (row,) = (row for row in rows if row["sha256"] == file_sha256(path))
    assert row["name"].split()[0] == card.name
    assert (row["top1"], row["images"]) == (card.measured.test_top1_percent, TEST_IMAGES[card.tag])
    assert card.measured.test_images == TEST_IMAGES[card.tag]
    assert len({row["name"] for row in rows}) == len({row["sha256"] for row in rows}) == len(rows)


def test_timm_lists_and_loads_it(shipped):
    name, card, path = shipped
    assert name in timm.list_models(f"{card.name}*", pretrained=True)
    model = timm.create_model(name, pretrained=True)
    state = read_tensors(path).state
    # What is kept in 16 bits is computed with in 32.
    assert all(torch.equal(value, state[key].to(value.dtype)) for key, value in model.state_dict().items())
    space = get_arch(card.name).space
    image = torch.zeros(1, space.in_chans, space.input_size, space.input_size)
    assert timm.create_model(card.name, pretrained=True, num_classes=3)(image).shape == (1, 3)


@pytest.mark.slow
def test_its_validation_accuracy_is_the_cards():
    # One shows that accuracy is read as it was for the card; the digest holds the bytes of all.
    card = SHIPPED["scarlet_mini_s.fashion_mnist"]
    classifier = load(card.name, "auto", trained_only=True)
    data = open_data(card.dataset, classifier.preprocessing, FASHION)
    result = validate_part(classifier, data, "validation", batch=500)
    assert result.top1 == pytest.approx(card.measured.validation_top1_percent, abs=0.05)
    assert classifier.labels == card.labels
