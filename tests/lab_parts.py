"""Records made by hand, for tests of what reads them."""

import numpy as np

from scarlet_zoo.latency import statistics

STATE = {"load_average": 0.1, "cpu_mhz": None, "temperature_c": None}
CONDITIONS = {
    "device": "d", "machine": "m", "system": "s", "cores": 2, "governor": None, "cpu_features": ["avx2"],
    "runtime": "onnxruntime", "runtime_version": "1", "runtime_build": "b", "provider": "p",
    "graph_optimization": "all", "mode": "hot", "threads": 1, "spin": True, "affinity": [0, 1], "warmup": 10,
    "burst": 5, "runs": 100, "seconds": 2.0, "frame_ms": 33.3, "before": STATE, "after": STATE, "date": "2026-11-24",
    "sha256": "0" * 64, "input_shape": {"x": [1, 3, 8, 8]}, "measurement": "x",
}  # fmt: skip


def record(samples, more=None, **conditions):
    """A record as ``bench`` writes it, of these samples."""
    times = [float(sample) for sample in samples]
    return {
        "file": "f", "samples_ms": times, **statistics(times), "load_ms": 1.0, "first_ms": 1.0, "peak_rss_bytes": 1,
        "conditions": {**CONDITIONS, **conditions}, **(more or {}),
    }  # fmt: skip


def noisy(seed, base=5.0, count=200):
    """Latencies with a tail, as a busy machine gives them."""
    return base + np.random.default_rng(seed).gamma(2, 0.1, count)
