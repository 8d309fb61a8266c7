"""Graph forms: how an operator is spelled, because that decides what a runtime can fuse.

A form is a list of rewrites of an ONNX graph. Each rewrite is exact, looks at one node, and
replaces it, leaves it alone, or refuses with a reason. Whatever spelling a graph comes in, it is first
brought to the operators that it means.

``native``
    HardSwish, HardSigmoid and GlobalAveragePool as single nodes, batch norms and shifts inside the
    convolutions, whatever the exporter wrote.
``blocked``
    native, and the gates of squeeze-and-excitation kept inside the blocked channel layout
    (NCHWc) that ONNX Runtime uses on x64. Made for that layout; not measured without it.
``friendly``
    Quantisation-friendly: nothing but Clip, products and sums between convolutions, see
    :mod:`scarlet_zoo.graph.passes.quantizable`. For integers, and for accelerators that know no hard-swish.
``released``
    The arithmetic of the released SCARLET code, ``x * clip(x + 3, 0, 6) / 6`` and a mean over rows
    after a mean over columns: the baseline to measure against, never one to ship.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from scarlet_zoo.errors import ExportError
from scarlet_zoo.graph.passes.blocked import BLOCK
from scarlet_zoo.graph.passes.float16_weights import store_float16_weights as store_float16_weights
from scarlet_zoo.graph.passes.native import RAISE
from scarlet_zoo.graph.passes.quantizable import CLIP, SINK
from scarlet_zoo.graph.passes.released import RELEASE
from scarlet_zoo.graph.passes.rewrite import Lowering as Lowering
from scarlet_zoo.graph.passes.rewrite import Refusal as Refusal
from scarlet_zoo.graph.passes.rewrite import Rewrite, apply
from scarlet_zoo.graph.passes.uint8_input import take_uint8_input as take_uint8_input


@dataclass(frozen=True)
class Form:
    """The rewrites of a form: some once, in order, and some after them until none finds anything more.

    Attributes:
        ships: whether a file in this form is one to deploy; one that is not is a baseline to measure against.
    """

    once: tuple[Rewrite, ...]
    repeated: tuple[Rewrite, ...] = ()
    ships: bool = True


FORMS: Mapping[str, Form] = {
    "native": Form(RAISE),
    "blocked": Form((*RAISE, *BLOCK)),
    "friendly": Form((*RAISE, *CLIP), SINK),
    "released": Form((*RAISE, *RELEASE), ships=False),
}


def lower(model: ir.Model, form: str) -> Lowering:
    """Rewrite a model in place into a form, and clean it: no identities, no dead or duplicate tensors.

    Args:
        model: a model whose shapes are inferred.
        form: one of :data:`FORMS`.

    Returns:
        How often each rewrite was applied, and where one was not legal.

    Raises:
        ExportError: no such form.
    """
    if form not in FORMS:
        raise ExportError(f"graph form {form!r}: unknown, wanted one of {' '.join(FORMS)}")
    rewrites, refused = FORMS[form], list[Refusal]()
    applied = {rewrite.__name__: apply(rewrite, model.graph, refused) for rewrite in rewrites.once}
    applied |= dict.fromkeys((rewrite.__name__ for rewrite in rewrites.repeated), 0)
    changed = bool(rewrites.repeated)
    while changed:
        counts, last = {}, list[Refusal]()
        for rewrite in rewrites.repeated:
            counts[rewrite.__name__] = apply(rewrite, model.graph, last)
            applied[rewrite.__name__] += counts[rewrite.__name__]
        changed = any(counts.values())
        if not changed:
            refused += last
    tidy(model)
    return Lowering(form, applied, tuple(refused))


def tidy(model: ir.Model) -> None:
    """Remove identities, what nobody reads and what is there twice; order and name the rest, in place."""
    for cleaning in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.DeduplicateInitializersPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
    ):
        cleaning(model)
