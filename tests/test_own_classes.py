"""Networks with classes, channels or an input of their own, in folders and stores: they come back as they were."""

import json
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

import scarlet_zoo as zoo
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space_files import space_of
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.measurement.workloads import gather
from scarlet_zoo.models.cost import network_cost
from scarlet_zoo.models.hub import model_card, save_for_hub
from scarlet_zoo.models.loading import load_network, network_of, preprocessing_of
from scarlet_zoo.models.scarlet import check_loaded, create_model
from scarlet_zoo.models.weights.checkpoint import save_state, save_weights

TOKENS = "e3k3-e3k3-id-e3k3-e3k3-e3k3-id-e3k3"
MINI = f"scarlet-mini:{TOKENS}"
OWN = space_of({"name": "mine", "stages": [[8, 2, 2]], "kernel_sizes": [3], "input_size": 40, "head_width": 16})
RENAMED = replace(get_space("scarlet-mini"), in_chans=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def saved(folder, name=MINI, size=None, **arguments):
    """A folder of a network with a head of its own, and the network."""
    torch.manual_seed(1)
    model: Any = create_model(name, **arguments).eval()
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


@pytest.fixture
def file(tmp_path):
    """The weights of a network of an own space with its own labels, as a training writes them, and the network."""
    torch.manual_seed(2)
    arch = Arch.parse("mine:e3k3-id", OWN)
    model = create_model(arch, num_classes=3, stabilized=True).eval()
    feed = replace(preprocessing_of(model), size=(36, 36), mean=(0.4, 0.5, 0.6))
    stated = {"name": "mine", "labels": json.dumps(["ant", "bee", "cow"]), "preprocessing": feed.to_json(),
              "stabilized": "True"}  # fmt: skip
    save_weights(model, tmp_path / "model.safetensors", stated)
    return tmp_path / "model.safetensors", replace(
        network_of(model, name="mine", preprocessing=feed, labels=["ant", "bee", "cow"])
    )


def same(loaded, network):
    images = torch.randn(2, network.preprocessing.channels, *network.preprocessing.size)
    assert torch.equal(loaded.model(images), network.model(images))
    assert (loaded.labels, loaded.preprocessing) == (network.labels, network.preprocessing)


def test_a_weights_file_names_its_network(file):
    path, network = file
    loaded = load_network(str(path))
    same(loaded, network)
    assert (loaded.name, str(loaded.arch), loaded.weights) == ("mine", "mine:e3k3-id", "file model.safetensors")
    assert loaded.source == str(path)
    assert load_network(str(path), "random").labels is None


def test_what_is_imported_keeps_space_classes_labels_and_preprocessing(file, scarlet, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, network = file
    code, _, said = scarlet("show", "mine:e3k3-id")
    assert (code, said.count("\n")) == (2, 1)
    assert "search space 'mine': unknown" in said
    assert "a weights file that states it, as NAME" in said
    assert scarlet("weights", "import", "mine:e3k3-id", path)[0] == 0
    same(load_network("mine:e3k3-id"), network)
    shown = json.loads(scarlet("show", "mine:e3k3-id", "--json")[1])
    assert (shown["arch"], len(shown["layers"])) == ("mine:e3k3-id", 6)
    model = zoo.create_model("mine:e3k3-id", pretrained=True, stabilized=True).eval()
    assert model.num_classes == 3
    assert list(model.pretrained_cfg["label_names"]) == ["ant", "bee", "cow"]
    assert preprocessing_of(model) == network.preprocessing


def test_labels_of_a_built_in_space_are_kept_in_the_store(tmp_path, scarlet, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = create_model(MINI, num_classes=3).eval()
    save_weights(model, tmp_path / "m.safetensors", {"labels": json.dumps(["ant", "bee", "cow"])})
    assert scarlet("weights", "import", MINI, tmp_path / "m.safetensors")[0] == 0
    assert load_network(MINI).labels == ("ant", "bee", "cow")


@pytest.mark.slow
def test_verbs_take_a_weights_file_as_a_name(file, scarlet, tmp_path):
    path, network = file
    shown = json.loads(scarlet("show", path, "--json")[1])
    assert shown["macs"] == network_cost(network).macs
    assert scarlet("export", path, "--out", tmp_path / "out")[0] == 0
    (exported,) = (tmp_path / "out").glob("*.onnx")
    assert exported.name == "mine.onnx"
    artifact = read_artifact(exported)
    assert (artifact.labels, str(artifact.arch)) == (["ant", "bee", "cow"], "mine:e3k3-id")
    # The file is found by what the export states, and compared without any further word.
    assert json.loads(scarlet("verify", exported, "--json")[1])["passed"]
    assert scarlet("weights", "save-for-hub", path, tmp_path / "hub")[0] == 0
    same(load_network(f"local-dir:{tmp_path / 'hub'}"), network)
    (workload,) = gather([str(path)], tmp_path / "measured")
    assert (workload.network, workload.path.suffix) == ("mine", ".onnx")
    path.unlink()
    code, _, said = scarlet("verify", exported)
    assert (code, said.count("\n")) == (2, 1)
    assert "were not found here, wanted --weights" in said


def test_a_file_of_random_weights_of_an_own_space_is_verified_alone(tmp_path, scarlet):
    zoo.export(Arch.parse("mine:e3k3-id", OWN), out=tmp_path / "out", weights="random")
    (exported,) = (tmp_path / "out").glob("*.onnx")
    assert json.loads(scarlet("verify", exported, "--json")[1])["passed"]


def test_weights_files_that_name_no_network(tmp_path):
    save_state({"a": torch.zeros(1)}, tmp_path / "bare.safetensors", {})
    with pytest.raises(CheckpointError, match=r"does not state its network, wanted the network's name and --weights"):
        load_network(str(tmp_path / "bare.safetensors"))
    save_state({"a": torch.zeros(1)}, tmp_path / "super.safetensors", {"space": OWN.to_json(), "skip": "plain"})
    with pytest.raises(CheckpointError, match="is a supernet, wanted the weights of a network"):
        load_network(str(tmp_path / "super.safetensors"))


def test_labels_of_the_registered_weights_are_not_those_of_other_weights(tmp_path):
    network = network_of(create_model("scarlet_mini_s").eval(), name="scarlet_mini_s", weights="file own.pth")
    assert network.model.pretrained_cfg["label_names"][0] == "T-shirt/top"
    save_for_hub(network, tmp_path)
    assert load_network(f"local-dir:{tmp_path}").labels is None
    config = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    assert config.get("license") is None


def test_the_card_of_a_name_is_not_that_of_own_weights(tmp_path):
    own = saved(tmp_path / "own", "scarlet_c", num_classes=3)
    text = (tmp_path / "own" / "README.md").read_text()
    assert "published" not in text
    assert "The licence of the weights is unknown" in text
    shipped = model_card(load_network("scarlet_mini_s"))
    assert "shipped with scarlet-zoo" in shipped
    assert "is unknown" in model_card(replace(load_network("scarlet_mini_s"), weights="file own.pth"))
    assert own.name == "scarlet_c"
