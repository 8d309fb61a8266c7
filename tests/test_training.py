"""The training loop: the same result whatever interrupts it, on one process or two."""

import json
import random
import signal
import time
from itertools import pairwise
from typing import ClassVar

import pytest
import safetensors.torch
import torch
from conftest import FASHION, TINY, fashion
from process_parts import command_line

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.cli import main
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.batches import Batch, Batches
from scarlet_zoo.errors import ScarletWarning, TrainingError
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.models.supernet import Supernet, load_supernet
from scarlet_zoo.nas.strategies.base import StrategyOptions
from scarlet_zoo.nas.strategies.registry import create_strategy
from scarlet_zoo.nas.strategies.scarlet import Scarlet
from scarlet_zoo.training.learner import NetworkLearner
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.settings import TrainSettings, learning_rate
from scarlet_zoo.training.state import EmaWeights, StepLog

MINI = get_space("scarlet-mini-7")
COMMAND = ("supernet", "train", "--space", "scarlet-mini-7", "--data", "fashion-mnist", "--data-dir", str(FASHION),
           "--batch-size", "8", "--threads", "1")  # fmt: skip


def steps(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def settings(**kwargs):
    return TrainSettings(**{"batch_size": 8, "epochs": 1, "max_steps": 4, **kwargs})


def supernet_learner(seed=0):
    torch.manual_seed(seed)
    return create_strategy("scarlet", MINI, seed=seed)


@pytest.mark.slow
def test_a_run_leaves_its_steps_and_its_weights(tmp_path, scarlet):
    arguments = [*COMMAND, "--max-steps", "5", "--out", tmp_path / "run"]
    code, out, err = scarlet(*arguments, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["steps"], report["pictures"], report["validation_pictures"]) == (5, 55_000, 5_000)
    rows = steps(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(5))
    for row in rows:
        assert row.keys() == {"step", "archs", "loss", "loss_terms", "lr", "images", "changed"}
        assert [arch.partition(":")[0] for arch in row["archs"]] == ["scarlet-mini-7"]
        assert row["images"] == 8
    supernet, said = load_supernet(tmp_path / "run" / "supernet.safetensors")
    assert said["data"] == "fashion-mnist"
    assert len(json.loads(said["labels"])) == 10
    torch.manual_seed(0)
    assert not torch.equal(*(net.get_parameter("classifier.weight") for net in (supernet, Supernet(MINI))))


LONG = (*COMMAND, "--max-steps", "24", "--checkpoint-every", "5", "--out")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert main.run([*LONG, str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_killed_twice_it_ends_bit_for_bit_as_if_it_had_not_been(uninterrupted, tmp_path):
    command = [*LONG, str(tmp_path)]
    log, killed = tmp_path / "steps.jsonl", 0
    for until in (6, 14):
        with command_line(*command) as job:
            while job.running and (not log.exists() or log.read_text().count("\n") < until):
                time.sleep(0.01)
            killed += job.kill() == -signal.SIGKILL
    assert killed == 2
    # What a kill in the middle of a write leaves.
    with log.open("a") as file:
        file.write('{"step": 15, "archs": ["scarl')
    assert main.run(command) == 0
    assert log.read_text() == (uninterrupted / "steps.jsonl").read_text()
    one, two = (safetensors.torch.load_file(folder / "supernet.safetensors") for folder in (uninterrupted, tmp_path))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not list(tmp_path.glob(".*.tmp")) or killed


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(uninterrupted):
    before = (uninterrupted / "steps.jsonl").read_text()
    assert main.run([*LONG, str(uninterrupted)]) == 0
    assert (uninterrupted / "steps.jsonl").read_text() == before


@pytest.mark.slow
def test_another_run_in_the_same_folder_is_refused(uninterrupted, scarlet):
    code, _, err = scarlet(*COMMAND, "--max-steps", "24", "--lr", "0.2", "--out", uninterrupted)
    assert code == 2
    assert "the checkpoint of another run (lr '0.1', not '0.2')" in err
    assert err.count("\n") == 1


def test_the_gradient_of_two_processes_is_that_of_the_whole_batch():
    whole = Batches(100, 8, 0, 5, seed=3)
    parts = [Batches(100, 8, 0, 5, 3, process, 2) for process in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sorted(batch.indices) == sorted(index for share in shares for index in share.indices)
        assert {len(share.indices) for share in shares} == {4}
        assert len({share.seed for share in shares}) == 2


def test_batches_go_through_every_picture_once_an_epoch_and_start_anywhere():
    batches = list(Batches(50, 8, 0, 12, seed=1))
    epochs = [batches[:6], batches[6:]]
    for epoch in epochs:
        seen = [index for batch in epoch for index in batch.indices]
        assert len(set(seen)) == len(seen) == 48
    assert batches[0].indices != batches[6].indices
    assert list(Batches(50, 8, 7, 12, seed=1)) == batches[7:]
    assert list(Batches(50, 8, 0, 12, seed=2)) != batches


def test_augmentation_is_a_function_of_the_seed_and_keeps_what_it_must():
    pixels = torch.arange(4 * 28 * 28).view(4, 1, 28, 28).remainder(251).add(1).to(torch.uint8)
    shift = Augment(shift_px=2, flip=True, erase=0.5)
    assert torch.equal(shift.arrays(pixels, 1), shift.arrays(pixels, 1))
    assert not torch.equal(shift.arrays(pixels, 1), shift.arrays(pixels, 2))
    assert torch.equal(Augment(shift_px=0, flip=False).arrays(pixels, 1), pixels)
    flips = Augment(shift_px=0).arrays(pixels.repeat(16, 1, 1, 1), 3)
    alike = [
        torch.equal(f, p) or torch.equal(f, p.flip(2)) for f, p in zip(flips, pixels.repeat(16, 1, 1, 1), strict=True)
    ]
    assert all(alike)
    mirrored = sum(torch.equal(f, p.flip(2)) for f, p in zip(flips, pixels.repeat(16, 1, 1, 1), strict=True))
    assert 16 < mirrored < 48
    moved = Augment(shift_px=2, flip=False).arrays(pixels, 5)
    for picture, source in zip(moved, pixels, strict=True):
        padded = torch.nn.functional.pad(source, (2, 2, 2, 2))
        windows = [padded[:, y : y + 28, x : x + 28] for y in range(5) for x in range(5)]
        assert any(torch.equal(picture, window) for window in windows)


def test_the_learning_rate_rises_and_falls():
    how = TrainSettings(lr=0.4, warmup=0.25)
    rates = [learning_rate(step, 100, how) for step in range(100)]
    assert rates[24] == pytest.approx(0.4)
    assert rates[0] == pytest.approx(0.4 / 25)
    assert all(a < b for a, b in pairwise(rates[:25]))
    assert all(a > b for a, b in pairwise(rates[25:]))
    assert rates[-1] < 1e-3


@pytest.mark.slow
def test_max_steps_stops_the_schedule_of_all_epochs(tmp_path):
    data = fashion(MINI, 500)
    train(supernet_learner(), data, settings(max_steps=2), tmp_path / "two")
    train(supernet_learner(), data, settings(max_steps=4), tmp_path / "four")
    assert steps(tmp_path / "two") == steps(tmp_path / "four")[:2]


class Watched(Scarlet):
    """Remembers the weights before the last step."""

    before: ClassVar[dict] = {}

    def paths(self, step):
        self.before.update({key: value.clone() for key, value in self.model.state_dict().items()})
        return super().paths(step)


@pytest.mark.slow
def test_only_the_path_of_a_step_is_moved_by_the_loop(tmp_path):
    # Enough steps before the last one that every choice has a momentum that could move it.
    last = 12
    learner, data = Watched(MINI, "identity", StrategyOptions(), 0), fashion(MINI, 500)
    done = train(learner, data, settings(max_steps=last + 1, lr=0.1, weight_decay=0.1), tmp_path)
    on_path = tuple(f"layers.{i}.{token}." for i, token in enumerate(supernet_learner().paths(last)[0].tokens))
    shared = ("conv_stem", "bn1", "first", "conv_head", "bn2", "classifier")
    moved = {key for key, value in done.state.items() if not torch.equal(value, learner.before[key])}
    assert moved
    assert all(key.startswith((*on_path, *shared)) for key in moved)


@pytest.mark.slow
def test_the_average_moves_where_the_path_is_only(tmp_path):
    learner, data = supernet_learner(), fashion(MINI, 500)
    before = {key: value.clone() for key, value in learner.model.state_dict().items()}
    done = train(learner, data, settings(max_steps=1, ema=0.9), tmp_path)
    on_path = tuple(f"layers.{i}.{token}." for i, token in enumerate(supernet_learner().paths(0)[0].tokens))
    shared = ("conv_stem", "bn1", "first", "conv_head", "bn2", "classifier")
    moved = {key for key, value in done.state.items() if not torch.equal(value, before[key])}
    assert moved
    assert all(key.startswith((*on_path, *shared)) for key in moved)


def test_an_average_follows_its_formula():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    ema = EmaWeights(model, 0.5)
    expected = 0.0
    for count in range(1, 6):
        torch.nn.init.constant_(model.weight, float(count))
        model.weight.grad = torch.ones_like(model.weight)
        ema.update(model)
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * count
    assert float(ema.state["weight"]) == pytest.approx(expected)
    model.weight.grad = None
    torch.nn.init.constant_(model.weight, 100.0)
    ema.update(model)
    assert float(ema.state["weight"]) == pytest.approx(expected)


@pytest.mark.slow
def test_a_network_learns_and_is_validated(tmp_path, scarlet):
    arch = "scarlet-mini-7:" + "-".join("id" if "id" in layer.tokens else "e3k3" for layer in MINI.layers)
    data = ("--data-dir", FASHION, "--validation", 1000, "--json")
    code, out, _ = scarlet("train", arch, "--data", "fashion-mnist", *data, "--out", tmp_path, "--max-steps", 100,
                           "--epochs", 1, "--lr", 0.2, "--batch-size", 32, "--threads", 1, "--ema", 0.9)  # fmt: skip
    assert code == 0
    report = json.loads(out)
    assert report["top1"][-1] > 40
    rows = steps(tmp_path)
    assert sum(row["loss"] for row in rows[-10:]) < 0.8 * sum(row["loss"] for row in rows[:10])
    code, out, _ = scarlet("export", arch, "--weights", tmp_path / "model.safetensors", "--out", tmp_path, "--json")
    assert code == 0
    artifact = json.loads(out)
    assert json.loads(artifact["metadata"]["labels"])[0] == "T-shirt/top"
    code, out, _ = scarlet("validate", artifact["path"], "fashion-mnist", *data)
    assert code == 0
    assert json.loads(out)["top1"] == pytest.approx(report["top1"][-1], abs=0.04)


@pytest.mark.slow
def test_a_run_from_other_first_weights_is_another_run(tmp_path):
    model = create_model(Arch.of(MINI, (layer.tokens[0] for layer in MINI.layers)))
    train(NetworkLearner(model), fashion(MINI, 500), settings(max_steps=1), tmp_path, identity={"start": "scratch"})
    with pytest.raises(TrainingError, match="start 'scratch', not 'supernet'"):
        train(
            NetworkLearner(model), fashion(MINI, 500), settings(max_steps=1), tmp_path, identity={"start": "supernet"}
        )


@pytest.mark.slow
def test_a_shorter_run_than_there_is_is_refused_and_a_longer_one_goes_on(tmp_path):
    model = create_model(Arch.of(MINI, (layer.tokens[0] for layer in MINI.layers)))
    train(NetworkLearner(model), fashion(MINI, 500), settings(max_steps=3), tmp_path)
    with pytest.raises(TrainingError, match="holds 3 steps"):
        train(NetworkLearner(model), fashion(MINI, 500), settings(max_steps=2), tmp_path)
    assert len(train(NetworkLearner(model), fashion(MINI, 500), settings(max_steps=3), tmp_path).top1) == 1
    assert len(train(NetworkLearner(model), fashion(MINI, 500), settings(max_steps=4), tmp_path).top1) == 1


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(TrainingError, match="smaller lr"):
        train(supernet_learner(), fashion(MINI, 500), settings(lr=1e30, warmup=0.0, max_steps=30), tmp_path)


def test_a_broken_checkpoint_is_one_line(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="broken") as caught:
        train(supernet_learner(), fashion(MINI, 500), settings(), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_tensorboard_gets_what_the_log_gets(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(supernet_learner(), fashion(MINI, 500), settings(tensorboard=True), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert losses == pytest.approx([row["loss"] for row in steps(tmp_path)], rel=1e-6)


@pytest.mark.slow
def test_half_precision_trains_where_it_is_asked_for(tmp_path):
    train(supernet_learner(), fashion(MINI, 500), settings(precision="bf16"), tmp_path / "half")
    train(supernet_learner(), fashion(MINI, 500), settings(), tmp_path / "whole")
    one, two = steps(tmp_path / "half"), steps(tmp_path / "whole")
    assert one[0]["loss"] != two[0]["loss"]
    assert one[0]["loss"] == pytest.approx(two[0]["loss"], rel=0.05)


def test_another_familys_network_trains_too(tmp_path):
    model = create_model("mobilenetv3_small_050", num_classes=10, in_chans=1)
    done = train(NetworkLearner(model), fashion(MINI, 500), settings(max_steps=2), tmp_path)
    assert done.steps == 2
    assert steps(tmp_path)[0]["archs"] == []


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"lr": 0.0}, {"precision": "fp8"}, {"max_steps": 0}])
def test_settings_that_are_none(bad):
    with pytest.raises(TrainingError, match=next(iter(bad))):
        TrainSettings(**bad)


def test_a_batch_of_one_index_has_the_shape_of_a_batch():
    split = fashion(MINI, 500).part("validation")
    images, targets = split.__getitems__(Batch((3,), 0))
    assert images.shape == (1, 1, 28, 28)
    assert targets.shape == (1,)
    assert TINY.input_size == 32


@pytest.mark.slow
def test_dropout_is_the_same_after_a_stop(tmp_path):
    def learner():
        torch.manual_seed(0)
        return NetworkLearner(create_model(Arch.sample(MINI, random.Random(0)), drop_rate=0.5))

    whole = train(learner(), fashion(MINI, 100), settings(max_steps=3), tmp_path / "whole")
    train(learner(), fashion(MINI, 100), settings(max_steps=1), tmp_path / "cut")
    torch.manual_seed(7)  # what another process begins with
    done = train(learner(), fashion(MINI, 100), settings(max_steps=3), tmp_path / "cut")
    assert all(torch.equal(done.state[key], whole.state[key]) for key in whole.state)


def test_a_log_that_has_lost_steps_says_so(tmp_path):
    file = tmp_path / "steps.jsonl"
    file.write_text("".join(f'{{"step": {step}}}\n' for step in range(3)))
    with pytest.warns(ScarletWarning, match="holds 3 of the 5 steps before this one"), StepLog(file, 5) as log:
        log.write({"step": 5})
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [0, 1, 2, 5]
