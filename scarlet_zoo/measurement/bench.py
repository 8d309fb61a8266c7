"""Files, networks and targets measured beside each other: the function behind the verb."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.records import Record
from scarlet_zoo.measurement.steady import Progress, measure_records
from scarlet_zoo.measurement.workloads import gather


def bench(
    models: str | Path | Sequence[str | Path],
    *,
    targets: Sequence[str] = ("native",),
    weights: str = "auto",
    calibration: str | None = None,
    settings: Settings | None = None,
    processes: int = 1,
    repeats: int = 2,
    stage: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure files and networks interleaved on this machine, each on its own runtime; again while one varies.

    Args:
        models: one or several: files of any runtime, registered names, identity strings, any timm names.
        targets: what networks given by name are exported for; a record for each network and target.
        weights: of those networks, as for :func:`scarlet_zoo.models.loading.load_network`.
        calibration: images for integer targets: a folder, or ``random``.
        settings: threads, mode, runs; the defaults of :class:`scarlet_zoo.Settings` when left out.
        processes: fresh processes to measure in, one after the other; 1 is this one.
        repeats: how often a measurement that varies by more than 5 % is made again at most.
        stage: called with what begins.
        progress: called with (done, expected).

    Returns:
        A record for each file and for each network and target, in order; latencies in milliseconds.

    Raises:
        ScarletError: a file that is none, or a network that cannot be exported.
        MeasurementError: a file that cannot be measured as asked.
    """
    given = [models] if isinstance(models, (str, Path)) else list(models)
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary:
        names = [str(model) for model in given]
        workloads = gather(names, Path(temporary), targets, weights, calibration, stage or (lambda _: None))
        return measure_records(
            workloads, settings or Settings(), processes=processes, repeats=repeats, progress=progress
        )
