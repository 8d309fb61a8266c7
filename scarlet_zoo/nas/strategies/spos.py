"""SPOS: one path a step, drawn uniformly (Guo et al., Single Path One-Shot, arXiv 1904.00420)."""

from __future__ import annotations

from scarlet_zoo.nas.strategies.base import Strategy


class Spos(Strategy):
    """Each layer's choice uniformly and on its own; scored by accuracy after batch norm recalibration.

    The paper's (section 3): uniform sampling of single paths, statistics taken anew for each candidate before
    it is scored, evolution under a limit of multiply-adds. The authors' code draws a bin of multiply-adds
    first and an architecture in it second, keeps batch norm without scale and offset in the supernet, and
    recalibrates with momentum 0.1. Ours: no bins, norms with scale and offset, and statistics that are plain
    averages, so that a score depends on architecture, weights and data alone. It is what the other strategies
    depart from: everything here is :class:`Strategy`'s own.
    """

    name = "spos"
