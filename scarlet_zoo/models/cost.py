"""The cost of any torch model, counted while it runs, as rows of :mod:`scarlet_zoo.arch.cost`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from scarlet_zoo.arch.cost import Cost, LayerCost, arch_cost
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.loading import Network

# Layers whose multiply-adds follow from their shapes.
_COUNTED = (nn.Conv2d, nn.Linear)


def model_cost(model: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Count parameters and multiply-adds of a model, one row for each convolution and linear layer that ran.

    Products of matrices elsewhere, such as those of attention, are counted by torch and have a row for each module
    that computes them. The first row, ``(norms)``, holds the parameters of all other layers, mostly batch norms, so
    that the rows add up to the model's cost.

    Args:
        model: any model that takes one image batch; it is run once, in eval mode.
        image_shape: (C, H, W).

    Raises:
        ScarletError: the model does not run on such an image.
    """
    rows: list[LayerCost] = []
    counter = FlopCounterMode(display=False)
    products, hooks = _Products(counter, rows), list[RemovableHandle]()
    for name, module in model.named_modules():
        hooks += products.watch(name, module)
        if isinstance(module, _COUNTED):
            hooks.append(module.register_forward_hook(_recorder(name, rows)))
    parameter = next(model.parameters())
    training = model.training
    try:
        # Fused attention is computed as the products that it consists of, which torch counts on every processor.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
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
        # A layer that several modules run has its parameters once.
        again = any(row.name == name for row in rows)
        params = 0 if again else sum(p.numel() for p in module.parameters(recurse=False))
        if isinstance(module, nn.Conv2d):
            macs = output.numel() * module.weight[0].numel()
            kernel = "x".join(map(str, module.kernel_size))
            kind = f"dw{kernel}" if module.groups == module.in_channels > 1 else f"conv{kernel}"
            sizes = inputs[0].shape[-1], output.shape[-1]
            rows.append(
                LayerCost(name, kind, module.in_channels, module.out_channels, module.stride[0], *sizes, params, macs)
            )
        elif isinstance(module, nn.Linear):
            macs = output.numel() * module.in_features
            rows.append(LayerCost(name, "linear", module.in_features, module.out_features, 1, 1, 1, params, macs))

    return record


class _Products:
    """Adds a row for every run of a module that multiplies matrices itself, other than convolutions and linear layers.

    Attributes:
        counter: counts two operations for each multiply-add of all modules.
        rows: where the rows are added.
    """

    def __init__(self, counter: FlopCounterMode, rows: list[LayerCost]) -> None:
        self.counter, self.rows = counter, rows
        # For each module that runs: the count when it began, and the operations of the modules inside it.
        self._running: list[tuple[int, int]] = [(0, 0)]

    def watch(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        """Follow a module's runs; returns the hooks."""
        return [module.register_forward_pre_hook(self._begin), module.register_forward_hook(partial(self._end, name))]

    def _begin(self, *_: object) -> None:
        self._running.append((self.counter.get_total_flops(), 0))

    def _end(self, name: str, module: nn.Module, *_: object) -> None:
        start, inside = self._running.pop()
        whole = self.counter.get_total_flops() - start
        outer_start, outer_inside = self._running.pop()
        self._running.append((outer_start, outer_inside + whole))
        if whole > inside and not isinstance(module, _COUNTED):
            macs = (whole - inside) // 2
            self.rows.append(LayerCost(name or type(module).__name__, "products", 0, 0, 1, 0, 0, 0, macs))


def network_cost(network: Network) -> Cost:
    """Return a network's cost at its own input size: in closed form for our search spaces, else counted."""
    feed = network.preprocessing
    classifies = hasattr(network.model, "classifier")
    if network.arch is not None and classifies and feed.size[0] == feed.size[1]:
        classes = int(getattr(network.model, "num_classes", network.arch.space.num_classes))
        return arch_cost(network.arch, input_size=feed.size[0], in_chans=feed.channels, num_classes=classes)
    return model_cost(network.model, (feed.channels, *feed.size))
