"""The optimiser of a training: timm's, with a learning rate for each group of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers, param_groups_layer_decay
from torch import nn

from scarlet_zoo.errors import TrainingError, unknown_name
from scarlet_zoo.training.settings import TrainSettings

# Key of a parameter group: its learning rate over that of the step. It is timm's.
SCALE = "lr_scale"


def make_optimizer(
    model: nn.Module, settings: TrainSettings, scales: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Create the optimiser of a model's parameters that need a gradient.

    Args:
        model: the model.
        settings: give the optimiser, its learning rate, momentum and weight decay.
        scales: learning rate of parameters by name over that of the step; 1 when left out.

    Raises:
        UnknownNameError: timm has no such optimiser.
        TrainingError: nothing is left to train, or the optimiser is not installed or needs another kind of training.
    """
    name = settings.opt.lower()
    if name not in list_optimizers():
        raise unknown_name("optimizer", settings.opt, ("sgd", "adamw", "rmsprop", *map(str, list_optimizers())))
    if get_optimizer_info(name).second_order:
        raise TrainingError(f"optimizer {settings.opt}: needs second derivatives, wanted one that needs gradients only")
    if name in ("sgd", "nesterov") and not settings.momentum:
        name = "momentum"  # Nesterov's needs one; without it both are plain descent
    try:
        groups = parameter_groups(model, settings, scales or {})
        return create_optimizer_v2(groups, opt=name, lr=settings.lr, momentum=settings.momentum)
    except (ImportError, AssertionError, RuntimeError, ValueError, TypeError, NameError, AttributeError) as error:
        if isinstance(error, TrainingError):
            raise
        # Some of timm's optimisers are of packages that are not installed, or for parameters of a certain shape.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise TrainingError(f"optimizer {settings.opt}: cannot be used here: {reason}") from error


def parameter_groups(model: nn.Module, settings: TrainSettings, scales: Mapping[str, float]) -> list[dict[str, Any]]:
    """Divide the parameters that need a gradient by learning rate, and by whether weights decay.

    Tensors with one dimension, which are biases and norms, have no weight decay.

    Raises:
        TrainingError: no parameter needs a gradient.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise TrainingError("training: all parameters are frozen, wanted some that are trained")
    groups = []
    for scale in dict.fromkeys(scales.get(name, 1.0) for name, _ in named):
        own = [parameter for name, parameter in named if scales.get(name, 1.0) == scale]
        for decay, some in (
            (settings.weight_decay, [parameter for parameter in own if parameter.ndim > 1]),
            (0.0, [parameter for parameter in own if parameter.ndim <= 1]),
        ):
            groups.append({"params": some, "weight_decay": decay, SCALE: scale})
    return groups


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """Return the learning rate of each parameter over that of the last layer, which falls by ``decay`` a layer.

    The layers are timm's: those of the model's ``group_matcher``, else its parameters in groups of twelve.
    """
    if decay == 1:
        return {}
    groups = param_groups_layer_decay(model, layer_decay=decay)
    scale_of = {id(parameter): group[SCALE] for group in groups for parameter in group["params"]}
    return {name: scale_of[id(p)] for name, p in model.named_parameters() if id(p) in scale_of}
