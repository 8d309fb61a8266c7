"""Set up Hugging Face Accelerate for the training loop."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scarlet_zoo.errors import TrainingError
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.training.settings import TrainSettings
from scarlet_zoo.utils.installing import install_command


def accelerator_of(settings: TrainSettings, out: Path) -> Any:
    """Create the Accelerator of a training, which brings its device, processes, precision and TensorBoard log.

    Args:
        settings: give the precision and whether TensorBoard is used; the launcher gives devices and processes.
        out: folder that TensorBoard's event files are written to.

    Raises:
        TrainingError: Accelerate or TensorBoard is not installed, or this machine lacks the precision or device.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training: Accelerate is not installed; install it with: {install_command('train', ['accelerate'])}"
        ) from error
    # One path leaves most of a supernet without gradients, the same parameters in every process. Only the main
    # process's batch norm statistics are saved, so they need not be broadcast before each path.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)]
    # A process may train several times, each time with another precision.
    AcceleratorState._reset_state()
    boards = {"log_with": "tensorboard", "project_dir": str(out)} if settings.tensorboard else {}
    if settings.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise TrainingError(
            f"training: TensorBoard is not installed; install it with: {install_command('tensorboard')}"
        )
    try:
        # Without this Accelerate takes each of the processes that torchrun starts on a CPU for the only one.
        on_cpu = _started() > 1 and not torch.accelerator.is_available()
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=settings.precision, kwargs_handlers=handlers, **boards)
        if settings.tensorboard:
            accelerator.init_trackers("tensorboard")
        return accelerator
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"training: {str(error).splitlines()[0]}") from error


def _started() -> int:
    """Number of processes that torchrun or accelerate have started; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def hardware_of(device: torch.device) -> str:
    """Name of the accelerator of this device, or of this machine's processor."""
    if device.type in ("cuda", "xpu"):
        return str(torch.get_device_module(device).get_device_name(device))
    return cpu_model() if device.type == "cpu" else f"{device.type}, {cpu_model()}"


def shared_value(accelerator: Any, make: Callable[[], Any]) -> Any:
    """Return in every process what ``make`` returns in the main process, which alone calls it."""
    if accelerator.num_processes == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    values = [make() if accelerator.is_main_process else None]
    broadcast_object_list(values)
    return values[0]
