"""SPOS: one uniformly drawn path a step (Guo et al., Single Path One-Shot, arXiv 1904.00420)."""

from __future__ import annotations

from scarlet_zoo.nas.strategies.base import Strategy


class Spos(Strategy):
    """Draws each layer's choice uniformly and independently; the score is the accuracy with precise BN.

    From the paper (section 3): uniform sampling of single paths, new batch norm statistics for each candidate before
    it is scored, and evolution under a limit of multiply-adds. The authors' code first draws a bin of multiply-adds
    and then an architecture in it, has batch norms without scale and offset in the supernet, and computes the new
    statistics with momentum 0.1. Ours: no bins, norms with scale and offset, and statistics that are plain averages,
    so that a score depends only on architecture, weights and data. This is the baseline of the other strategies and
    changes nothing of :class:`~scarlet_zoo.nas.strategies.base.Strategy`.
    """

    name = "spos"
