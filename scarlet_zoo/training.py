"""The one training loop: a supernet path by path, or one network, on one process or many.

Batches, paths, learning rates and random numbers are functions of seed and step, and everything else
is in the checkpoint, so a run that is killed at any moment continues to the same result when the same
command is given again. Hugging Face Accelerate brings devices, processes and mixed precision:
``accelerate launch`` and ``torchrun`` start the same code.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from scarlet_zoo.batches import Batches
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.image_data import ImageData
from scarlet_zoo.learners import Learner
from scarlet_zoo.scoring import accuracy
from scarlet_zoo.supernet import Supernet
from scarlet_zoo.train_settings import TrainSettings, learning_rate
from scarlet_zoo.training_state import EmaWeights, StepLog, read_state, write_state

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        state: the trained weights (averaged ones where that was asked for).
        steps, seconds: how many there were and how long they took, over all sittings.
        top1: validation accuracy in percent after each epoch, for a network.
    """

    state: dict[str, Tensor]
    steps: int
    seconds: float
    top1: tuple[float, ...]


def train(
    learner: Learner,
    data: ImageData,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    identity: Mapping[str, str] | None = None,
) -> Training:
    """Train, continuing what ``out`` holds of the same run.

    ``out`` gets ``steps.jsonl`` (one line a step: ``step archs loss lr images``) and ``checkpoint.pt``. A
    network is validated after each epoch; a supernet has no accuracy of its own.

    Args:
        learner: what to train.
        data: with what.
        settings: how.
        out: folder of the run.
        progress: told (steps done, steps in all).
        identity: what else must be the same for a run to be continued.

    Raises:
        TrainingError: ``out`` holds another run, or the loss is no longer a number.
    """
    loop = _Loop(learner, data, settings, out, identity or {})
    for step in loop.steps():
        if progress is not None:
            progress(step, loop.last)
    return loop.result()


class _Loop:
    """One training in one process: what is there once, and what happens in a step."""

    def __init__(
        self, learner: Learner, data: ImageData, settings: TrainSettings, out: Path, identity: Mapping[str, str]
    ) -> None:
        self.learner, self.data, self.settings, self.out = learner, data, settings, out
        self.identity = identity
        self.accelerator = _accelerator(settings, out)
        for module in learner.model.modules():
            # In place, an activation's input is copied first because its gradient needs it.
            if hasattr(module, "inplace"):
                module.inplace = False  # type: ignore[assignment]
        with self.accelerator.main_process_first():
            self.split = data.part("train", settings.augment)
        batches = self._batches(0, 0)
        self.planned = settings.epochs * batches.per_epoch
        self.per_epoch = batches.per_epoch
        self.pictures = min(settings.batch_size, len(self.split))
        self.last = min(self.planned, settings.max_steps or self.planned)
        learner.model.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(_groups(learner.model, settings), settings.lr, settings.momentum, nesterov=True)
        self.model, self.optimizer = self.accelerator.prepare(learner.model, optimizer)
        self.ema = EmaWeights(learner.model, settings.ema) if settings.ema else None
        self.first, self.seconds, self.top1 = self._restore()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)

    def _batches(self, first: int, last: int) -> Batches:
        a = self.accelerator
        return Batches(len(self.split), self.settings.batch_size, first, last, self.settings.seed, a.process_index,
                       a.num_processes)  # fmt: skip

    def steps(self) -> Iterator[int]:
        """Run the steps that are left; yields how many are done."""
        split, batches = cast(Any, self.split), cast(Any, self._batches(self.first, self.last))
        loader: Any = torch.utils.data.DataLoader(
            split,
            batch_sampler=batches,
            num_workers=self.settings.workers,
            collate_fn=_as_it_is,
        )
        main, begun, before = self.accelerator.is_main_process, time.monotonic(), self.seconds
        with StepLog(self.out / "steps.jsonl", self.first, enabled=main) as log:
            self.model.train()
            for step, (images, targets) in enumerate(loader, start=self.first):
                row = self._step(step, images, targets)
                log.write(row)
                if self.settings.tensorboard:
                    self.accelerator.log({"loss": row["loss"], "lr": row["lr"]}, step=step)
                done = step + 1
                if done % self.per_epoch == 0 or done == self.last:
                    self._end_epoch()
                self.seconds = before + time.monotonic() - begun
                if done % self.settings.checkpoint_every == 0 or done == self.last:
                    self._save(done)
                yield done

    def _step(self, step: int, images: Tensor, targets: Tensor) -> dict[str, Any]:
        device, settings = self.accelerator.device, self.settings
        images, targets = images.to(device), targets.to(device)
        # For dropout and the like: a function of the step, as all the rest is.
        torch.manual_seed(settings.seed * 1_000_003 + step)
        lr = learning_rate(step, self.planned, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        paths, losses = self.learner.paths(step), []
        for arch in paths:
            with self.accelerator.autocast():
                loss = self.criterion(self.learner.forward(self.model, images, arch), targets)
            self.accelerator.backward(loss)
            losses.append(float(loss.detach()))
        if settings.clip_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.learner.model)
        loss_value = sum(losses) / len(losses)
        if not math.isfinite(loss_value):
            raise TrainingError(f"training in {self.out}: the loss is {loss_value} at step {step}, wanted a smaller lr")
        archs = [str(arch) for arch in paths if arch is not None]
        return {"step": step, "archs": archs, "loss": loss_value, "lr": lr, "images": self.pictures}

    def _end_epoch(self) -> None:
        if isinstance(self.learner.model, Supernet):
            return
        state = self._weights()
        own = {key: value.clone() for key, value in self.learner.model.state_dict().items()}
        self.learner.model.load_state_dict(state)
        self.top1.append(accuracy(self.learner.model, self.data.part("validation"), self.accelerator.device))
        self.learner.model.load_state_dict(own)
        self.learner.model.train()

    def _weights(self) -> dict[str, Tensor]:
        return self.ema.state if self.ema is not None else self.learner.model.state_dict()

    def _save(self, step: int) -> None:
        if self.accelerator.is_main_process:
            content = {
                "step": step,
                "seconds": self.seconds,
                "top1": self.top1,
                "run": self._identity(),
                "model": self.learner.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.to_dict() if self.ema is not None else {},
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {},
            }
            write_state(self.out / "checkpoint.pt", content)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> tuple[int, float, list[float]]:
        content = read_state(self.out / "checkpoint.pt", self._identity())
        if content is None:
            return 0, 0.0, []
        step = int(content["step"])
        if step > self.last:
            raise TrainingError(f"{self.out}: holds {step} steps of this run, got a last step of {self.last}")
        self.learner.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        if self.ema is not None:
            self.ema.load(content["ema"])
        # An epoch that was cut short by max_steps has been validated, and is now going on.
        whole = content["top1"] if step == self.last else content["top1"][: step // self.per_epoch]
        return step, float(content["seconds"]), list(whole)

    def _identity(self) -> dict[str, str]:
        """What must be the same for a run to be continued; how far it goes and how often it saves may change."""
        settings = {key: str(value) for key, value in self.settings.to_dict().items()}
        for key in ("max_steps", "checkpoint_every", "workers", "threads", "tensorboard"):
            del settings[key]
        model = self.learner.model
        arch = str(getattr(model, "arch", "")) or type(model).__name__
        what = f"{model.space.to_json()} {model.skip}" if isinstance(model, Supernet) else arch
        seen = {"data": self.data.name, "pictures": str(len(self.split)), "classes": " ".join(self.data.classes)}
        sampler = repr(getattr(self.learner, "sampler", None))
        return {**settings, **seen, "network": what, "sampler": sampler, **self.identity}

    def result(self) -> Training:
        """What came of it."""
        state = {key: value.detach().cpu() for key, value in self._weights().items()}
        return Training(state, self.last, self.seconds, tuple(self.top1))


def _accelerator(settings: TrainSettings, out: Path) -> Any:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError as error:
        raise TrainingError("training: needs Accelerate: pip install 'scarlet-zoo[train]'") from error
    # A path leaves most of a supernet without gradients, in every process alike.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    # A process may train more than once, each time in its own precision.
    AcceleratorState._reset_state()
    boards = {"log_with": "tensorboard", "project_dir": str(out)} if settings.tensorboard else {}
    if settings.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise TrainingError("training: needs TensorBoard: pip install 'scarlet-zoo[tensorboard]'")
    try:
        accelerator = Accelerator(mixed_precision=settings.precision, kwargs_handlers=handlers, **boards)
        if settings.tensorboard:
            accelerator.init_trackers("tensorboard")
        return accelerator
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"training: {str(error).splitlines()[0]}") from error


def _as_it_is(batch: Any) -> Any:
    """The split has made a batch already."""
    return batch


def _groups(model: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
