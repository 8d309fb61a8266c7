"""Hugging Face Accelerate as the training loop uses it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.installing import install_command


def accelerator_of(settings: TrainSettings, out: Path) -> Any:
    """The Accelerator of a training: device, processes, precision and boards as settings and launcher ask.

    Raises:
        TrainingError: a library that is not installed, or what this machine does not offer.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training: Accelerate is not installed, wanted it: {install_command('train', ['accelerate'])}"
        ) from error
    # A path leaves most of a supernet without gradients, in every process alike. The main process's statistics
    # are the ones that are kept, so nobody needs to be sent them before each path.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)]
    # A process may train more than once, each time in its own precision.
    AcceleratorState._reset_state()
    boards = {"log_with": "tensorboard", "project_dir": str(out)} if settings.tensorboard else {}
    if settings.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise TrainingError(f"training: TensorBoard is not installed, wanted it: {install_command('tensorboard')}")
    try:
        accelerator = Accelerator(mixed_precision=settings.precision, kwargs_handlers=handlers, **boards)
        if settings.tensorboard:
            accelerator.init_trackers("tensorboard")
        return accelerator
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"training: {str(error).splitlines()[0]}") from error


def shared_value(accelerator: Any, make: Callable[[], Any]) -> Any:
    """What the main process makes, in every process."""
    if accelerator.num_processes == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    values = [make() if accelerator.is_main_process else None]
    broadcast_object_list(values)
    return values[0]
