"""A training that has taught nothing says so, and one of few images is long enough to teach something."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scarlet_zoo.cli.learnt import length_of, network_note, supernet_note
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.models.weights.checkpoint import save_state
from scarlet_zoo.nas.tour_settings import TourSettings
from scarlet_zoo.nas.train_supernet import train_supernet
from scarlet_zoo.training.guess import Guess
from scarlet_zoo.training.run import DataPlan
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.training.usual_length import LEAST_STEPS, Length, usual_length

TOML = 'name = "t"\ninput_size = 32\nstages = [[8, 1, 2]]\nkernel_sizes = [3]\nhead_width = 16\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images of two classes that look alike, and a space of small networks."""
    folder = tmp_path_factory.mktemp("few")
    for number, photo in enumerate(photos(14)):
        where = folder / "images" / ("a", "b")[number % 2]
        where.mkdir(parents=True, exist_ok=True)
        photo.resize((32, 32)).save(where / f"{number}.png")
    (folder / "t.toml").write_text(TOML)
    return folder


def data_of(train, validation):
    parts = {"train": torch.tensor(train), "validation": torch.tensor(validation)}
    return SimpleNamespace(classes=("a", "b", "c"), part=lambda name: SimpleNamespace(targets=parts[name]))


def test_a_guess_is_the_best_answer_that_is_the_same_for_all_images():
    data = data_of([0] * 8 + [1] * 2, [0, 0, 0, 1])
    sharp = Guess.of(data, TrainSettings(label_smoothing=0.0))
    assert sharp.loss == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert [sharp.least_loss, sharp.accuracy] == pytest.approx([0, 75])
    smooth = Guess.of(data, TrainSettings(label_smoothing=0.3))
    answer = torch.tensor([0.7 * 0.8 + 0.1, 0.7 * 0.2 + 0.1, 0.1]).log()
    targets = data.part("train").targets
    asked = torch.nn.functional.cross_entropy(answer.expand(10, 3), targets, label_smoothing=0.3)
    assert smooth.loss == pytest.approx(float(asked))
    sure = torch.tensor([0.8, 0.1, 0.1]).log()[None]
    asked = torch.nn.functional.cross_entropy(sure, targets[:1], label_smoothing=0.3)
    assert smooth.least_loss == pytest.approx(float(asked))
    even = Guess.of(data, TrainSettings(label_smoothing=0.0, balance="loss"))
    assert [even.loss, even.accuracy] == pytest.approx([math.log(2), 50])


def supernet_report(path_loss, smoothing=0.1):
    guess = Guess.of(data_of([0, 1, 2], [0, 1, 2]), TrainSettings(label_smoothing=smoothing))
    settings = TrainSettings(epochs=60, batch_size=64, lr=0.1).to_dict()
    return {"steps": 360, "path_loss": path_loss, "guess": guess.to_dict(), "settings": settings}


def test_a_supernet_that_is_not_clearly_better_than_a_guess_is_told_what_to_try_in_another_folder():
    guess = math.log(3)
    for loss in (16.5, guess + 0.05, guess, guess - 0.02):
        told = supernet_note(supernet_report(loss))
        assert f"after 360 steps the loss of a path is {loss:.2f}, and a guess has 1.10" in told
        assert (
            "try, each with another --out: first --epochs 180 (here 60) with --batch-size 16 (here 64), then " in told
        )
        assert "then --lr 0.033, then more images" in told
    assert supernet_note(supernet_report(guess - 0.1)) is None
    # Where labels are smoothed so much that the least loss is near a guess's, less is a difference.
    assert supernet_note(supernet_report(guess - 0.02, 0.9)) is None
    assert supernet_note(supernet_report(None)) is None


def test_a_network_is_told_of_where_its_accuracy_may_be_chance():
    def note(right, images, guess=25.0):
        return network_note({**supernet_report(1.0), "accuracy": {"right": right, "images": images},
                             "guess": {"accuracy": guess}})  # fmt: skip

    assert note(9, 20) is None
    assert "so few images cannot tell" in note(8, 20)
    assert "the network has learnt nothing; try" in note(5, 20)
    assert "and a guess has 90.0 %: the network has learnt nothing" in note(89, 100, 90.0)


def test_the_loss_of_a_path_is_not_that_of_all_paths_of_a_step(place, tmp_path):
    plan = DataPlan(name=str(place / "images"), validation=2)
    how = TrainSettings(epochs=1, batch_size=4, threads=1)
    trained = train_supernet(str(place / "t.toml"), data=plan, out=tmp_path, settings=how, strategy="fairnas")
    rows = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    (paths,) = {len(row["archs"]) for row in rows}
    assert paths > 1
    assert trained.report["path_loss"] == pytest.approx(trained.report["loss"] / paths)
    assert trained.report["guess"]["loss"] == pytest.approx(math.log(2))


def test_few_images_make_hundreds_of_steps_by_smaller_batches_and_more_epochs(tmp_path):
    usual = Length(epochs=10)
    assert usual_length(45_000, usual, tmp_path) == usual
    assert usual_length(5_000, usual, tmp_path) == Length(epochs=10, batch_size=64)
    for images in (1, 12, 220, 700, 3_000, 7_600):
        found = usual_length(images, usual, tmp_path)
        assert LEAST_STEPS <= found.steps(images) < 2.1 * LEAST_STEPS
        assert found.batch_size >= 16
    assert usual_length(220, usual, tmp_path, epochs=3) == Length(epochs=3, batch_size=16)
    assert usual_length(220, usual, tmp_path, batch_size=64) == Length(epochs=200, batch_size=64)
    torch.save({"run": {"epochs": "10", "batch_size": "128"}}, tmp_path / "checkpoint.pt")
    assert usual_length(220, usual, tmp_path) == usual  # an earlier version has begun it
    longer = TourSettings.usual().for_images(220, tmp_path)
    assert all(Length(epochs=how.epochs, batch_size=how.batch_size).steps(220) >= LEAST_STEPS
               for how in (longer.supernet, longer.network))  # fmt: skip


def test_a_length_that_is_asked_for_is_taken_without_looking_at_the_images(tmp_path):
    asked = length_of(DataPlan(name=str(tmp_path / "none")), tmp_path, 10, 7, 9)
    assert asked == (Length(epochs=7, batch_size=9), "")


def test_a_note_says_the_usual_length_and_what_a_supernet_has_not_learnt(place, scarlet, tmp_path, monkeypatch):
    monkeypatch.setattr("scarlet_zoo.training.usual_length.LEAST_STEPS", 14)
    command = ("supernet", "train", "--space", place / "t.toml", "--data", place / "images", "--validation", 2,
               "--threads", 1)  # fmt: skip
    code, out, err = scarlet(*command, "--out", tmp_path / "few steps", "--max-steps", 1)
    assert (code, err) == (0, "")
    path = tmp_path / "few steps" / "supernet.safetensors"
    assert f"next: scarlet-zoo search --supernet '{path}' --out DIR\n" in out
    assert "schema" not in out
    code, out, err = scarlet(*command, "--out", tmp_path / "run", "--lr", 1e-9)
    assert code == 0, err
    usual, nothing = err.splitlines()
    assert usual == (
        "note: 12 training images are few, so this training has --epochs 14 and --batch-size 16: 14 steps; --epochs "
        "and --batch-size give others"
    )
    assert nothing.startswith("note: after 14 steps the loss of a path is ")
    assert "next:" not in out
    # What is refused says only why.
    code, _, err = scarlet(*command, "--out", tmp_path / "run", "--strategy", "typo")
    assert (code, err.count("\n")) == (2, 1)


def test_a_network_of_few_validation_images_is_told_of_and_its_report_is_for_people(place, scarlet, tmp_path):
    arch = "t:e3k3"
    command = ("train", arch, "--space", place / "t.toml", "--data", place / "images", "--validation", 2, "--threads",
               1, "--epochs", 1, "--batch-size", 4, "--out", tmp_path)  # fmt: skip
    code, out, err = scarlet(*command)
    assert code == 0, err
    assert "note: after 3 steps the validation accuracy is " in err
    assert ", and a guess has 50.0 %: " in err
    shown = dict(line.split(maxsplit=1) for line in out.splitlines())
    loss = json.loads((tmp_path / "run.json").read_text())["loss"]
    assert shown["loss"] == f"{loss:.4g}"
    assert not {"schema_version", "schema", "preprocessing_rule", "preprocessing"} & shown.keys()


@pytest.mark.parametrize("name", ["t:e3k3", "mobilenetv3_small_050"])
def test_a_file_is_compared_with_the_weights_file_that_it_was_made_from(name, place, scarlet, tmp_path):
    own = ("--space", place / "t.toml") if ":" in name else ("--input-size", 32)
    made = scarlet("train", name, *own, "--data", place / "images", "--validation", 2, "--threads", 1, "--max-steps", 1,
                   "--batch-size", 4, "--out", tmp_path)  # fmt: skip
    assert made[0] == 0, made
    weights = tmp_path / "model.safetensors"
    code, _, err = scarlet("export", weights, "--name", "net", "--out", tmp_path)
    assert code == 0, err
    code, out, err = scarlet("verify", tmp_path / "net.onnx", weights, "--json")
    assert code == 0, err
    assert json.loads(out)["passed"]
    # Other weights are told apart.
    network = load_file(weights)
    other = {key: value + 0.1 if key.endswith("classifier.bias") else value for key, value in network.items()}
    with safe_open(weights, "pt") as stored:
        described = {key: value for key, value in stored.metadata().items() if key != "sha256"}
    save_state(other, tmp_path / "other.safetensors", described)
    assert scarlet("verify", tmp_path / "net.onnx", tmp_path / "other.safetensors")[0] == 1


def test_a_network_of_a_space_of_your_own_is_drawn(place, scarlet):
    code, out, err = scarlet("show", "t:e3k3", "--space", place / "t.toml", "--json")
    assert code == 0, err
    assert json.loads(out)["arch"] == "t:e3k3"
    code, _, err = scarlet("show", "t:e3k3")
    assert (code, err.count("\n")) == (2, 1)
    assert err.rstrip().endswith("; or --space FILE.toml with the space")
