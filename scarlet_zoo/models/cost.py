"""The cost of any torch model, counted while it runs, as rows of :mod:`scarlet_zoo.arch.cost`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scarlet_zoo.arch.cost import Cost, LayerCost, arch_cost
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.loading import Network


def model_cost(model: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Count parameters and multiply-adds of a model, one row for each convolution and linear layer that ran.

    The first row, ``(norms)``, holds the parameters of all other layers, mostly batch norms, so that the rows
    add up to the model's cost.

    Args:
        model: any model that takes one image batch; it is run once, in eval mode.
        image_shape: (C, H, W).

    Raises:
        ScarletError: the model does not run on such an image.
    """
    rows: list[LayerCost] = []
    hooks = [
        module.register_forward_hook(_recorder(name, rows))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    parameter = next(model.parameters())
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros((1, *image_shape), dtype=parameter.dtype, device=parameter.device))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ScarletError(f"{type(model).__name__}: fails on an image of shape {image_shape}: {reason}") from error
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    counted = sum(row.params for row in rows)
    rest = sum(p.numel() for p in model.parameters()) - counted
    return Cost((LayerCost("(norms)", "", 0, 0, 1, 0, 0, rest, 0), *rows))


def _recorder(name: str, rows: list[LayerCost]) -> Any:
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        params = sum(p.numel() for p in module.parameters(recurse=False))
        if isinstance(module, nn.Conv2d):
            macs = output[0].numel() * module.weight[0].numel()
            kernel = "x".join(map(str, module.kernel_size))
            kind = f"dw{kernel}" if module.groups == module.in_channels > 1 else f"conv{kernel}"
            sizes = inputs[0].shape[-1], output.shape[-1]
            rows.append(
                LayerCost(name, kind, module.in_channels, module.out_channels, module.stride[0], *sizes, params, macs)
            )
        elif isinstance(module, nn.Linear):
            macs = output[0].numel() * module.in_features
            rows.append(LayerCost(name, "linear", module.in_features, module.out_features, 1, 1, 1, params, macs))

    return record


def network_cost(network: Network) -> Cost:
    """Return a network's cost at its own input size: in closed form for our search spaces, else counted."""
    feed = network.preprocessing
    classifies = hasattr(network.model, "classifier")
    if network.arch is not None and classifies and feed.size[0] == feed.size[1]:
        classes = int(getattr(network.model, "num_classes", network.arch.space.num_classes))
        return arch_cost(network.arch, input_size=feed.size[0], in_chans=feed.channels, num_classes=classes)
    return model_cost(network.model, (feed.channels, *feed.size))
