"""Weights that a name has elsewhere: they are got from the hub, or one line says why not, within a few seconds."""

import json
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
import timm
import torch
from conftest import TINY
from hub_parts import HubHandler
from huggingface_hub import constants

from scarlet_zoo import bench
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import PretrainedError, ScarletError
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.models.weights import download
from scarlet_zoo.models.weights.cards import RANDOM_WEIGHTS

NAME = "mobilenetv3_small_050"
OFFLINE = "this machine is set to be offline (HF_HUB_OFFLINE)"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A network of timm's in the form in which the hub has it."""
    torch.manual_seed(11)
    folder, model = tmp_path_factory.mktemp("hub"), timm.create_model(NAME).eval()
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return folder, model


class Hub:
    """A server on this machine in place of the hub: how it behaves, and what it was asked for."""

    silent, stalls, without_safetensors = False, False, False

    def __init__(self):
        self.asked = []


@pytest.fixture
def hub(published, tmp_path, monkeypatch):
    state, free = Hub(), threading.Event()

    class Handler(HubHandler):
        def send_file(self, body):
            state.asked.append((self.command, self.path))
            if state.silent or (state.stalls and body):
                free.wait(30)
                return
            if state.without_safetensors and self.path.endswith(".safetensors"):
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            super().send_file(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(published[0])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": False,
                "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": True}  # fmt: skip
    settings["HUGGINGFACE_CO_URL_TEMPLATE"] = settings["ENDPOINT"] + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    # Before version 1 the hub's client had a copy of its own.
    template = settings["HUGGINGFACE_CO_URL_TEMPLATE"]
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(download, "PATIENCE_S", 0.7)
    yield state
    free.set()
    server.shutdown()
    server.server_close()


def same(model, other):
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_a_name_that_has_pretrained_weights_takes_them(weights, published, hub):
    network = load_network(NAME, weights)
    assert network.weights == f"pretrained {NAME}"
    assert same(network.model, published[1])
    assert len(network.labels) == 1000
    asked = len(hub.asked)
    assert asked > 0
    assert same(load_network(NAME, weights).model, published[1])
    assert len(hub.asked) == asked, "what is in the cache is not asked for again"


def test_weights_that_are_no_safetensors_are_read_without_running_them(published, hub):
    folder, model = published
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, folder / "pytorch_model.bin")
    hub.without_safetensors = True
    assert same(load_network(NAME).model, model)


@pytest.mark.slow
def test_a_repository_means_its_weights(published, hub, scarlet, tmp_path, monkeypatch):
    network = load_network("hf-hub:someone/small")
    assert network.weights == "pretrained hf-hub:someone/small"
    assert same(network.model, published[1])
    command = ("export", "hf-hub:someone/small", "--input-size", 64, "--out", tmp_path, "--name", "s", "--json")
    code, out, err = scarlet(*command)
    assert code == 0, err
    metadata = json.loads(out)["metadata"]
    assert (metadata["source"], metadata["num_classes"]) == ("hf-hub:someone/small", "1000")
    assert scarlet("verify", tmp_path / "s.onnx")[0] == 0
    hub.silent = True
    monkeypatch.setattr(download, "_ANSWER_S", 0.2)
    assert same(load_network("hf-hub:someone/small").model, published[1]), "from the cache, if the hub is silent"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silent", "stalls"])
@pytest.mark.parametrize("name", [NAME, "hf-hub:someone/small"])
def test_a_hub_that_does_not_answer_is_given_up(fault, name, hub, scarlet):
    setattr(hub, fault, True)
    start = time.monotonic()
    code, out, err = scarlet("fold", name)
    assert time.monotonic() - start < 6
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot be got: nothing arrived for 0.7 seconds" in err
    assert "Traceback" not in err
    assert hub.asked


def test_patience_is_less_than_fifteen_seconds():
    assert download.PATIENCE_S <= 13
    assert download._ANSWER_S < download.PATIENCE_S


@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_offline_one_line_offers_random_weights(weights, scarlet, tmp_path):
    code, out, err = scarlet("export", NAME, "--weights", weights, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    wanted = "wanted a connection, --weights FILE, or --weights random"
    assert err == f"error: pretrained weights of '{NAME}': cannot be got: {OFFLINE}; {wanted}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_name_without_pretrained_weights_anywhere_gets_random_ones():
    for name in ("scarlet_c", "efficientnet_lite1", Arch.of(TINY, ["e3k3"] * 8)):
        assert load_network(name, input_size=32).weights == RANDOM_WEIGHTS
    with pytest.raises(ScarletError, match="efficientnet_lite1"):
        load_network("efficientnet_lite1", "pretrained")


def test_a_head_that_nobody_has_trained_is_not_made_at_random(published, hub):
    with pytest.raises(ScarletError, match=r"have 1000 classes, got 7; .*--weights random"):
        load_network(NAME, num_classes=7)
    assert not hub.asked
    grey = load_network(NAME, in_chans=1)
    assert grey.weights == f"pretrained {NAME} (first convolution adapted to 1 channels)"
    stem = published[1].conv_stem.weight.sum(1, keepdim=True)
    torch.testing.assert_close(grey.model.get_parameter("conv_stem.weight"), stem)


@pytest.mark.slow
def test_what_measures_time_alone_takes_random_weights_and_says_so(brief_measurements):
    said = []
    (record,) = bench(NAME, repeats=0, stage=said.append)
    line = f"pretrained weights of '{NAME}': cannot be got: {OFFLINE}; timed with random weights, which take as long"
    assert said[0] == line
    source = record.conditions.model_dump()["source"]
    assert source == {"name": NAME, "target": "native", "weights": "random"}
    with pytest.raises(PretrainedError):
        bench(NAME, weights="pretrained")
