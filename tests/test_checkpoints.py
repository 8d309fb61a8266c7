"""Checkpoints as people have them: wrapped, averaged, profiled, fine-tuned, or of another network."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from torch import nn

from scarlet_zoo import create_model, export, load
from scarlet_zoo.data.labels import read_labels
from scarlet_zoo.errors import CheckpointError, ScarletError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.models.weights import store

NAME = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trained():
    """A network of timm's own with values that no other creation gives."""
    torch.manual_seed(7)
    return timm.create_model(NAME).eval()


def scaled(state, factor):
    """The same names with other values."""
    return {key: value * factor if value.is_floating_point() else value for key, value in state.items()}


def wrapped(state, *prefixes):
    return {"".join(prefixes) + key: value for key, value in state.items()}


def averaged_by_torch(state):
    """What torch's AveragedModel, the base of torchvision's moving average, gives as its state."""
    return {"n_averaged": torch.tensor(3), **wrapped(state, "module.")}


def without(state, leaf):
    return {key: value for key, value in state.items() if not key.endswith(leaf)}


def profiled(state):
    counters = {key.replace("weight", name): torch.zeros(1) for key in state if key.endswith("weight")
                for name in ("total_ops", "total_params")}  # fmt: skip
    return {**state, **counters, "total_ops": torch.zeros(1)}


# What people save, and what the line about the weights says of it.
SAVED = {
    "plain": (lambda s: s, ""),
    "compiled": (lambda s: wrapped(s, "_orig_mod."), ""),
    "a part compiled": (lambda s: {k.replace("blocks.", "blocks._orig_mod.", 1): v for k, v in s.items()}, ""),
    "in parallel, compiled": (lambda s: wrapped(s, "module.", "_orig_mod."), ""),
    "compiled, in parallel": (lambda s: wrapped(s, "_orig_mod.", "module."), ""),
    "lightning": (lambda s: {"state_dict": {**wrapped(s, "model."), "loss.weight": torch.ones(3)}, "epoch": 3}, ""),
    "lightning, wrapped thrice": (lambda s: {"state_dict": wrapped(s, "net.", "module.", "backbone.")}, ""),
    "model": (lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}}, ""),
    "model_state_dict": (lambda s: {"epoch": 1, "model_state_dict": wrapped(s, "module.")}, ""),
    "net": (lambda s: {"net": s, "acc": 93.1}, ""),
    "nested": (lambda s: {"model": {"state_dict": s}}, ""),
    "without counters": (lambda s: without(s, "num_batches_tracked"), ""),
    "after a profiler": (profiled, ""),
    "timm's trainer": (
        lambda s: {"state_dict": scaled(s, 0), "state_dict_ema": s}, "the averaged weights state_dict_ema"
    ),
    "timm's trainer without an average": (lambda s: {"state_dict": s, "state_dict_ema": None}, ""),
    "torchvision's script": (
        lambda s: {"model": scaled(s, 0), "model_ema": averaged_by_torch(s)}, "the averaged weights model_ema"
    ),
    "an average inside a state dict": (
        lambda s: {"state_dict": {**wrapped(scaled(s, 0), "model."), **wrapped(s, "ema_model.module.")}},
        "the averaged weights ema_model.module",
    ),
    "an average beside plain names": (lambda s: {**scaled(s, 0), **wrapped(s, "ema.")}, "the averaged weights ema"),
    "an average without names": (
        lambda s: {"model": s, "ema": [torch.zeros(2)]}, "the plain weights model, because ema holds no state dict"
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", SAVED)
def test_what_people_save_is_loaded_and_the_line_says_what_was_taken(how, trained, tmp_path):
    save, says = SAVED[how]
    torch.save(save(trained.state_dict()), tmp_path / "w.pth")
    network = load_network(NAME, str(tmp_path / "w.pth"))
    loaded = network.model.state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(loaded[key], value), key
    assert network.weights == ("file w.pth" + (f" ({says})" if says else ""))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_a_feature_extractor_takes_a_classifiers_checkpoint(name, tmp_path):
    """timm names the modules of some feature extractors otherwise than those of the classifier."""
    torch.manual_seed(2)
    full = timm.create_model(name, num_classes=4).eval()
    torch.save({"model": wrapped(full.state_dict(), "module.")}, tmp_path / "w.pth")
    network = load_network(name, str(tmp_path / "w.pth"), features=(1, 2))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        want = timm.create_model(name, features_only=True, out_indices=(1, 2), pretrained=True,
                                 pretrained_cfg_overlay={"state_dict": full.state_dict()}).eval()(images)  # fmt: skip
        got = network.model(images)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert network.model.pretrained_cfg.get("state_dict") is None


def test_two_networks_in_a_file_are_not_chosen_between(trained, tmp_path):
    state = trained.state_dict()
    torch.save({**wrapped(state, "student."), **wrapped(state, "teacher.")}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"holds several networks that fit, 'student' and 'teacher'"):
        create_model(NAME, checkpoint_path=tmp_path / "w.pth")


@pytest.mark.slow
def test_weights_of_a_former_implementation_are_renamed_by_timm(tmp_path):
    """torchvision's published DenseNet has names with a dot more, which timm's own function for it translates."""
    torch.manual_seed(3)
    model = timm.create_model("densenet121", num_classes=6, growth_rate=4)
    state = model.state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", k): v for k, v in state.items()}
    assert len(old.keys() - state.keys()) > 300
    torch.save({"state_dict": wrapped(old, "module.")}, tmp_path / "w.pth")
    loaded = create_model("densenet121", checkpoint_path=tmp_path / "w.pth", growth_rate=4)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def head(trained, classes, channels=3):
    torch.manual_seed(classes)
    return timm.create_model(NAME, num_classes=classes, in_chans=channels)


def test_classes_and_channels_are_those_of_the_file(trained, tmp_path):
    tuned = head(trained, 5, 1)
    torch.save({"model": wrapped(tuned.state_dict(), "module.")}, tmp_path / "w.pth")
    network = load_network(NAME, str(tmp_path / "w.pth"))
    assert torch.equal(network.model.get_parameter("classifier.weight"), tuned.classifier.weight)
    assert (getattr(network.model, "num_classes", None), network.preprocessing.channels) == (5, 1)


@pytest.mark.slow
def test_a_fine_tuned_head_is_no_other_network(trained, tmp_path):
    torch.save(head(trained, 5, 1).state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"has 5 classes, wanted 7: .*'classifier.weight'.*--num-classes 5$"):
        create_model(NAME, checkpoint_path=tmp_path / "w.pth", num_classes=7)
    with pytest.raises(CheckpointError, match=r"takes 1 channels, wanted 3: .*'conv_stem.weight'.*--in-chans 1$"):
        create_model(NAME, checkpoint_path=tmp_path / "w.pth", in_chans=3)
    state = trained.state_dict()
    torch.save({key: value for key, value in state.items() if "classifier" not in key}, tmp_path / "body.pth")
    with pytest.raises(CheckpointError, match=r"has no classifier: lacks tensor 'classifier.weight'.*--num-classes 0"):
        create_model(NAME, checkpoint_path=tmp_path / "body.pth")
    assert create_model(NAME, checkpoint_path=tmp_path / "body.pth", num_classes=0).num_classes == 0
    for theirs in ("classifier.1.", "fc."):
        own = {key.replace("classifier.", theirs): value for key, value in state.items()}
        torch.save(own, tmp_path / "own.pth")
        with pytest.raises(CheckpointError, match=rf"has a classifier of its own, '{theirs}.*scarlet_zoo.export$"):
            create_model(NAME, checkpoint_path=tmp_path / "own.pth")
    torch.save(timm.create_model("mobilenetv3_small_075").state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"for another network: tensor 'blocks"):
        create_model(NAME, checkpoint_path=tmp_path / "other.pth")


@pytest.mark.parametrize("way", ["load", "import"])
def test_a_value_that_is_not_finite_names_its_tensor(way, trained, scarlet, tmp_path):
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    state["blocks.1.0.bn1.running_var"][2] = float("nan")
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    command = {
        "load": ("fold", NAME, "--weights", tmp_path / "w.pth"),
        "import": ("weights", "import", NAME, tmp_path / "w.pth"),
    }[way]
    code, out, err = scarlet(*command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'blocks.1.0.bn1.running_var' holds values that are not finite" in err


def test_code_in_a_checkpoint_is_never_run(trained, tmp_path):
    torch.save({"model": trained}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"holds code \(timm"):
        create_model(NAME, checkpoint_path=tmp_path / "w.pth")


def test_an_imported_head_is_everybodys(trained, scarlet, tmp_path):
    tuned = head(trained, 5, 1)
    torch.save({"model": scaled(tuned.state_dict(), 0), "model_ema": tuned.state_dict()}, tmp_path / "w.pth")
    code, out, err = scarlet("weights", "import", NAME, tmp_path / "w.pth", "--json")
    assert code == 0, err
    assert json.loads(out)["metadata"]["imported_from"] == "w.pth (the averaged weights model_ema)"
    assert "(the averaged weights model_ema)" in load_network(NAME).weights
    for model in (load_network(NAME).model, create_model(NAME, pretrained=True)):
        assert torch.equal(model.get_parameter("classifier.weight"), tuned.classifier.weight)
        assert torch.equal(model.get_parameter("conv_stem.weight"), tuned.conv_stem.weight)
    assert store.find_weights(NAME).metadata["num_classes"] == "5"


@pytest.mark.slow
def test_labels_and_the_name_of_a_file_are_given(trained, scarlet, tmp_path):
    torch.save(
        {"model": scaled(trained.state_dict(), 0), "model_ema": head(trained, 3).state_dict()}, tmp_path / "w.pth"
    )
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nsea horse\n")
    command = (
        "export",
        NAME,
        "--weights",
        tmp_path / "w.pth",
        "--input-size",
        64,
        "--out",
        tmp_path,
        "--labels",
        labels,
    )
    code, out, err = scarlet(*command, "--name", "pets.v2", "--json")
    assert code == 0, err
    said, path = json.loads(out), tmp_path / "pets.v2.onnx"
    assert said["path"] == str(path)
    artifact = read_artifact(path)
    assert (artifact.labels, artifact.metadata["num_classes"]) == (["cat", "dog", "sea horse"], "3")
    assert said["weights"] == artifact.weights == "file w.pth (the averaged weights model_ema)"
    assert load(path).labels == ("cat", "dog", "sea horse")
    code, out, err = scarlet("verify", path, "--weights", tmp_path / "w.pth", "--json")
    assert code == 0, err
    assert json.loads(out)["weights"] == said["weights"]
    assert scarlet("verify", path)[0] == 0, "the file that it names lies beside it"
    (tmp_path / "w.pth").rename(tmp_path / "v.pth")
    code, _, err = scarlet("verify", path)
    (tmp_path / "v.pth").rename(tmp_path / "w.pth")
    assert code == 2
    assert "wanted --weights FILE to compare with" in err
    labels.write_text("cat\ndog\n")
    code, _, err = scarlet(*command)
    assert (code, err.count("\n")) == (2, 1)
    assert "got 2 labels, wanted 3" in err
    code, _, err = scarlet(*command[:-2], "--name", "some/where")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: --name: got 'some/where', wanted a file's name")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tench\r\ngold fish\r\n\r\n", ("tench", "gold fish")),
        ("\ufeffä\nb", ("ä", "b")),
        ('["a", "b"]', ("a", "b")),
        ('{"1": "b", "0": "a"}', ("a", "b")),
        ('{"b": 1, "a": 0}', ("a", "b")),
        ('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
    ],
)
def test_label_files_of_all_kinds_are_read(text, names, tmp_path):
    (tmp_path / "labels").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "labels") == names


@pytest.mark.parametrize("text", ["", "a\n\nb", '{"1": "b"}', '["a", 3]', "[", '{"0": "a", "2": "c"}'])
def test_label_files_with_a_gap_are_refused(text, tmp_path):
    (tmp_path / "labels").write_text(text)
    with pytest.raises(ScarletError, match="labels: "):
        read_labels(tmp_path / "labels")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that timm writes: five classes with names, one channel."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("hub") / "five"
    model = timm.create_model(NAME, num_classes=5, in_chans=1).eval()
    timm.models.save_for_hf(model, path, model_config={"label_names": ["v", "w", "x", "y", "z"]})
    return path, model


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_a_folders_network_has_its_weights_and_verifies_by_itself(weights, folder, scarlet, tmp_path, monkeypatch):
    path, model = folder
    monkeypatch.chdir(path.parent)
    command = ("export", "local-dir:five", "--input-size", 64, "--out", tmp_path, "--name", "f", "--weights", weights)
    code, out, err = scarlet(*command, "--json")
    assert code == 0, err
    assert json.loads(out)["weights"] == "pretrained local-dir:five"
    artifact = read_artifact(tmp_path / "f.onnx")
    assert artifact.labels == ["v", "w", "x", "y", "z"]
    told = {key: artifact.metadata[key] for key in ("source", "num_classes", "in_chans", "model")}
    assert told == {"source": f"local-dir:{path}", "num_classes": "5", "in_chans": "1", "model": NAME}
    monkeypatch.chdir(tmp_path)
    assert scarlet("verify", "f.onnx")[0] == 0
    images = np.random.default_rng(0).standard_normal((2, 1, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        truth = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(load("f.onnx").run(images, 2), truth, atol=1e-5)


def test_a_folder_that_we_write_keeps_the_names_of_the_classes(folder, scarlet, tmp_path):
    assert scarlet("weights", "save-for-hub", f"local-dir:{folder[0]}", tmp_path / "ours")[0] == 0
    network = load_network(f"local-dir:{tmp_path / 'ours'}")
    assert network.labels == ("v", "w", "x", "y", "z")
    assert torch.equal(network.model.get_parameter("classifier.weight"), folder[1].classifier.weight)


@pytest.mark.slow
def test_a_folder_without_weights_is_no_random_network(folder, scarlet, tmp_path):
    (tmp_path / "config.json").write_text((folder[0] / "config.json").read_text())
    code, out, err = scarlet("fold", f"local-dir:{tmp_path}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds no weights" in err
    assert "--weights random" in err
    assert scarlet("fold", f"local-dir:{tmp_path}", "--weights", "random")[0] == 0


def test_a_torch_models_own_labels_and_name_reach_its_file(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    done = export(model, out=tmp_path, name="two", labels=["no", "yes"])
    assert done.path == tmp_path / "two.onnx"
    assert read_artifact(done.path).labels == ["no", "yes"]
