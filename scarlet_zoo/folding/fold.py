"""Fold a network: merge batch norms and stabilizers exactly into the convolutions around them."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from timm.utils.model import reparameterize_model
from torch import nn

from scarlet_zoo.errors import FoldError
from scarlet_zoo.folding.batchnorm import fold_batch_norms
from scarlet_zoo.folding.certificate import FoldResult, Skipped, Step
from scarlet_zoo.folding.probe import Probe, model_dtype
from scarlet_zoo.folding.stabilizers import fold_stabilizers
from scarlet_zoo.models.weights.checkpoint import state_sha256

__all__ = ["FoldResult", "Skipped", "Step", "fold"]

# Allowed difference in float64, relative to the largest output; a correct fold stays a thousand times below it.
_LARGEST_DIFFERENCE = 1e-6


def fold(model: nn.Module, *, taps: Collection[int] = ()) -> FoldResult:
    """Merge batch norms and stabilizers into the adjacent convolutions, exactly.

    The algebra runs in float64, and the result is cast once to the model's own dtype. A batch norm
    always folds where it follows a plain convolution. A stabilizer S folds without an inverse into
    a neighbour that has no shortcut. Where both neighbours have a shortcut, it folds by a change of
    basis of the residual stream. This is done only if the folded network, in its own dtype, stays
    within 10 times the unfolded network's rounding error (1e-9 of the largest output in float64),
    measured on four random images. A site that does not qualify stays and is listed. Multi-branch
    blocks of other timm models (MobileOne, RepVit) are merged first, by their own methods.

    Args:
        model: a network in eval mode; it is not changed.
        taps: feature levels of a classifier whose tensors must keep their basis because someone
            reads them (``forward_intermediates``). Those of a ``features_only`` model are known.

    Returns:
        The folded network and its certificate. An identity, or the norm's activation, stands in the
        place of each folded module; all other modules have the same names as before.

    Raises:
        FoldError: the model is in train mode, mixes dtypes, is on the meta device or cannot be copied;
            or the folded network gives other outputs, because a layer computes more than its weights show.
    """
    _check(model)
    dtype = model_dtype(model)
    folded = _copy(model).double()
    probe = Probe(model, folded)
    steps = _reparameterize(folded, probe)
    norm_steps, norms_left = fold_batch_norms(folded)
    site_steps, sites_left = fold_stabilizers(folded, probe, frozenset(taps))
    difference = probe.difference(folded)
    if not difference <= _LARGEST_DIFFERENCE * probe.scale:
        raise FoldError(
            f"fold of {type(model).__name__}: the folded network differs by {difference:.1e} in float64, wanted at "
            f"most {_LARGEST_DIFFERENCE:g} of the largest output {probe.scale:.1e}: "
            "a layer computes more than its weights show"
        )
    return FoldResult(
        model=folded.to(dtype).eval(),
        weights_sha256=state_sha256(model.state_dict()),
        steps=(*steps, *norm_steps, *site_steps),
        skipped=(*norms_left, *sites_left),
        max_abs_diff=difference,
        max_rel_diff=difference / probe.scale if probe.scale else 0.0,
    )


def _check(model: nn.Module) -> None:
    training = next((name or "the model" for name, module in model.named_modules() if module.training), None)
    if training is not None:
        raise FoldError(f"fold: {training} is in train mode, wanted model.eval(): batch statistics cannot be folded")
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if len(dtypes) > 1:
        raise FoldError(f"fold: got parameters in {' and '.join(sorted(map(str, dtypes)))}, wanted one dtype")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise FoldError("fold: the model is on the meta device and has no values, wanted a materialised model")


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        reason = str(error).split("\n")[0]
        raise FoldError(f"fold: {type(model).__name__} cannot be copied: {reason}") from error


def _reparameterize(model: nn.Module, probe: Probe) -> list[Step]:
    """Merge the branches of each block that has a method for it, in place."""
    merges = ("fuse", "reparameterize", "switch_to_deploy")
    able = [name for name, module in model.named_modules() if any(hasattr(module, method) for method in merges)]
    outermost = [name for name in able if name and not any(name.startswith(f"{other}.") for other in able if other)]
    if not outermost:
        return []
    before = torch.get_default_dtype()
    try:
        # RepVit's merge builds new layers, in the default dtype.
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            reparameterize_model(model, inplace=True)
    finally:
        torch.set_default_dtype(before)
    difference = probe.difference(model)
    return [Step("reparameterize", name, (name,), None, difference) for name in outermost]
