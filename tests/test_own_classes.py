"""Networks with classes, channels or an input of their own, in folders and stores: they come back as they were."""

import json
from dataclasses import replace

import pytest
import timm
import torch

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.models.hub import save_for_hub
from scarlet_zoo.models.loading import load_network, network_of, preprocessing_of
from scarlet_zoo.models.scarlet import check_loaded, create_model

TOKENS = "e3k3-e3k3-id-e3k3-e3k3-e3k3-id-e3k3"
MINI = f"scarlet-mini:{TOKENS}"
OWN = space_of({"name": "mine", "stages": [[8, 2, 2]], "kernel_sizes": [3], "input_size": 40, "head_width": 16})
RENAMED = replace(get_space("scarlet-mini"), in_chans=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def saved(folder, name=MINI, size=None, **arguments):
    """A folder of a network with a head of its own, and the network."""
    torch.manual_seed(1)
    model = create_model(name, **arguments).eval()
    labels = [f"class {index}" for index in range(model.num_classes)]
    network = network_of(model, name=str(name), labels=labels, input_size=size)
    save_for_hub(network, folder)
    return network


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        (MINI, None, {"num_classes": 4}),
        (MINI, 40, {"num_classes": 4, "in_chans": 3}),
        (MINI, None, {"num_classes": 4, "stabilized": True}),
        (MINI, None, {"num_classes": 1000}),
        (Arch.parse("mine:e3k3-id", OWN), None, {"num_classes": 4}),
        (Arch.parse(MINI, RENAMED), 32, {}),
        ("scarlet_mini_s", None, {"num_classes": 4}),
    ],
)
def test_what_is_saved_for_the_hub_comes_back_with_its_head(name, size, arguments, tmp_path):
    network = saved(tmp_path, name, size, **arguments)
    images = torch.randn(2, network.preprocessing.channels, *network.preprocessing.size)
    wanted, source = network.model(images), f"local-dir:{tmp_path}"
    loaded = load_network(source)
    assert torch.equal(loaded.model(images), wanted)
    assert (loaded.labels, loaded.preprocessing) == (network.labels, network.preprocessing)
    for create in (timm.create_model, zoo.create_model):
        model = create(source, pretrained=True).eval()
        assert torch.equal(model(images), wanted)
        assert tuple(model.pretrained_cfg["label_names"]) == network.labels
        assert preprocessing_of(model) == network.preprocessing


def test_the_digest_is_that_of_the_model_that_is_used(tmp_path):
    network = saved(tmp_path, num_classes=4)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    read = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    check_loaded(read, model)
    with torch.no_grad():
        model.classifier.weight.normal_()
    with pytest.raises(CheckpointError, match=r"wanted \w+ of its file: 'classifier.weight' was not loaded"):
        check_loaded(read, model)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == network.model.num_classes == 4


def test_a_configuration_that_loses_the_head_is_refused(tmp_path):
    saved(tmp_path, num_classes=4)
    overlay = {"num_classes": 10}  # timm discards the head of weights that are said to have other classes
    with pytest.raises(CheckpointError, match=r"'classifier\.weight' was not loaded"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True, pretrained_cfg_overlay=overlay)


def test_another_head_that_is_asked_for_is_made(tmp_path):
    saved(tmp_path, num_classes=4)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=7)
    assert model.num_classes == 7
    with pytest.raises(CheckpointError, match="has 4 classes, wanted 7"):
        load_network(f"local-dir:{tmp_path}", num_classes=7)
