r"""Fold each batch norm into the convolution or linear layer before it.

In eval mode, with :math:`z = W x + b` the convolution's output and per output channel
:math:`s = \gamma / \sqrt{\sigma^2 + \epsilon}`,

.. math:: s (W x + b - \mu) + \beta = (s W) x + (s (b - \mu) + \beta),

so :math:`W' = s W` and :math:`b' = s (b - \mu) + \beta` give the same function, for grouped and
depthwise convolutions too: s scales output channels. Behind a sum of convolutions

.. math:: s \Bigl(\sum_i (W_i x_i + b_i) - \mu\Bigr) + \beta

each takes :math:`W_i' = s W_i`; the first takes the bias above, the others :math:`b_i' = s b_i`.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.utils.parametrize
from timm.layers import BatchNormAct2d
from timm.models import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn

from scarlet_zoo.folding.certificate import Skipped, Step
from scarlet_zoo.models.blocks import Stabilizer

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Linear)
_SUMS = (operator.add, operator.iadd, torch.add)


class _LeafTracer(fx.Tracer):
    """Trace a model down to its convolutions and norms; timm's own norms are leaves as well."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        opaque = (*_NORMS, *_LINEAR, *get_notrace_modules())
        return isinstance(m, opaque) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norms(model: nn.Module) -> tuple[list[Step], list[Skipped]]:
    """Fold every batch norm of a float64 model in eval mode, in place.

    A batch norm folds if it alone reads the output of one plain convolution or linear layer, or a sum of such
    outputs. Any other batch norm stays and is returned with the reason.
    """
    norms = [name for name, module in model.named_modules() if isinstance(module, _NORMS)]
    if not norms:
        return [], []
    try:
        # On a copy with the same tensors, because a model with hooks would keep the tracer's proxies.
        tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        graph = _LeafTracer().trace(copy.deepcopy(model, tensors))
    except Exception as error:
        # Tracing runs the model's own Python on proxies, which can raise any exception.
        reason = f"the model cannot be traced: {type(error).__name__}"
        return [], [Skipped(name, reason) for name in norms]
    # Planned before anything is replaced: the graph's names and uses are the unfolded model's.
    plan = dict(_pairs(model, graph))
    steps, skipped = [], []
    for name in norms:
        sources = plan.get(name, "it is not reached from the model's input")
        if isinstance(sources, str):
            skipped.append(Skipped(name, sources))
        else:
            steps.append(_merge(model, sources, name))
    return steps, skipped


def _pairs(model: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, tuple[str, ...] | str]]:
    """Yield each batch norm in the graph with the layers that absorb it, or with the reason why none can."""
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    shared = _shared_weights(model, graph)
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(model.get_submodule(node.target), _NORMS):
            yield node.target, _absorbers(model, node, uses, shared)


def _shared_weights(model: nn.Module, graph: fx.Graph) -> set[str]:
    """Names of the layers whose weight belongs to another layer too, or is read by the forward code directly."""
    weights = [(name, id(module.weight)) for name, module in model.named_modules() if isinstance(module, _LINEAR)]
    owners = Counter(identity for _, identity in weights)
    direct = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    return {name for name, identity in weights if owners[identity] > 1 or name in direct}


def _absorbers(model: nn.Module, norm: fx.Node, uses: Counter[Any], shared: set[str]) -> tuple[str, ...] | str:
    """The layers that absorb a norm, or the reason why none can."""
    found: list[str] = []
    for source in _summands(model, norm.args[0]):
        reason = _objection(model, source, norm, uses)
        if not reason and str(source.target) in shared:
            reason = f"{source.target} shares its weight"
        if reason:
            return reason
        found.append(str(source.target))
    if len(set(found)) < len(found):
        return f"{found[0]} is added to itself"
    return tuple(found)


def _summands(model: nn.Module, source: Any) -> Iterator[Any]:
    """Yield the nodes whose sum a node is, if it has no other reader; else the node itself."""
    inside: tuple[Any, ...] = ()
    if isinstance(source, fx.Node) and len(source.users) == 1:
        sums = source.op == "call_function" and source.target in _SUMS and not source.kwargs
        # An identity stands where a norm has been removed.
        passes = source.op == "call_module" and type(model.get_submodule(str(source.target))) is nn.Identity
        inside = source.args if sums or passes else ()
    if not inside or not all(isinstance(arg, fx.Node) for arg in inside):
        yield source
        return
    for arg in inside:
        yield from _summands(model, arg)


def _objection(model: nn.Module, source: Any, norm: fx.Node, uses: Counter[Any]) -> str:
    """Why a node cannot absorb the norm after it; empty if it can."""
    if not isinstance(source, fx.Node) or source.op != "call_module":
        return f"it follows {getattr(source, 'name', source)}, not a convolution"
    module = model.get_submodule(str(source.target))
    # A subclass may compute its weight (weight standardisation), so the exact type is checked.
    if not isinstance(module, _LINEAR) or not _has_plain_weight(module):
        return f"it follows a {type(module).__name__}, not a plain convolution"
    if len(source.users) > 1 or uses[source.target] > 1 or uses[norm.target] > 1:
        return f"{source.target} has other readers"
    if model.get_submodule(str(norm.target)).running_mean is None:
        return "it keeps no running statistics"
    return ""


def _has_plain_weight(module: nn.Module) -> bool:
    known = type(module) in _LINEAR or isinstance(module, Stabilizer) or type(module).__name__ == "Conv2dSame"
    return known and not module._forward_pre_hooks and not nn.utils.parametrize.is_parametrized(module)


def _merge(model: nn.Module, names: tuple[str, ...], norm_name: str) -> Step:
    norm, convs = model.get_submodule(norm_name), [model.get_submodule(name) for name in names]
    assert isinstance(norm, _NORMS)
    probes = [_local_probe(conv) for conv in convs]
    with torch.no_grad():
        summed = _sum_of(convs, probes)
        before = norm(summed) if not isinstance(norm, BatchNormAct2d) else _norm_only(norm, summed)
        for place, conv in enumerate(convs):
            assert isinstance(conv, _LINEAR)
            weight, bias = merged_batch_norm(conv.weight, conv.bias, norm)
            if place > 0:  # the first layer has taken mean and beta
                bias = bias - merged_batch_norm(conv.weight, None, norm)[1]
            conv.weight.copy_(weight)
            conv.bias = nn.Parameter(bias, requires_grad=conv.weight.requires_grad)
        difference = float((_sum_of(convs, probes) - before).abs().max())
    model.set_submodule(norm_name, _what_remains(norm))
    return Step("batch_norm", norm_name, names, None, difference)


def _sum_of(layers: list[nn.Module], probes: list[Tensor]) -> Tensor:
    """Sum of the layers' outputs; of several convolutions only the first pixel, as their output sizes may differ."""
    outputs: list[Tensor] = [layer(probe) for layer, probe in zip(layers, probes, strict=True)]
    if len(outputs) == 1:
        return outputs[0]
    return torch.stack([output[..., :1, :1] if output.ndim == 4 else output for output in outputs]).sum(0)


def merged_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Return W' and b' of the module docstring; ``weight`` is (out, ...), ``bias`` is (out,) or None."""
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
    """The activation inside timm's norm layer, or an identity for a plain norm."""
    if isinstance(norm, BatchNormAct2d):
        dropped = isinstance(norm.drop, nn.Identity)
        return norm.act if dropped else nn.Sequential(norm.drop, norm.act)
    return nn.Identity()


def _local_probe(layer: nn.Module) -> Tensor:
    """Two random inputs, just large enough for the layer's kernel and its padding to matter."""
    assert isinstance(layer, _LINEAR)
    random = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        shape = [2, layer.in_features]
    else:
        sides = [(k - 1) * d + 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        shape = [2, layer.in_channels, *sides]
    return torch.randn(shape, generator=random, dtype=torch.float64).to(layer.weight.device)
