import importlib
import json
import os
import re
import sys
import tempfile
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from conftest import ROOT
from hub_parts import HubHandler
from process_parts import command_line, started

from scarlet_zoo import create_model, get_arch
from scarlet_zoo.arch.architecture import Arch, is_identity_string
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.errors import CheckpointError, ScarletError
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.models.hub import push_to_hub, save_for_hub
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.models.weights import store
from scarlet_zoo.models.weights.cards import CardError, all_cards, read_card
from scarlet_zoo.models.weights.checkpoint import released_module_names

NAME = "scarlet_c"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scarlet_zoo"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A checkpoint in the released format, with values that behave like trained ones."""
    model = load_network(NAME, "random", input_size=64).model
    with torch.no_grad():
        model.classifier.bias.add_(0.5)  # so that they are not our random ones
    theirs = {ours: name for name, ours in released_module_names(get_arch(NAME)).items()}
    state = {}
    for key, tensor in model.state_dict().items():
        module, _, leaf = key.rpartition(".")
        state[f"{theirs[module]}.{leaf}"] = tensor
    path = tmp_path_factory.mktemp("released") / "ScarletC.pth.tar"
    torch.save({"model_state": state}, path)
    return path


def test_every_card_says_what_is_true():
    released = {name: card for name, card in all_cards().items() if not card.redistributed}
    assert list(released) == [f"scarlet_{letter}.xiaomi_in1k" for letter in "abc"]
    for card in released.values():
        assert str(get_arch(card.name)) == card.arch
        assert card.licence == "none stated"
        assert f"scarlet-zoo weights import {card.name}" in card.how_to_get


GOOD = (Path(__file__).parent.parent / "weights" / "cards" / f"{NAME}.xiaomi_in1k.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "scarlet_c"', "", "missing field 'name'"),
        ("redistributed = false", "redistributed = 0", "redistributed: got 0, wanted true or false"),
        ("num_classes = 1000", "num_classes = true", "num_classes: got True, wanted a whole number"),
        ("mean = [0.485, ", 'mean = ["0.485", ', "preprocessing.mean.0: got '0.485', wanted a number"),
        ("[preprocessing]", '[published]\ntop1_percent = 1\nsource = "x"\n\n[preprocessing]', "published.top5_percent"),
        ("crop = 224", "crop = 224\nzoom = 2", "unknown field 'preprocessing.zoom'"),
        (
            "num_classes = 1000",
            "num_classes = 1000\nclasses = 2",
            "unknown field 'classes', wanted one of arch",
        ),
        ("[preprocessing]", "[[preprocessing]]", "preprocessing: got "),
        ('tag = "xiaomi_in1k"', 'tag = "other"', "wanted file "),
        ("[preprocessing]", "[preprocessing", "not a weights card"),
    ],
)
def test_a_card_with_a_fault_is_refused(old, new, says, tmp_path):
    path = tmp_path / f"{NAME}.xiaomi_in1k.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(CardError, match=says) as caught:
        read_card(path)
    assert "\n" not in str(caught.value)


def test_what_was_published_of_the_zoo_stands_in_one_place(tmp_path):
    """In scarlet_zoo/arch/zoo.py: no other Python or TOML file has the numbers, and everybody is given them."""
    figures = {entry.name: entry.published for entry in ZOO.values() if entry.published}
    assert len(figures) == 3
    for name, published in figures.items():
        (card,) = (card for card in all_cards().values() if card.name == name)
        assert (card.published.top1_percent, card.published.top5_percent) == (
            published.top1_percent, published.top5_percent)  # fmt: skip
        (peer,) = (peer for peer in published_peers() if peer.name == name)
        assert (peer.top1, peer.source) == (published.top1_percent, published.source)
    numbers = re.compile(rf"\b({'|'.join(re.escape(str(f.top1_percent)) for f in figures.values())})\b")
    files = [path for ending in ("py", "toml") for folder in ("scarlet_zoo", "weights", "benchmarks", "export")
             for path in (ROOT / folder).rglob(f"*.{ending}")]  # fmt: skip
    assert [path.name for path in files if numbers.search(path.read_text())] == ["zoo.py"]
    # Other weights of the same network are not theirs.
    own = tmp_path / f"{NAME}.mine.toml"
    own.write_text(GOOD.replace('tag = "xiaomi_in1k"', 'tag = "mine"'))
    assert read_card(own).published is None


def test_pages_quote_what_was_published_as_the_zoo_has_it():
    readme = re.findall(r"^\| `(scarlet_[abc])` \|.*?\| ([\d.]+) % \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert dict(readme) == {entry.name: str(entry.published.top1_percent) for entry in ZOO.values() if entry.published}


def test_without_weights_one_sentence_says_how_to_get_them():
    for create in (timm.create_model, create_model):
        with pytest.raises(CheckpointError, match=r"questionnaire.*scarlet-zoo weights import scarlet_c"):
            create(NAME, pretrained=True)


@pytest.mark.slow
def test_imported_weights_are_found_by_everything(released, cache, scarlet):
    code, out, err = scarlet("weights", "import", NAME, released, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert Path(said["path"]) == cache / "weights" / f"{NAME}.safetensors"
    assert said["metadata"]["arch"] == str(get_arch(NAME))
    assert {"space", "sha256", "imported_sha256"} <= set(said["metadata"])
    expected = create_model(NAME, checkpoint_path=released).state_dict()
    for model in (timm.create_model(NAME, pretrained=True), load_network(NAME).model):
        assert all(torch.equal(expected[key], value) for key, value in model.state_dict().items())
    grey = timm.create_model(NAME, pretrained=True, in_chans=1, num_classes=5)
    torch.testing.assert_close(grey.conv_stem.weight, expected["conv_stem.weight"].sum(1, keepdim=True))
    features = timm.create_model(NAME, pretrained=True, features_only=True)
    assert torch.equal(features.get_parameter("conv_stem.weight"), expected["conv_stem.weight"])
    assert load_network(NAME).weights.startswith("imported ScarletC.pth.tar")
    assert load_network(NAME, "random").weights.startswith("random")
    assert scarlet("weights", "verify", NAME)[0] == 0
    listed = json.loads(scarlet("weights", "list", "--json")[1])
    shipped = {name for name, entry in ZOO.items() if entry.published is None}
    assert {row["name"] for row in listed if row["here"]} == {NAME} | shipped
    assert json.loads(scarlet("weights", "show", NAME, "--json")[1])["stored"]["sha256"] == said["sha256"]


@pytest.mark.slow
def test_an_export_of_imported_weights_says_so_and_verifies(released, scarlet, tmp_path):
    assert scarlet("weights", "import", NAME, released)[0] == 0
    code, out, _ = scarlet("export", NAME, "--out", tmp_path / "out", "--input-size", 64, "--json")
    assert code == 0
    assert json.loads(out)["weights"].startswith("imported ScarletC.pth.tar")
    labels = json.loads(json.loads(out)["metadata"]["labels"])
    assert (len(labels), labels[0].split(",")[0]) == (1000, "tench")
    assert scarlet("verify", tmp_path / "out" / f"{NAME}.onnx")[0] == 0
    # The same file where those weights are not to be had.
    (store.stored_path(NAME)).unlink()
    code, _, err = scarlet("verify", tmp_path / "out" / f"{NAME}.onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "--weights" in err


def test_any_architecture_can_keep_weights(cache, tmp_path):
    arch = str(get_arch(NAME)).replace("e3k5se", "e3k3", 1)
    torch.save(create_model(arch).state_dict(), tmp_path / "w.pth")
    stored = store.import_weights(arch, create_model(arch), tmp_path / "w.pth")
    assert stored.path.parent == cache / "weights"
    assert timm.create_model("scarlet_net", arch=arch, pretrained=True).arch == create_model(arch).arch


def own_weights(name, path):
    """A file with weights that nobody else has."""
    model = create_model(name)
    with torch.no_grad():
        model.get_submodule("classifier").bias.fill_(0.125)
    torch.save(model.state_dict(), path)
    return path


def bias_by_every_way(name):
    """The classifier's bias by every way to ask for the weights of a name, each with what is said of them."""
    networks = {weights: load_network(name, weights) for weights in ("auto", "pretrained")}
    models = {**{way: network.model for way, network in networks.items()}, "ours": create_model(name, pretrained=True)}
    if not is_identity_string(name):
        models["timm"] = timm.create_model(name, pretrained=True)
    return {way: model.classifier.bias.detach() for way, model in models.items()}, {
        n.weights for n in networks.values()
    }


@pytest.mark.parametrize("spelled", ["name", "arch"])
def test_imported_weights_come_before_shipped_ones_whoever_asks(spelled, tmp_path):
    """timm's pretrained=True, ours, and the sources auto and pretrained: the same weights, said in the same words."""
    asked = getattr(ZOO["scarlet_mini_s"], spelled)
    shipped, said = bias_by_every_way(asked)
    assert said == {"shipped scarlet_mini_s.fashion_mnist"}
    assert all(torch.equal(bias, shipped["auto"]) for bias in shipped.values())
    store.import_weights(asked, create_model(asked), own_weights("scarlet_mini_s", tmp_path / "own.pth"))
    imported, (said,) = bias_by_every_way(asked)
    assert said.startswith("imported own.pth, sha256 ")
    for way, bias in imported.items():
        assert torch.equal(bias, torch.full((10,), 0.125)), way
    # The tag asks for the shipped ones.
    tagged, said = bias_by_every_way("scarlet_mini_s.fashion_mnist")
    assert said == {"shipped scarlet_mini_s.fashion_mnist"}
    assert all(torch.equal(bias, shipped["auto"]) for bias in tagged.values())


def test_imported_weights_of_another_familys_network_are_its_pretrained_ones(tmp_path):
    name = "mobilenetv3_small_050"
    file = own_weights(name, tmp_path / "own.pth")
    store.import_weights(name, create_model(name), file)
    for model in (
        create_model(name, pretrained=True),
        load_network(name, "pretrained").model,
        load_network(name).model,
    ):
        assert torch.equal(model.classifier.bias, torch.full((1000,), 0.125))  # type: ignore[arg-type]
    assert create_model(name, pretrained=True, num_classes=3).num_classes == 3


def test_an_import_leaves_the_model_that_it_is_given_as_it_is(tmp_path):
    model = create_model("scarlet_mini_s")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    store.import_weights("scarlet_mini_s", model, own_weights("scarlet_mini_s", tmp_path / "own.pth"))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
def test_a_bad_file_is_refused_and_the_old_one_stays(released, tmp_path):
    stored = store.import_weights(NAME, create_model(NAME), released)
    before = stored.path.read_bytes()
    state = torch.load(released, weights_only=True)
    state["model_state"]["classifier.bias"][7] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"'classifier.bias' holds values that are not finite"):
        store.import_weights(NAME, create_model(NAME), tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"for another network|is not in"):
        store.import_weights("scarlet_a", create_model("scarlet_a"), released)
    assert stored.path.read_bytes() == before
    assert [path.name for path in stored.path.parent.iterdir()] == [f"{NAME}.safetensors"]


def test_a_changed_byte_in_the_store_is_noticed(released, scarlet):
    stored = store.import_weights(NAME, create_model(NAME), released)
    content = bytearray(stored.path.read_bytes())
    content[-5] ^= 1
    stored.path.write_bytes(content)
    code, _, err = scarlet("weights", "verify", NAME)
    assert (code, err.count("\n")) == (2, 1)
    assert "sha256" in err


@pytest.mark.slow
def test_two_imports_at_once_lose_nothing(released, cache):
    command = ("weights", "import", NAME, released)
    with command_line(*command) as one, command_line(*command) as other:
        assert (one.wait(), other.wait()) == (0, 0), one.err + other.err
    store.check_weights(store.find_weights(NAME))
    assert [path.name for path in (cache / "weights").iterdir()] == [f"{NAME}.safetensors"]


def same_network(folder_or_hub, network):
    model = timm.create_model(folder_or_hub, pretrained=True).eval()
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        assert torch.equal(model(images), network.model(images))
    return model


@pytest.mark.slow
def test_what_is_saved_for_the_hub_timm_loads_back(tmp_path, scarlet):
    network = load_network(NAME, "random", input_size=64)
    save_for_hub(network, tmp_path / "repo")
    model = same_network(f"local-dir:{tmp_path / 'repo'}", network)
    assert model.arch == get_arch(NAME)
    card = (tmp_path / "repo" / "README.md").read_text()
    assert "none stated" in card
    assert "published by the authors, not measured here" in card
    assert "| 18 | e6k5se |" in card
    code, _, err = scarlet("weights", "save-for-hub", NAME, tmp_path / "other")
    assert code == 2
    assert "questionnaire" in err
    assert not (tmp_path / "other").exists()


def test_a_space_of_ones_own_goes_through_a_folder_too(tmp_path):
    from conftest import TINY

    arch = Arch.of(TINY, ["e3k3se"] * 8)
    model = create_model(arch).eval()
    from scarlet_zoo.models.loading import Network, preprocessing_of

    network = Network("tiny", model, arch, "made for a test", "", preprocessing_of(model))
    save_for_hub(network, tmp_path)
    assert same_network(f"local-dir:{tmp_path}", network).arch == arch


@pytest.fixture
def hub(tmp_path):
    """A local stand-in for the hub: (folder that it serves, load a network from it in another process, its handler)."""
    folder = tmp_path / "served"
    handler = type("Handler", (HubHandler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environ = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
               "HF_HUB_DISABLE_XET": "1"}  # fmt: skip

    def load():
        # Each with a cache of its own: a commit that was fetched once is not asked for again.
        with started(load_and_tell, environ={**environ, "HF_HOME": tempfile.mkdtemp(dir=tmp_path)}) as process:
            assert process.wait() == 0, process.err
            return process.out

    yield folder, load, handler
    server.shutdown()
    server.server_close()


def load_and_tell():
    # The hub's client has read its settings where this process is a copy of another one.
    importlib.reload(huggingface_hub.constants)
    try:
        model = create_model(f"hf-hub:someone/{NAME}", pretrained=True)
        sys.stdout.write(f"loaded {model.classifier.bias.sum().item()}")
    except ScarletError as error:
        sys.stdout.write(f"refused {error}")


@pytest.mark.slow
def test_the_hub_serves_it_and_a_wrong_digest_is_refused(hub):
    folder, load, _ = hub
    network = load_network(NAME, "random", input_size=64)
    save_for_hub(network, folder)
    said = load()
    assert said.startswith("loaded"), said
    assert float(said.split()[1]) == pytest.approx(network.model.classifier.bias.sum().item(), rel=1e-5)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["notes"] = ["sha256:" + "0" * 64]
    (folder / "config.json").write_text(json.dumps(config) + " ")
    said = load()
    assert said.startswith("refused"), said
    assert "sha256" in said


@pytest.mark.slow
def test_a_broken_download_is_refused(hub):
    folder, load, handler = hub
    save_for_hub(load_network(NAME, "random", input_size=64), folder)
    handler.cut_short = True
    said = load()
    assert said.startswith("refused"), said


def test_push_makes_the_repository_and_uploads_the_three_files(monkeypatch):
    seen: dict = {}

    class Api:
        def create_repo(self, repository, **kwargs):
            seen["repository"] = (repository, kwargs)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            seen["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            return f"commit on {repo_id}: {commit_message}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    said = push_to_hub(load_network(NAME, "random", input_size=64), "someone/c", private=True)
    assert said == f"commit on someone/c: Add {NAME}"
    assert seen["repository"] == ("someone/c", {"private": True, "exist_ok": True})
    assert seen["files"] == ["README.md", "config.json", "model.safetensors"]
