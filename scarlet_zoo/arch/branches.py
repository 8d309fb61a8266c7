"""Branch edges of a search space, and how an identity string writes the edges that are on.

ST-NAS (arXiv 2005.10511) adds branches to a chain, between feature maps whose depth differs by 2 or 3. Feature map i
is the input of searchable layer i; the last feature map is the output of the last layer. So 19 layers have
18 + 17 = 35 edges, each on or off: 2^35 is the 3.4e10 topologies of the abstract.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scarlet_zoo.arch.limits import some_of
from scarlet_zoo.errors import ArchError

# Source and target, as positions of feature maps.
Edge = tuple[int, int]

SPANS = (2, 3)  # ST-NAS, caption of figure 1
# The value of a decision about an edge that is off; the value for an edge that is on is the edge's name.
OFF = "off"


def every_edge(layers: int) -> tuple[Edge, ...]:
    """Return all edges of a chain with this number of layers, sorted, also across strides and changes of channels."""
    return tuple((i, i + span) for i in range(layers + 1) for span in SPANS if i + span <= layers)


def edge_name(edge: Edge) -> str:
    """Return the name of an edge: ``0.2`` for the edge from feature map 0 to feature map 2."""
    return f"{edge[0]}.{edge[1]}"


def edges_text(edges: Sequence[Edge]) -> str:
    """Return the part of an identity string that names the edges, such as ``/0.2-1.4``; empty without edges."""
    return f"/{'-'.join(map(edge_name, edges))}" if edges else ""


def read_edges(names: Sequence[str], allowed: Sequence[Edge], where: str) -> tuple[Edge, ...]:
    """Parse edge names; they must be edges of the space, sorted, without repetition.

    Args:
        names: names of edges, such as ``0.2``.
        allowed: the edges of the space.
        where: what holds the names, for the error message.

    Raises:
        ArchError: an unknown edge, or edges that are unsorted or repeated.
    """
    known = {edge_name(edge): edge for edge in allowed}
    for name in names:
        if name not in known:
            wanted = f"one of {some_of(known)}" if known else "no branch, because the space has none"
            raise ArchError(f"{where}: got branch {name!r}, wanted {wanted}")
    edges = tuple(known[name] for name in names)
    check_order(edges, where)
    return edges


def check_order(edges: Sequence[Edge], where: str) -> None:
    """Check that edges are sorted and that none is repeated.

    Raises:
        ArchError: the first edge that is unsorted or repeated.
    """
    for before, edge in pairwise(edges):
        if edge <= before:
            raise ArchError(
                f"{where}: got branch {edge_name(edge)!r} after {edge_name(before)!r}, "
                "wanted sorted branches without repetition"
            )
