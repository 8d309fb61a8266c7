"""Where a training starts: from trained weights, a finished run, another supernet; and a person's own validation."""

import json
from pathlib import Path

import pytest
import torch
from conftest import FASHION, TINY, fashion
from PIL import Image
from training_parts import CLASSES, FEED, NET, album, network, rows, same, settings

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.choices import mbconv_choices
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import chain_layers
from scarlet_zoo.data.batches import Batch
from scarlet_zoo.errors import CheckpointError, DatasetError, ScarletError, ScarletWarning, TrainingError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import load_supernet
from scarlet_zoo.models.weights.checkpoint import read_metadata, released_module_names, save_state
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.plots import plot_training
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import Teacher, TrainSettings
from scarlet_zoo.training.train_network import train

FEW = mbconv_choices(expand_ratios=(3,), kernel_sizes=(3,))
SPACE = SearchSpace("little", FEW, chain_layers(((16, 2, 2),), FEW, in_chs=8), input_size=32, num_classes=10,
                    stem_width=8, first_width=8, head_width=16)  # fmt: skip
HEAD = {"classifier.weight", "classifier.bias"}
ONE = settings(epochs=1, max_steps=1)
THEIRS = {"size": [48, 48], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "crop": 0.9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album") / "images")


@pytest.fixture(scope="module")
def plan(folder):
    return DataPlan(name=str(folder), validation=4)


def weights_file(path, labels, **described):
    """A weights file of NET, with a preprocessing of its own."""
    model = network(len(labels))
    facts = {"name": NET, "labels": json.dumps(labels), "preprocessing": json.dumps(THEIRS), **described}
    save_state(model.state_dict(), path, facts)
    return model.state_dict()


def first_weights(folder, plan, **kwargs):
    """What a training starts from: a step with a learning rate so small that nothing moves."""
    how = settings(epochs=1, max_steps=1, lr=1e-30, weight_decay=0.0, freeze="backbone")
    return train(NET, data=plan, out=folder, settings=how, **{"input_size": 32, **kwargs})


def one_step(network, plan, out, how=ONE, **kwargs):
    return train(network, data=plan, out=out, settings=how, **{"input_size": 32, **kwargs})


def state_of(trained):
    return load_network(NET, str(trained.path)).model.state_dict()


def test_other_classes_get_a_new_classifier_on_the_same_body(plan, tmp_path):
    before = weights_file(tmp_path / "w.safetensors", [f"n{number}" for number in range(5)])
    done = first_weights(tmp_path / "run", plan, weights=tmp_path / "w.safetensors")
    after = state_of(done)
    assert after["classifier.weight"].shape[0] == 3
    assert {key for key in before if not torch.equal(before[key], after[key])} == {
        "classifier.weight",
        "classifier.bias",
    }
    start = done.report["start"]
    assert (start["head"], start["weights"]) == ("new", "file w.safetensors")
    assert start["sha256"] == read_metadata(tmp_path / "w.safetensors")["sha256"]
    assert done.report["from"] == f"weights {start['sha256'][:12]}, new head"
    assert (done.report["params"], done.report["trained_params"]) == (
        sum(p.numel() for p in network().parameters()),
        771,
    )


KINDS = {
    "no classifier": lambda state: {key: value for key, value in state.items() if key not in HEAD},
    "another one": lambda state: {key.replace("classifier", "fc.1"): value for key, value in state.items()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_without_the_networks_classifier_get_a_new_one(plan, tmp_path, kind):
    state = network(7).state_dict()
    torch.save(KINDS[kind](state), tmp_path / "weights.pth")
    done = first_weights(tmp_path / "run", plan, weights=tmp_path / "weights.pth")
    assert done.report["start"]["head"] == "new"
    began = state_of(done)
    assert {key for key in state if not torch.equal(state[key], began[key])} == HEAD
    assert began["classifier.weight"].shape[0] == 3
    # Another network is refused as before.
    torch.save({key: value for key, value in state.items() if "blocks.0" not in key}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"for another network: lacks tensor .blocks\.0"):
        first_weights(tmp_path / "other", plan, weights=tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("labels", "kept"),
    [(["cat", "cup", "star"], True), (["Cat", "Cup", "Star"], True), (["star", "cup", "cat"], False),
     (["dog", "fox", "owl"], False)],
)  # fmt: skip
def test_the_classifier_is_kept_for_the_same_classes_in_the_same_order(plan, tmp_path, labels, kept):
    before = weights_file(tmp_path / "w.safetensors", labels)
    done = first_weights(tmp_path / "run", plan, weights=tmp_path / "w.safetensors")
    assert done.report["start"]["head"] == ("kept" if kept else "new")
    assert torch.equal(before["classifier.weight"], state_of(done)["classifier.weight"]) == kept


@pytest.mark.slow
def test_the_preprocessing_is_that_of_the_weights_unless_a_size_is_given(plan, tmp_path):
    weights_file(tmp_path / "w.safetensors", ["a", "b"])
    for name, size, expected in (("own", None, [48, 48]), ("side", 40, [40, 40]), ("sides", (32, 64), [32, 64])):
        done = first_weights(tmp_path / name, plan, weights=tmp_path / "w.safetensors", input_size=size)
        assert json.loads(read_metadata(done.path)["preprocessing"]) == THEIRS | {"size": expected}


@pytest.mark.slow
def test_a_network_of_two_sides_is_trained_exported_verified_and_asked(folder, tmp_path, scarlet):
    code, out, err = scarlet("train", NET, "--data", folder, "--validation", 4, "--input-size", "32x48", "--batch-size",
                             8, "--max-steps", 2, "--epochs", 1, "--out", tmp_path, "--json")  # fmt: skip
    assert (code, err) == (0, "")
    file = json.loads(out)["path"]
    code, out, err = scarlet("export", NET, "--weights", file, "--out", tmp_path, "--json")
    assert (code, err) == (0, "")
    exported = json.loads(out)["path"]
    assert read_artifact(Path(exported)).preprocessing.size == (32, 48)
    code, out, _ = scarlet("verify", exported, "--weights", file, "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)
    code, out, _ = scarlet("validate", exported, folder, "--json")
    assert (code, json.loads(out)["images"]) == (0, 24)


@pytest.mark.parametrize("size", ["0", "32x", "1x2x3", "-5", "big"])
def test_a_size_that_is_none_is_one_line(scarlet, size, tmp_path):
    code, _, err = scarlet("train", NET, "--data", "x", "--out", tmp_path, f"--input-size={size}")
    assert (code, err.count("\n")) == (2, 1)
    assert "96x128" in err


def test_a_network_that_takes_one_size_only_says_so(plan, tmp_path):
    with pytest.raises(TrainingError, match=r"vit_tiny.*cannot run on images of 32 x 48 pixels"):
        train("vit_tiny_patch16_224", data=plan, out=tmp_path, settings=ONE, input_size=(32, 48))


def test_a_transformer_is_fine_tuned_by_layers(plan, tmp_path):
    model = create_model("test_vit", num_classes=7)
    save_state(model.state_dict(), tmp_path / "w.safetensors", {})
    how = settings(epochs=1, max_steps=1, opt="adamw", layer_decay=0.7, freeze=2, head_lr=0.1)
    done = one_step("test_vit", plan, tmp_path / "run", how, weights=tmp_path / "w.safetensors")
    after = load_network("test_vit", str(done.path)).model.state_dict()
    moved = {key.rpartition(".")[0] for key, value in model.state_dict().items()
             if value.shape != after[key].shape or not torch.equal(value, after[key])}  # fmt: skip
    assert {"head", "norm"} <= moved
    assert not any(name.startswith(("patch_embed", "blocks.0", "blocks.1.")) for name in moved)


def test_pretrained_weights_of_the_zoo_are_fine_tuned(plan, tmp_path):
    with pytest.warns(ScarletWarning, match="turned grey"):
        done = train("scarlet_mini_s", data=plan, out=tmp_path, settings=ONE, weights="pretrained")
    assert done.report["start"]["weights"].startswith("shipped scarlet_mini_s")
    assert done.report["start"]["head"] == "new"
    shipped = load_network("scarlet_mini_s", "pretrained")
    assert json.loads(read_metadata(done.path)["preprocessing"]) == json.loads(shipped.preprocessing.to_json())


def test_a_released_checkpoint_is_fine_tuned(plan, tmp_path):
    arch = Arch.of(TINY, [layer.tokens[0] for layer in TINY.layers])
    theirs = {ours: name for name, ours in released_module_names(arch).items()}
    state = {f"{theirs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
             for key, value in create_model(arch).state_dict().items()}  # fmt: skip
    torch.save({"model_state": state}, tmp_path / "released.pth.tar")
    how = settings(epochs=1, max_steps=1, lr=1e-30, weight_decay=0.0)
    done = train(str(arch), data=plan, out=tmp_path / "run", settings=how, space=TINY,
                 weights=tmp_path / "released.pth.tar")  # fmt: skip
    after = load_network(str(arch), str(done.path))
    assert torch.equal(after.model.state_dict()["conv_stem.weight"], state["stem.0.weight"])
    assert (after.labels, done.report["start"]["head"]) == (("cat", "cup", "star"), "new")


@pytest.mark.slow
def test_random_weights_are_a_start_from_scratch(plan, tmp_path):
    one, two = (one_step(NET, plan, tmp_path / str(weights), weights=weights)
                for weights in (None, "random"))  # fmt: skip
    assert one.report["from"] == two.report["from"] == "scratch"
    assert same(state_of(one), state_of(two))


def test_a_finished_run_goes_on_with_a_new_schedule(plan, tmp_path):
    first = one_step(NET, plan, tmp_path / "one", settings(epochs=1))
    with pytest.raises(TrainingError, match="--continue-from"):
        one_step(NET, plan, tmp_path / "one", settings(epochs=2))
    second = first_weights(tmp_path / "two", plan, continue_from=tmp_path / "one")
    assert same(state_of(first), state_of(second))
    assert (second.report["start"]["steps_before"], second.report["from"][:5]) == (5, "run, ")
    third = first_weights(tmp_path / "three", plan, continue_from=tmp_path / "two")
    assert third.report["start"]["steps_before"] == 6
    # With the weights' file it is another run, although the weights are the same.
    with pytest.raises(TrainingError, match="another run \\(start"):
        first_weights(tmp_path / "two", plan, weights=first.path)


def test_what_no_run_goes_on_from(plan, tmp_path):
    with pytest.raises(TrainingError, match="holds no finished run"):
        one_step(NET, plan, tmp_path / "out", continue_from=tmp_path)
    one_step(NET, plan, tmp_path / "run")
    with pytest.raises(TrainingError, match=f"got a run of network '{NET}', wanted one of 'test_resnet'"):
        one_step("test_resnet", plan, tmp_path / "out", continue_from=tmp_path / "run")
    other = DataPlan(name=str(album(tmp_path / "other", ("a", "b"))), validation=4)
    with pytest.raises(TrainingError, match="on other classes"):
        one_step(NET, other, tmp_path / "out", continue_from=tmp_path / "run")
    with pytest.raises(TrainingError, match="weights and continue_from, wanted one"):
        one_step(NET, plan, tmp_path / "out", continue_from=tmp_path / "run", weights="x")
    with pytest.raises(TrainingError, match="the model with its weights"):
        one_step(network(), plan, tmp_path / "out", weights="x")


def test_another_number_of_validation_images_after_a_training_is_said(folder, plan, tmp_path):
    one_step(NET, plan, tmp_path / "run")
    other = DataPlan(name=str(folder), validation=6)
    with pytest.warns(ScarletWarning, match="4 for validation, here 18 and 6.*accuracy is too high"):
        one_step(NET, other, tmp_path / "next", continue_from=tmp_path / "run")


def test_own_validation_images_are_found_by_their_classes_and_all_others_train(folder, tmp_path):
    own = album(tmp_path / "own", ("star", "cat"), each=2, first=20)
    with pytest.warns(ScarletWarning, match="no validation image of cup"):
        data = DataPlan(name=str(folder), validation_data=own).open(FEED)
    assert (len(data.part("train")), len(data.part("validation"))) == (24, 4)
    validation = data.part("validation")
    assert sorted(validation.targets.tolist()) == [0, 0, 2, 2]
    images, targets = validation.__getitems__(Batch((3, 0, 2, 1), 0))
    assert targets.tolist() == validation.targets[[3, 0, 2, 1]].tolist()
    for image, target in zip(FEED.restore(images.contiguous().numpy()), targets.tolist(), strict=True):
        files = (own / data.classes[target]).iterdir()
        assert any((FEED.pixels(Image.open(file)) == image).all() for file in files)
    train_split = data.part("train")
    assert sorted(train_split.targets.tolist()) == sorted([0] * 8 + [1] * 8 + [2] * 8)
    whole, again = (train_split.__getitems__(Batch(tuple(range(23, -1, -1)), 0)) for _ in range(2))
    assert torch.equal(whole[0], again[0])
    assert whole[1].tolist() == train_split.targets.flip(0).tolist()


def test_own_validation_images_of_other_classes_or_both_kinds_are_refused(folder, tmp_path):
    own = album(tmp_path / "own", ("cup", "owl"), each=2)
    with pytest.raises(DatasetError, match="got class 'owl', wanted classes of"):
        DataPlan(name=str(folder), validation_data=own).open(FEED)
    with pytest.raises(DatasetError, match="validation 4: would be ignored"):
        DataPlan(name=str(folder), validation=4, validation_data=own).open(FEED)


def test_a_search_scores_on_the_validation_images_of_the_training(folder, tmp_path):
    own = album(tmp_path / "own", each=2, first=20)
    plan = DataPlan(name=str(folder), validation_data=own)
    trained = train_supernet(SPACE, data=plan, out=tmp_path / "net", settings=settings(epochs=1, max_steps=1))
    arch = Arch.of(trained.space, [layer.tokens[0] for layer in trained.space.layers])
    scores = Scoring(calibration=8).evaluation(trained.path, None, ("accuracy",))
    assert scores.validation_data == str(own)
    assert scores(arch)["accuracy"] in [pytest.approx(100 * right / 6) for right in range(7)]
    other = Scoring(validation_data=tmp_path / "else").evaluation(trained.path, None, ("accuracy",))
    assert (other.validation_data, other.conditions["validation_data"]) == (str(tmp_path / "else"),) * 2


def test_a_supernet_moves_to_other_classes(folder, plan, tmp_path, scarlet):
    how = TrainSettings(batch_size=8, epochs=1, max_steps=2)
    first = train_supernet(SPACE, data=plan, out=tmp_path / "one", settings=how, strategy="spos")
    other = album(tmp_path / "other", ("a", "b", "c", "d"), each=6)
    code, out, err = scarlet("supernet", "train", "--from", first.path, "--data", other, "--validation", 4, "--out",
                             tmp_path / "two", "--max-steps", 1, "--lr", 1e-30, "--weight-decay", 0, "--batch-size", 8,
                             "--json")  # fmt: skip
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["strategy"], report["space"], report["classes"]) == ("spos", "little", 4)
    assert (report["start"]["head"], report["start"]["sha256"]) == ("new", read_metadata(first.path)["sha256"])
    one, two = (load_supernet(path)[0].state_dict() for path in (first.path, tmp_path / "two" / "supernet.safetensors"))
    counted = ("running_mean", "running_var", "num_batches_tracked")
    trained = {key for key in one if not key.endswith(counted) and key not in HEAD}
    # The smallest step there is moves a zero.
    assert all(torch.allclose(one[key], two[key], atol=1e-20) for key in trained)
    assert two["classifier.weight"].shape[0] == 4


def test_a_supernet_keeps_its_classifier_for_the_same_classes_and_refuses_another_space(plan, tmp_path):
    how = TrainSettings(batch_size=8, epochs=1, max_steps=1)
    first = train_supernet(SPACE, data=plan, out=tmp_path / "one", settings=how)
    again = train_supernet(None, data=plan, out=tmp_path / "two", settings=how, start=first.path)
    assert again.report["start"]["head"] == "kept"
    with pytest.raises(TrainingError, match="another run \\(start"):
        train_supernet(SPACE, data=plan, out=tmp_path / "two", settings=how)
    with pytest.raises(TrainingError, match="space 'little', wanted one of 'scarlet-rgb32'"):
        train_supernet("scarlet-rgb32", data=plan, out=tmp_path / "three", settings=how, start=first.path)
    with pytest.raises(TrainingError, match="with skips 'plain', wanted 'orthogonal'"):
        train_supernet(SPACE, data=plan, out=tmp_path / "four", settings=how, start=first.path, skip="orthogonal")


@pytest.mark.parametrize(
    "only", [{"patience": 2}, {"freeze": "backbone"}, {"head_lr": 0.1}, {"layer_decay": 0.5},
             {"teacher": Teacher(network="x")}],
)  # fmt: skip
def test_a_supernet_refuses_what_is_for_networks(plan, tmp_path, only):
    with pytest.raises(TrainingError, match=f"got {next(iter(only))} "):
        train_supernet(SPACE, data=plan, out=tmp_path, settings=TrainSettings(**only))


@pytest.mark.slow
def test_what_was_trained_is_shown_and_drawn(folder, tmp_path, scarlet):
    command = ("train", NET, "--data", folder, "--validation", 4, "--batch-size", 8, "--epochs", 2, "--input-size", 32,
               "--patience", 1, "--opt", "adamw", "--out", tmp_path / "run")  # fmt: skip
    code, out, err = scarlet(*command, "--plot", tmp_path / "curves.svg")
    assert code == 0
    assert err.startswith("note: after 4 steps the validation accuracy is"), "four images prove nothing"
    shown = {line[:22].strip(): line[22:].strip() for line in out.splitlines()}
    report = json.loads((tmp_path / "run" / "run.json").read_text())
    right = report["accuracy"]["right"]
    assert shown["validation accuracy"].startswith(f"{25 * right:.2f} % ({right} of 4 images, 95 % interval ")
    assert shown["epoch of the weights"].startswith(f"{report['epoch']} of ")
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert report["loss"] == pytest.approx(sum(losses[-2:]) / 2)
    assert report["settings"]["lr"] == 0.001
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    first = (tmp_path / "curves.svg").read_bytes()
    assert scarlet(*command, "--plot", tmp_path / "curves.svg")[0] == 0
    assert (tmp_path / "curves.svg").read_bytes() == first
    plot_training(tmp_path / "run", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = scarlet(*command, "--plot", tmp_path / "curves.pdf")
    assert (code, err.count("\n")) == (2, 1)
    assert "curves.pdf" in err


def test_a_supernets_loss_is_drawn_and_an_empty_folder_is_one_line(plan, tmp_path):
    train_supernet(SPACE, data=plan, out=tmp_path, settings=settings(epochs=1, max_steps=2))
    plot_training(tmp_path, tmp_path / "loss.svg")
    assert "epoch" not in (tmp_path / "loss.svg").read_text()
    with pytest.raises(ScarletError, match="holds no finished run"):
        plot_training(tmp_path / "none", tmp_path / "loss.svg")


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--teacher-weight", 0.5), "only applies to --teacher"), (("--freeze", "head"), "backbone or a number"),
     (("--opt", "adamv"), "adamw"), (("--teacher", "none.safetensors"), "no such file"),
     (("--weights", "none.safetensors"), "no such file"), (("--continue-from", "none"), "no finished run"),
     (("--plot", "curves.pdf"), "got curves.pdf, wanted a file name that ends with .png or .svg")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(folder, tmp_path, scarlet, flags, said):
    code, _, err = scarlet("train", NET, "--data", folder, "--validation", 4, "--input-size", 32, "--out", tmp_path,
                           "--max-steps", 1, *flags)  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert not (tmp_path / "steps.jsonl").exists()


def test_fashion_mnist_and_a_teacher_of_colour_images(tmp_path):
    # The teacher takes three channels, the student one.
    state = create_model("test_resnet", num_classes=10).state_dict()
    save_state(state, tmp_path / "t.safetensors", {"labels": json.dumps(fashion(TINY, 500).classes)})
    how = settings(epochs=1, max_steps=1, teacher=Teacher(network=f"test_resnet={tmp_path / 't.safetensors'}"))
    plan = DataPlan(name="fashion-mnist", folder=FASHION, validation=20, images=40)
    done = train("scarlet_mini_s", data=plan, out=tmp_path / "run", settings=how)
    assert done.report["teacher"].startswith("test_resnet, file t.safetensors")
    assert done.report["settings"]["teacher"]["weight"] == 0.5
    assert len(CLASSES) == 3
