"""Fold stabilizers into the convolutions around them: choose a plan, apply it, measure it, or undo it with a reason."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from scarlet_zoo.folding.basis import Basis, Plan, Planner
from scarlet_zoo.folding.certificate import Skipped, Step
from scarlet_zoo.folding.probe import Probe
from scarlet_zoo.folding.regions import Chain, branched_sites, find_chains
from scarlet_zoo.models.blocks import Stabilizer

# Beyond this no supported dtype can pass the measurement, so it is skipped.
_HOPELESS_CONDITION = 1e12


def fold_stabilizers(model: nn.Module, probe: Probe, taps: frozenset[int]) -> tuple[list[Step], list[Skipped]]:
    """Fold every stabilizer of a float64 model without batch norms, in place.

    A plan without an inverse is applied without a measurement. A plan with an inverse is applied only
    if the folded network, cast to its own dtype, stays within the probe's tolerance. Otherwise the next
    plan is tried, in which one more stabilizer remains.
    """
    steps = _multiply_neighbours(model, probe)
    chains, outside = find_chains(model, taps)
    skipped = [Skipped(site, "no timm EfficientNet around it to absorb it") for site in outside]
    for chain in chains:
        done, left = _fold_chain(model, chain, probe)
        steps += done
        skipped += left
    return steps, skipped


def _multiply_neighbours(model: nn.Module, probe: Probe) -> list[Step]:
    """Multiply two consecutive stabilizers: the second becomes S_2 S_1, the first an identity.

    A pair is left where a branch begins or ends between the two, because the branch needs that tensor.
    """
    steps = []
    branched = {name for prefix, part in model.named_modules() if hasattr(part, "nodes")
                for name in branched_sites(part, f"{prefix}." if prefix else "")}  # fmt: skip
    for parent_name, parent in list(model.named_modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        items = [(f"{parent_name}.{i}" if parent_name else str(i), module) for i, module in enumerate(parent)]
        for (name, module), (next_name, following) in pairwise(items):
            pair = isinstance(module, Stabilizer) and isinstance(following, Stabilizer)
            if pair and name not in branched:
                assert isinstance(module, Stabilizer)
                assert isinstance(following, Stabilizer)
                _set_matrix(following, following.matrix @ module.matrix)
                model.set_submodule(name, nn.Identity())
                steps.append(Step("multiply", name, (next_name,), None, probe.difference(model)))
    return steps


def _fold_chain(model: nn.Module, chain: Chain, probe: Probe) -> tuple[list[Step], list[Skipped]]:
    sites = [model.get_submodule(name) for name in chain.sites]
    matrices = [site.matrix.detach().clone() for site in sites if isinstance(site, Stabilizer)]
    reason = "regions on both sides must keep their basis"
    for plan in Planner(chain, matrices).plans():
        undo = _apply(model, chain, plan)
        excess = "" if not plan.inverts else _excess(model, plan, probe)
        if not excess:
            return _report(model, chain, plan, probe, reason)
        reason = excess
        undo()
    raise AssertionError("the plan in which every stabilizer remains inverts nothing and is always applied")


def _excess(model: nn.Module, plan: Plan, probe: Probe) -> str:
    """Why a plan with an inverse cannot be used; empty if it can."""
    if plan.condition > _HOPELESS_CONDITION:
        return f"condition number {plan.condition:.1e}: it has no usable inverse"
    error = probe.rounding_error(model)
    if error <= probe.tolerance:
        return ""
    return (
        f"condition number {plan.condition:.1e}: the folded network's error {error:.1e} "
        f"exceeds {probe.tolerance:.1e} ({probe.tolerance_source})"
    )


def _apply(model: nn.Module, chain: Chain, plan: Plan) -> Callable[[], None]:
    """Change the bases of a chain, and return a function that undoes it."""
    names = {name for region in chain.regions for name in (*region.writers, *region.readers)} | set(chain.sites)
    layers = {name: model.get_submodule(name) for name in names}
    saved = {name: {key: value.clone() for key, value in layer.state_dict().items()} for name, layer in layers.items()}
    for j, (region, basis) in enumerate(zip(chain.regions, plan.bases, strict=True)):
        if basis is None:
            continue
        site_before = [chain.sites[j - 1]] if j - 1 in plan.remaining else []
        site_after = [chain.sites[j]] if j in plan.remaining else []
        _change_basis([layers[n] for n in (*region.writers, *site_before)], basis, writing=True)
        _change_basis([layers[n] for n in (*region.readers, *site_after)], basis, writing=False)
    for i, name in enumerate(chain.sites):
        if i not in plan.remaining:
            model.set_submodule(name, nn.Identity())

    def undo() -> None:
        for name, layer in layers.items():
            layer.load_state_dict(saved[name])
            model.set_submodule(name, layer)

    return undo


def _change_basis(layers: list[nn.Module], basis: Basis, *, writing: bool) -> None:
    """W <- T W and b <- T b for writers, R <- R T^-1 for readers; weights are (out, in, kh, kw)."""
    for layer in layers:
        assert isinstance(layer, nn.Conv2d)
        with torch.no_grad():
            if writing:
                assert basis.write is not None
                layer.weight.copy_(torch.einsum("oc,cihw->oihw", basis.write, layer.weight))
                if layer.bias is not None:
                    layer.bias.copy_(basis.write @ layer.bias)
            else:
                assert basis.read is not None
                layer.weight.copy_(torch.einsum("ochw,ci->oihw", layer.weight, basis.read))


def _report(model: nn.Module, chain: Chain, plan: Plan, probe: Probe, reason: str) -> tuple[list[Step], list[Skipped]]:
    difference = probe.difference(model)
    condition = plan.condition if plan.inverts else None
    steps = []
    for i, site in enumerate(chain.sites):
        pivot = plan.pivots[i]
        if pivot is not None:
            kind, absorbers = _route(chain, plan, i, pivot)
            steps.append(Step(kind, site, absorbers, condition, difference))
    return steps, [Skipped(chain.sites[i], reason) for i in sorted(plan.remaining)]


def _route(chain: Chain, plan: Plan, site: int, pivot: int) -> tuple[str, tuple[str, ...]]:
    """The kind of one stabilizer's step, and the layers that absorbed it: all on its far side from the pivot."""
    backward = site < pivot
    touched = [j for j in range(len(plan.bases)) if plan.bases[j] is not None and (j <= site) == backward]
    same_run = [j for j in touched if not any(min(j, pivot) <= other < max(j, pivot) for other in plan.remaining)]
    inverted = False
    absorbers: list[str] = []
    for j in same_run:
        region, basis = chain.regions[j], plan.bases[j]
        assert basis is not None
        absorbers += [*region.writers, *region.readers]
        inverted |= basis.read is not None and basis.write is not None
    kind = "change_of_basis" if inverted else "backward" if backward else "forward"
    return kind, tuple(dict.fromkeys(absorbers))


def _set_matrix(stabilizer: Stabilizer, matrix: Tensor) -> None:
    with torch.no_grad():
        stabilizer.matrix.copy_(matrix)
