"""Measure the latency of many architectures on one machine, each interleaved with the same reference."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.latency import CPU, Runner, Settings
from scarlet_zoo.measurement.lut.cut import network_graph

_BURSTS, _BURST = 20, 5
_REFERENCE_BURSTS = 60


class LatencyMeter:
    """Measures the latency of architectures in milliseconds, on ONNX Runtime with batch size 1.

    A machine that slows down slows down the reference as well. The meter therefore measures the ratio of the two
    medians, over interleaved bursts of runs, and multiplies it by the latency that the reference had when the meter
    was created. The reference is the space's architecture with the first token in every layer.

    Args:
        space: search space of the architectures.
        threads: intra-op threads of ONNX Runtime.
        reference_ms: latency of the reference as another meter has measured it, so that both have the same scale.
        precision: ``float32`` (the native graph variant) or ``int8``.
        provider: execution provider of ONNX Runtime, as for :class:`scarlet_zoo.Settings`.
    """

    def __init__(
        self,
        space: SearchSpace,
        threads: int,
        reference_ms: float | None = None,
        precision: str = "float32",
        provider: str = CPU,
    ) -> None:
        self._precision = precision
        self._settings = Settings(threads=threads, spin=False, provider=provider)
        self._folder = Path(tempfile.mkdtemp(prefix="scarlet-zoo-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._reference = self._runner(Arch.of(space, (layer.tokens[0] for layer in space.layers)))
        self.reference_ms = reference_ms or self._measure_reference()

    def __call__(self, arch: Arch) -> float:
        """Return the median latency of an architecture in milliseconds."""
        runner = self._runner(arch)
        pairs = [(self._burst(runner), self._burst(self._reference)) for _ in range(_BURSTS)]
        own, reference = (np.median(times) for times in zip(*pairs, strict=True))
        return float(self.reference_ms * own / reference)

    def _measure_reference(self) -> float:
        return float(np.median([self._reference.time_ms() for _ in range(_REFERENCE_BURSTS * _BURST)]))

    def _burst(self, runner: Runner) -> list[float]:
        runner.time_ms()
        return [runner.time_ms() for _ in range(_BURST)]

    def _runner(self, arch: Arch) -> Runner:
        path = self._folder / "network.onnx"
        path.write_bytes(network_graph(arch, self._precision).SerializeToString())
        runner = Runner(path, self._settings)
        for _ in range(self._settings.warmup):
            runner.time_ms()
        return runner
