"""How fast the device is now, beside when its latency table was measured.

A table's milliseconds hold for the state that the device was in: with other work beside it, or warm, every network
takes longer. A few networks whose latency the table has are measured again, which takes seconds, and predictions are
multiplied by what has changed. How much these networks disagree about it widens the interval.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import TableError
from scarlet_zoo.latency import Settings, measure_groups
from scarlet_zoo.measurement.lut.cut import network_graph
from scarlet_zoo.measurement.lut.table import LatencyTable, Network
from scarlet_zoo.utils.jobs import worker_pool

NETWORKS, ROUNDS = 3, 2


@dataclass(frozen=True)
class Anchor:
    """The device's speed now.

    Attributes:
        ratio: how many times as long networks take now as in the table.
        noise: largest relative deviation from that, of one network in one round.
        networks: identity strings of the networks that were measured.
    """

    ratio: float
    noise: float
    networks: tuple[str, ...]

    def apply(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predictions ``p50_ms low_ms high_ms`` (N, 3) of a table, for now; their interval is wider by the noise."""
        widths = np.array([1.0, 1 - min(self.noise, 1.0), 1 + self.noise])
        found: NDArray[np.float64] = predicted * self.ratio * widths
        return found


def measure_anchor(table: LatencyTable, networks: int = NETWORKS, rounds: int = ROUNDS) -> Anchor:
    """Measure networks of a table again on its own device, and compare.

    They are a small, a middle and a large one of those that were measured steadily, or of all if too few were. Each
    round runs in a fresh process, as those of the table did.

    Args:
        table: the table.
        networks: number of networks.
        rounds: number of rounds.

    Raises:
        TableError: the table is of another device, or of another version of the runtime.
    """
    if not table.is_of_this_device:
        stamp = table.stamp
        raise TableError(f"latency table: is of {stamp.device} ({' '.join(stamp.cpu_features)}), wanted one of this "
                         "machine, whose speed now is to be measured")  # fmt: skip
    table.require_here()
    chosen = _spread(table.measured_networks, networks)
    settings = Settings(threads=table.stamp.threads, spin=table.stamp.spin, provider=table.stamp.provider)
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as folder:
        files = [Path(folder) / f"{place}.onnx" for place in range(len(chosen))]
        for file, network in zip(files, chosen, strict=True):
            onnx.save(network_graph(Arch.parse(network.arch, table.search_space), table.stamp.precision), file)
        groups = [[file] for file in files]
        medians = []
        for _ in range(rounds):
            with worker_pool(1) as pool:
                samples = pool.submit(measure_groups, groups, settings).result()["samples_ms"]
            medians.append([float(np.median(own)) for (own,) in samples])
    ratios = np.array(medians) / [network.measured_ms for network in chosen]
    ratio = float(np.median(ratios))
    return Anchor(ratio, float(np.abs(ratios / ratio - 1).max()), tuple(network.arch for network in chosen))


def _spread(measured: Sequence[Network], count: int) -> list[Network]:
    """Networks spread over latency, steady ones where there are enough of them."""
    steady = [network for network in measured if network.stable]
    known = sorted(steady if len(steady) >= count else measured, key=lambda network: network.measured_ms)
    count = min(count, len(known))
    return [known[(2 * place + 1) * len(known) // (2 * count)] for place in range(count)]
