r"""Batch norm into the convolution or linear layer before it.

In eval mode, with :math:`z = W x + b` the convolution's output and per output channel
:math:`s = \gamma / \sqrt{\sigma^2 + \epsilon}`,

.. math:: s (W x + b - \mu) + \beta = (s W) x + (s (b - \mu) + \beta),

so :math:`W' = s W` and :math:`b' = s (b - \mu) + \beta` give the same function, for grouped and
depthwise convolutions too: s scales output channels.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.utils.parametrize
from timm.layers import BatchNormAct2d
from timm.models import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn

from scarlet_zoo.blocks import Stabilizer
from scarlet_zoo.folding.certificate import Skipped, Step

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Linear)


class _LeafTracer(fx.Tracer):
    """Traces a model down to its convolutions and norms; timm's own norms are leaves as well."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        opaque = (*_NORMS, *_LINEAR, *get_notrace_modules())
        return isinstance(m, opaque) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norms(model: nn.Module) -> tuple[list[Step], list[Skipped]]:
    """Fold every batch norm of a float64 model in eval mode, in place.

    A batch norm that is not the only reader of one plain convolution or linear layer stays, with
    its reason.
    """
    norms = [name for name, module in model.named_modules() if isinstance(module, _NORMS)]
    if not norms:
        return [], []
    try:
        # On a copy, because a model with hooks would keep the tracer's proxies.
        graph = _LeafTracer().trace(copy.deepcopy(model))
    except Exception as error:
        # Tracing runs the model's own Python on proxies and may fail in any way it likes.
        reason = f"the model cannot be traced: {type(error).__name__}"
        return [], [Skipped(name, reason) for name in norms]
    # Planned before anything is replaced: the graph's names and uses are the unfolded model's.
    plan = dict(_pairs(model, graph))
    steps, skipped = [], []
    for name in norms:
        source = plan.get(name, "it is not reached from the model's input")
        if isinstance(source, fx.Node):
            steps.append(_merge(model, str(source.target), name))
        else:
            skipped.append(Skipped(name, source))
    return steps, skipped


def _pairs(model: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, fx.Node | str]]:
    """For each batch norm in the graph the node that absorbs it, or the reason why none can."""
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    shared = _shared_weights(model, graph)
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(model.get_submodule(node.target), _NORMS):
            continue
        source = _absorber(model, node, uses)
        if isinstance(source, fx.Node) and source.target in shared:
            yield node.target, f"{source.target} shares its weight"
        else:
            yield node.target, source


def _shared_weights(model: nn.Module, graph: fx.Graph) -> set[str]:
    """Layers whose weight is another layer's as well, or is read by the forward code itself."""
    weights = [(name, id(module.weight)) for name, module in model.named_modules() if isinstance(module, _LINEAR)]
    owners = Counter(identity for _, identity in weights)
    direct = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    return {name for name, identity in weights if owners[identity] > 1 or name in direct}


def _absorber(model: nn.Module, norm: fx.Node, uses: Counter[Any]) -> fx.Node | str:
    source = norm.args[0]
    if not isinstance(source, fx.Node) or source.op != "call_module":
        return f"it follows {getattr(source, 'name', source)}, not a convolution"
    module = model.get_submodule(str(source.target))
    # A subclass may compute its weight on the way (weight standardisation), so the name is asked.
    if not isinstance(module, _LINEAR) or not _has_plain_weight(module):
        return f"it follows a {type(module).__name__}, not a plain convolution"
    if len(source.users) > 1 or uses[source.target] > 1 or uses[norm.target] > 1:
        return f"{source.target} has other readers"
    if model.get_submodule(str(norm.target)).running_mean is None:
        return "it keeps no running statistics"
    return source


def _has_plain_weight(module: nn.Module) -> bool:
    known = type(module) in _LINEAR or isinstance(module, Stabilizer) or type(module).__name__ == "Conv2dSame"
    return known and not module._forward_pre_hooks and not nn.utils.parametrize.is_parametrized(module)


def _merge(model: nn.Module, conv_name: str, norm_name: str) -> Step:
    conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
    assert isinstance(conv, _LINEAR)
    assert isinstance(norm, _NORMS)
    probe = _local_probe(conv)
    with torch.no_grad():
        before = norm(conv(probe)) if not isinstance(norm, BatchNormAct2d) else _norm_only(norm, conv(probe))
        weight, bias = merged_batch_norm(conv.weight, conv.bias, norm)
        conv.weight.copy_(weight)
        conv.bias = nn.Parameter(bias, requires_grad=conv.weight.requires_grad)
        difference = float((conv(probe) - before).abs().max())
    model.set_submodule(norm_name, _what_remains(norm))
    return Step("batch_norm", norm_name, (conv_name,), None, difference)


def merged_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """W' and b' of the module docstring; ``weight`` is (out, ...), ``bias`` (out,) or None."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    s = torch.rsqrt(variance + norm.eps)
    if norm.weight is not None:
        s = s * norm.weight
    beta = norm.bias if norm.bias is not None else torch.zeros_like(mean)
    b = bias if bias is not None else torch.zeros_like(mean)
    return weight * s.reshape(-1, *[1] * (weight.ndim - 1)), s * (b - mean) + beta


def _norm_only(norm: BatchNormAct2d, x: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _what_remains(norm: nn.Module) -> nn.Module:
    """The activation that timm keeps inside its norm layer, or nothing."""
    if isinstance(norm, BatchNormAct2d):
        dropped = isinstance(norm.drop, nn.Identity)
        return norm.act if dropped else nn.Sequential(norm.drop, norm.act)
    return nn.Identity()


def _local_probe(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> Tensor:
    """Two random inputs, just large enough for the layer's kernel and its padding to matter."""
    random = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        shape = [2, layer.in_features]
    else:
        sides = [(k - 1) * d + 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        shape = [2, layer.in_channels, *sides]
    return torch.randn(shape, generator=random, dtype=torch.float64).to(layer.weight.device)
