"""Choose the grid of each quantised tensor: the 256 numbers that it can take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from scarlet_zoo.graph.quantization.calibrate import LEVELS
from scarlet_zoo.graph.quantization.plan import Plan, bounds_of
from scarlet_zoo.graph.quantization.rounding import Steps, scale_without_ties

# Stands for the missing operand of an operator that only carries integers to another grid.
_NOTHING: Steps = (0.0, 0)


@dataclass(frozen=True, slots=True)
class Grid:
    """The 256 values that a quantised tensor can take: scale * (q - zero), q from 0 to 255."""

    scale: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """The grid of a range; it includes 0, because convolutions pad with 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, 1e-12)
        return cls(scale, int(np.clip(round(-low / scale), 0, LEVELS)))

    @classmethod
    def of_swish(cls, high: float) -> Grid:
        """The grid that begins exactly at -3 (scale = 3 / zero, with a whole zero) and reaches at least ``high``."""
        zero = int(np.clip(3 * LEVELS // (max(high, 0.0) + 3), 1, LEVELS))
        return cls(3 / zero, zero)

    @property
    def steps(self) -> Steps:
        """Scale and zero."""
        return self.scale, self.zero


def with_aliases(planned: Plan, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The ranges of a plan's tensors and of their aliases, for plans that leave more in float."""
    found = dict(ranges)
    for name, source in planned.aliases.items():
        low, high = found[source]
        factor = planned.factors.get(name, 1.0)
        found[name] = (low * factor, high * factor)
    return found


def choose_grids(planned: Plan, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Grid]:
    """The grid of every tensor of a plan, by name.

    Sums and concatenations get grids on which all processors round alike (:mod:`.rounding`), in the order of the
    graph, as their results may be added again.

    Args:
        planned: the plan.
        ranges: (low, high) of every tensor of :func:`scarlet_zoo.graph.quantization.plan.tensors_of`.
    """
    grids: dict[str, Grid] = {}
    for node in planned.operators:
        for value in planned.reads(node):
            name = str(value.name)
            if name not in grids:
                grids[name] = _own_grid(planned, name, ranges)
        for output in node.outputs:
            bound = planned.bounded.get(str(output.name))
            name = str((bound.outputs[0] if bound is not None else output).name)
            grids[name] = _result_grid(planned, node, name, grids, ranges)
    return grids


def _result_grid(
    planned: Plan, node: ir.Node, name: str, grids: Mapping[str, Grid], ranges: Mapping[str, tuple[float, float]]
) -> Grid:
    """The grid of an operator's result, whose inputs have their grids."""
    origin = planned.aliases.get(name)
    if origin is not None:
        source = grids[origin]
        return replace(source, scale=source.scale * planned.factors.get(name, 1.0))
    grid = _own_grid(planned, name, ranges)
    operands = [grids[str(value.name)].steps for value in planned.reads(node)]
    if node.op_type == "Add":
        pairs = [(operands[0], operands[-1])]
    elif node.op_type == "Concat":
        pairs = [(operand, _NOTHING) for operand in operands if operand != grid.steps]
    else:
        pairs = []
    for one, other in pairs:
        grid = replace(grid, scale=scale_without_ties(one, other, grid.steps))
    return grid


def _own_grid(planned: Plan, name: str, ranges: Mapping[str, tuple[float, float]]) -> Grid:
    """The grid of a tensor's own range, within the bounds of the clip that it stands for."""
    low, high = ranges[name]
    if name in planned.swishes:
        return Grid.of_swish(high)
    clip = planned.clips_by_output.get(name)
    if clip is not None:
        limits = bounds_of(clip)
        assert limits is not None
        low, high = max(low, limits[0]), min(high, limits[1])
    return Grid.over(low, high)
