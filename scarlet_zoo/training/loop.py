"""The training loop, which trains a supernet path by path or a single network, in one process or several.

Batches, paths, learning rates and random numbers depend only on seed and step, and everything else is in the
checkpoint. So a run that is killed at any moment continues to the same result when the same command is given
again. Hugging Face Accelerate provides devices, processes and mixed precision: ``accelerate launch`` and
``torchrun`` start the same code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.augmentations import AugmentPlan
from scarlet_zoo.data.balance import SAMPLING
from scarlet_zoo.data.batches import Batches, Views
from scarlet_zoo.data.datasets import ImageData
from scarlet_zoo.data.mixing import Mixed
from scarlet_zoo.data.preprocessing import RULE
from scarlet_zoo.data.splits import Split
from scarlet_zoo.errors import DivergedError, TrainingError
from scarlet_zoo.inference.accuracy import count_right
from scarlet_zoo.models.batchnorm import several_values
from scarlet_zoo.training.acceleration import accelerator_of, hardware_of, shared_value
from scarlet_zoo.training.captured import CapturedGradients
from scarlet_zoo.training.early_stopping import BestEpoch
from scarlet_zoo.training.fast_layers import fast_layers, with_layers
from scarlet_zoo.training.former import RULE_KEY, refuse_other_rule
from scarlet_zoo.training.learner import Course, Learner, LossTerm, StepBatch
from scarlet_zoo.training.loader import batches_of
from scarlet_zoo.training.optimizer import SCALE, make_optimizer
from scarlet_zoo.training.outcome import Seen, Training, Watch, accuracy_of
from scarlet_zoo.training.settings import FAST, TORCH, TrainSettings
from scarlet_zoo.training.state import (
    STEPS_FILE,
    EmaWeights,
    Spent,
    StepLog,
    Writes,
    read_losses,
    read_state,
    write_state,
)
from scarlet_zoo.utils.memory import kept_memory

Progress = Callable[[int, int], None]


def train(
    learner: Learner,
    data: ImageData,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    identity: Mapping[str, str] | None = None,
    watch: Watch | None = None,
) -> Training:
    """Train, or continue the run that ``out`` holds.

    ``out`` gets ``checkpoint.pt`` and ``steps.jsonl``, which has one line for each step: ``step archs loss lr
    images``. ``archs`` lists every path that has run, ``images`` is the number of images of the step. For a
    supernet a line also has ``loss_terms`` (the loss by kind of term) and ``changed`` (the names of the state dict's
    tensors that the step has written to). A network is validated after each epoch; a supernet is not.

    Args:
        learner: the model and its loss.
        data: the data set.
        settings: how to train.
        out: folder of the run.
        progress: called with (steps done, steps in all).
        identity: further facts that must be unchanged for a run to continue.
        watch: called after each step with loss and accuracies.

    Raises:
        TrainingError: ``out`` holds another run, or the settings ask for what the optimiser or learner cannot do.
        DivergedError: the loss is no longer finite.
    """
    loop = Loop(learner, data, settings, out, identity or {})
    for seen in loop.steps():
        if progress is not None:
            progress(seen.step, seen.last)
        if watch is not None:
            watch(seen)
    return loop.result()


class Loop:
    """One training in one process."""

    def __init__(
        self, learner: Learner, data: ImageData, settings: TrainSettings, out: Path, identity: Mapping[str, str]
    ) -> None:
        settings = with_layers(settings.for_data(data), learner.model)
        if settings.mixing.is_on and learner.views > 1:
            raise TrainingError(
                f"training: got mixup {settings.mixup:g} and cutmix {settings.cutmix:g}, wanted neither: the strategy "
                f"compares {learner.views} views of each image"
            )
        self.learner, self.data, self.settings, self.out = learner, data, settings, out
        self.identity = identity
        self.accelerator = accelerator_of(settings, out)
        for module in learner.model.modules():
            # An activation in place would first copy its input, because its gradient needs it.
            if hasattr(module, "inplace"):
                module.inplace = False  # type: ignore[assignment]
        with self.accelerator.main_process_first():
            assert not isinstance(settings.augment, (str, AugmentPlan))
            self.split = data.part("train", learner.augment(settings.augment))
            self.split.prepare()
            if learner.validated:
                data.part("validation").prepare()
        self.validation_images = len(data.part("validation")) if learner.validated else 0
        self.per_epoch = self._batches(0, 0).per_epoch
        self.planned = settings.epochs * self.per_epoch
        self.images_per_step = min(settings.batch_size, len(self.split))
        self.last = min(self.planned, settings.max_steps or self.planned)
        learner.model.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(learner.model, settings, learner.scales())
        self.model, self.optimizer = self.accelerator.prepare(learner.model, optimizer)
        self.ema = EmaWeights(learner.model, settings.ema) if settings.ema else None
        learner.set_up(self._course())
        self.spent, self.best = Spent(), BestEpoch(settings.patience)
        self.first, self.top1 = self._restore()
        self.writes = Writes(learner.model) if learner.traced else None
        a = self.accelerator
        alone = a.device.type == "cuda" and a.num_processes == 1 and a.scaler is None
        self.captured = CapturedGradients(learner.model, self._backward) if alone and learner.is_static else None

    def _course(self) -> Course:
        a = self.accelerator
        return Course(self.settings, self.data, self.planned, self.per_epoch, self.out, a.device,
                      partial(a.reduce, reduction="mean"), a.gather, partial(shared_value, a))  # fmt: skip

    def _batches(self, first: int, last: int) -> Batches:
        a = self.accelerator
        balanced = self.split.targets.numpy() if self.settings.balance == SAMPLING else None
        return Batches(len(self.split), self.settings.batch_size, first, last, self.settings.seed, a.process_index,
                       a.num_processes, balanced)  # fmt: skip

    def _mixed(self) -> Split:
        mixing = self.settings.mixing
        return Mixed(self.split, mixing, len(self.data.classes)) if mixing.is_on else self.split

    def steps(self) -> Generator[Seen]:
        """Run the remaining steps and yield after each what can be told."""
        loaded = batches_of(
            Views(self._mixed(), self.learner.views), self._batches(self.first, self.last), self.settings.workers
        )
        self.spent.begin()
        faster = self.model if self.settings.layers == FAST else None
        log = StepLog(self.out / STEPS_FILE, self.first, enabled=self.accelerator.is_main_process)
        with log, kept_memory(), fast_layers(faster):
            self.learner.train_mode()
            for step, (views, targets) in enumerate(loaded, start=self.first):
                row = self._step(step, views, targets)
                log.write(row)
                if self.settings.tensorboard:
                    self.accelerator.log({"loss": row["loss"], "lr": row["lr"]}, step=step)
                done = step + 1
                if done % self.per_epoch == 0 or done == self.last:
                    self._end_epoch(done)
                self.spent.mark()
                if done % self.settings.checkpoint_every == 0 or done == self.last:
                    self._save(done)
                yield Seen(done, self.last, row["loss"], tuple(self.top1), self.validation_images)
                if done == self.last:
                    break

    def _step(self, step: int, views: Sequence[Tensor], targets: Tensor) -> dict[str, Any]:
        device, settings, learner = self.accelerator.device, self.settings, self.learner
        # Dropout and the like must depend on seed and step only.
        torch.manual_seed(settings.seed * 1_000_003 + step)
        if learner.begin(step):
            self.optimizer.state.clear()
            self.ema = EmaWeights(learner.model, settings.ema) if settings.ema else None
        lr = learner.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get(SCALE, 1.0)
        if self.captured is None:
            self.optimizer.zero_grad(set_to_none=True)
        batch = StepBatch(step, tuple(view.to(device) for view in views), targets.to(device))
        archs, terms = self._gradients(batch)
        if settings.clip_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        learner.before_update(step)
        self.optimizer.step()
        learner.end(step)
        if self.ema is not None:
            self.ema.update(learner.model)
        loss = sum(terms.values())
        if not math.isfinite(loss):
            raise DivergedError(
                f"training in {self.out}: the loss is {loss} at step {step}, wanted a finite one; try a smaller lr"
            )
        if self.writes is None:
            return {"step": step, "archs": archs, "loss": loss, "lr": lr, "images": self.images_per_step}
        return {"step": step, "archs": archs, "loss": loss, "loss_terms": terms, "lr": lr,
                "images": self.images_per_step, "changed": self.writes.since_last()}  # fmt: skip

    def _gradients(self, batch: StepBatch) -> tuple[list[str], dict[str, float]]:
        """Take the gradient of every term of the loss; return the paths that have run and the loss by kind of term."""
        terms = self._backward(batch) if self.captured is None else self.captured(batch)
        sums: dict[str, float] = {}
        for term in terms:
            if term.loss is not None:
                sums[term.name] = sums.get(term.name, 0.0) + float(term.loss)
        return [str(term.arch) for term in terms if term.arch is not None], sums

    def _backward(self, batch: StepBatch) -> list[LossTerm]:
        """Take the gradient of every term of the loss; return the terms, whose losses have no gradient any more."""
        done: list[LossTerm] = []
        parts = self.learner.terms(self.model, batch)
        while True:
            with self.accelerator.autocast(), several_values(f"training in {self.out}"):
                term = next(parts, None)
            if term is None:
                return done
            if term.loss is not None:
                self.accelerator.backward(term.loss)
                term = replace(term, loss=term.loss.detach())
            done.append(term)

    def _end_epoch(self, done: int) -> None:
        if not self.learner.validated:
            return
        state = self._weights()
        own = {key: value.clone() for key, value in self.learner.model.state_dict().items()}
        self.learner.model.load_state_dict(state)
        # The processes' batch norm statistics differ, and all must agree on when to stop.
        self.top1.append(shared_value(self.accelerator, self._accuracy))
        self.learner.model.load_state_dict(own)
        self.learner.train_mode()
        if done % self.per_epoch == 0:
            self.best.see(self.top1, state)
            if self.best.is_over(self.top1):
                self.last = done

    def _accuracy(self) -> float:
        split = self.data.part("validation")
        return count_right(self.learner.model, split, self.accelerator.device).percent

    def _weights(self) -> dict[str, Tensor]:
        return self.ema.state if self.ema is not None else self.learner.model.state_dict()

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            content = {
                "step": step,
                **self.spent.to_dict(),
                "top1": self.top1,
                "run": self._identity(),
                RULE_KEY: RULE,
                "model": self.learner.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.to_dict() if self.ema is not None else {},
                "best": self.best.to_dict(),
                "learner": self.learner.state_dict(),
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {},
            }
            write_state(self.out / "checkpoint.pt", content)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> tuple[int, list[float]]:
        defaults = {**TrainSettings().to_dict(), "start": "scratch", "augment": asdict(Augment()), "crops_from": "None",
                    "layers": TORCH, "split": self._split()}  # fmt: skip
        content = read_state(self.out / "checkpoint.pt", self._identity(), defaults)
        if content is None:
            return 0, []
        step = int(content["step"])
        if step < self.last:
            refuse_other_rule(self.out, content, self.data)
        if step > self.last:
            raise TrainingError(
                f"{self.out}: holds {step} steps of this run, got max_steps {self.last}, wanted {step} or more"
            )
        self.learner.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.learner.load_state_dict(content.get("learner", {}))
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        if self.ema is not None:
            self.ema.load(content["ema"])
        # An epoch that max_steps cut short was validated at its end then; it continues now, so its accuracy is dropped.
        whole = content["top1"] if step == self.last else content["top1"][: step // self.per_epoch]
        self.spent.load(content)
        self.best.load(content.get("best", {}))
        if self.best.is_over(whole):
            self.last = step
        return step, list(whole)

    def _split(self) -> str:
        """The digests of the images and of their division; earlier runs do not state them."""
        division = self.data.division
        return "not known" if division is None else f"{division.images} {division.digest}"

    def _identity(self) -> dict[str, str]:
        """What must be unchanged for a run to continue; its length, checkpoints, workers and threads may change."""
        settings = {key: str(value) for key, value in self.settings.to_dict().items()}
        for key in ("max_steps", "checkpoint_every", "workers", "threads", "tensorboard"):
            del settings[key]
        seen = {"data": self.data.name, "pictures": str(len(self.split)), "classes": " ".join(self.data.classes),
                "crops_from": str(self.split.crops_from), "split": self._split()}  # fmt: skip
        return {**settings, **seen, **self.learner.identity(), **self.identity}

    def result(self) -> Training:
        """Return the trained weights, the time spent and the validation accuracies."""
        epoch, weights = self.best.chosen(self.top1, self._weights())
        state = {key: value.detach().cpu() for key, value in self.learner.result(weights).items()}
        losses = read_losses(self.out / STEPS_FILE)[-self.per_epoch :]
        return Training(
            state=state, steps=self.last, seconds=self.spent.seconds, core_seconds=self.spent.core_seconds,
            top1=tuple(self.top1), epoch=epoch,
            accuracy=accuracy_of(self.top1[epoch - 1], self.validation_images) if epoch else None,
            stopped_early=self.last < self.planned and self.best.is_over(self.top1),
            loss=sum(losses) / len(losses) if losses else math.nan, hardware=hardware_of(self.accelerator.device),
        )  # fmt: skip
