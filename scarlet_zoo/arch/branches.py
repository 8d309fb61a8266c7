"""Branch edges of a search space: which there may be, and how an identity string writes those that are on.

ST-NAS (arXiv 2005.10511) adds branches between feature maps whose depth differs by 2 or 3 to a chain. Feature map i is
the tensor before searchable layer i, the last one is what the last layer gives, so 19 layers have 18 + 17 = 35 edges,
each on or off: 2^35 is the 3.4e10 topologies of the abstract.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scarlet_zoo.errors import ArchError

# Source and target, as positions of feature maps.
Edge = tuple[int, int]

SPANS = (2, 3)  # ST-NAS, caption of figure 1
# What a decision says of an edge that is left out; of one that is on it says the edge's name.
OFF = "off"


def every_edge(layers: int) -> tuple[Edge, ...]:
    """All edges of a chain of so many layers, sorted; across strides and changes of channels too."""
    return tuple((i, i + span) for i in range(layers + 1) for span in SPANS if i + span <= layers)


def edge_name(edge: Edge) -> str:
    """``0.2`` for the edge from feature map 0 to feature map 2."""
    return f"{edge[0]}.{edge[1]}"


def edges_text(edges: Sequence[Edge]) -> str:
    """What an identity string ends with: nothing, or ``/0.2-1.4``."""
    return f"/{'-'.join(map(edge_name, edges))}" if edges else ""


def read_edges(names: Sequence[str], allowed: Sequence[Edge], where: str) -> tuple[Edge, ...]:
    """Edges by name, strictly: those of the space, sorted, each once.

    Raises:
        ArchError: what stands where, and what was wanted.
    """
    known = {edge_name(edge): edge for edge in allowed}
    for name in names:
        if name not in known:
            wanted = f"one of {' '.join(known)}" if known else "none, the space has no branches"
            raise ArchError(f"{where}, branch {name!r}: wanted {wanted}")
    edges = tuple(known[name] for name in names)
    check_order(edges, where)
    return edges


def check_order(edges: Sequence[Edge], where: str) -> None:
    """Refuse edges that are not in order, or one twice.

    Raises:
        ArchError: the first edge that is out of place.
    """
    for before, edge in pairwise(edges):
        if edge <= before:
            raise ArchError(f"{where}, branch {edge_name(edge)!r}: after {edge_name(before)}, wanted each once, sorted")
