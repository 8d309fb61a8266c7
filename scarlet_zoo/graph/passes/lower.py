"""Rewrite a graph into a variant: the operators in which it is written decide what a runtime can fuse.

A graph variant is a list of rewrites of an ONNX graph. Each rewrite is exact, looks at one node, and
replaces it, leaves it, or refuses with a reason. Every graph, whichever exporter wrote it, is first
rewritten to variant ``native``.

``native``
    HardSwish, HardSigmoid and GlobalAveragePool are single nodes; batch norms and shifts are inside
    the convolutions.
``blocked``
    Like ``native``, and the gates of squeeze-and-excitation stay inside the blocked channel layout
    (NCHWc) that ONNX Runtime uses on x64. It has not been measured without that layout.
``friendly``
    Quantisation-friendly: only Clip, products and sums between convolutions, see
    :mod:`scarlet_zoo.graph.passes.quantizable`. For integers, and for accelerators without hard-swish.
``released``
    The arithmetic of the released SCARLET code, ``x * clip(x + 3, 0, 6) / 6`` and a mean over rows
    after a mean over columns. A baseline to measure against, not for deployment.
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
from scarlet_zoo.graph.passes.rewrite import Rewrite, apply, producer
from scarlet_zoo.graph.passes.sizes import fold_sizes
from scarlet_zoo.graph.passes.uint8_input import take_uint8_input as take_uint8_input

_CONSTANTS_APART_SINCE = 4  # the IR version from which an initializer need not be an input


@dataclass(frozen=True)
class Form:
    """A graph variant and its rewrites.

    Attributes:
        once: rewrites that are applied once, in order.
        repeated: rewrites that are applied after them until none of them changes the graph.
        ships: whether files in this variant are for deployment, and not only a baseline to measure against.
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
    """Rewrite a model into a graph variant, and remove identities and unused or duplicate tensors, in place.

    Args:
        model: a model with inferred shapes.
        form: name of the graph variant, one of :data:`FORMS`.

    Returns:
        How often each rewrite was applied, and the nodes where one was refused.

    Raises:
        ExportError: the graph variant is unknown.
    """
    if form not in FORMS:
        raise ExportError(f"graph variant {form!r}: unknown, wanted one of {' '.join(FORMS)}")
    # torch's exporter writes one for each constant that equals another: no number that has to be computed.
    remove_identities(model)
    if fold_sizes(model):
        tidy(model)
        common.ShapeInferencePass()(model)
    rewrites, refused = FORMS[form], list[Refusal]()
    applied = dict.fromkeys((rewrite.__name__ for rewrite in rewrites.once), 0)
    for rewrite in rewrites.once:
        applied[rewrite.__name__] += apply(rewrite, model.graph, refused)
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
    # A rewrite that is applied twice refuses a node twice.
    return Lowering(form, applied, tuple(dict.fromkeys(refused)))


def constants_inside(model: ir.Model) -> None:
    """Make constants of the initializers that a caller may override, in place.

    Files of IR version 3 have all of them among their inputs. Tensors that a caller could replace cannot be folded.
    """
    graph = model.graph
    for value in [value for value in graph.inputs if value.name in graph.initializers]:
        graph.inputs.remove(value)
    model.ir_version = max(model.ir_version or 0, _CONSTANTS_APART_SINCE)


def remove_identities(model: ir.Model) -> None:
    """Remove the identities of a model's graph, in place; those that make two outputs of one tensor stay.

    Those in subgraphs stay as well: they give an output of a branch or of a loop its own name.
    """
    graph = model.graph
    for node in list(graph):
        if producer(node.outputs[0], "Identity") is None or node.inputs[0] is None:
            continue
        given, output = node.inputs[0], node.outputs[0]
        if output.is_graph_output():
            if given.producer() is None or given.is_graph_output():
                continue
            given.name = output.name
        given.shape, given.type = given.shape or output.shape, given.type or output.type
        ir.convenience.replace_all_uses_with(output, given, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def tidy(model: ir.Model) -> None:
    """Remove identities, unused nodes and duplicate constants; sort the nodes and make names unique, in place."""
    for cleaning in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        remove_identities,
        common.DeduplicateInitializersPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
    ):
        cleaning(model)
