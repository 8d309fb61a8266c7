"""Measure files, networks and targets interleaved: the function behind the verb ``bench``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from scarlet_zoo.graph.quantization.exact import warn_if_inexact
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
    num_classes: int | None = None,
    in_chans: int | None = None,
    stage: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure files and networks interleaved on this machine, and repeat the measurement while one varies too much.

    Each is run on its own runtime.

    Args:
        models: one or several files of any runtime, registered names, identity strings or timm names.
        targets: the targets that networks given by name are exported for; each network and target gives a record.
        weights: the weights of networks given by name, as for :func:`scarlet_zoo.models.loading.load_to_time`.
        calibration: calibration images for integer targets: a folder, or ``random``.
        settings: how to measure: threads, mode, runs, shapes of dynamic inputs; the defaults of
            :class:`scarlet_zoo.Settings` when left out.
        processes: number of fresh processes to measure in, one after the other; 1 measures in this process.
        repeats: how many times at most a measurement that varies by more than 5 % is repeated.
        num_classes, in_chans: numbers of classes and channels of networks given by name.
        stage: called with a description of each step as it begins, and where random weights are taken.
        progress: called with (done, expected).

    Returns:
        A record for each file and for each network and target, in order; latencies in milliseconds.

    Raises:
        ScarletError: a file is not a network, or a network cannot be exported.
        MeasurementError: a file cannot be measured with these settings.
    """
    given = [models] if isinstance(models, (str, Path)) else list(models)
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary:
        names = [str(model) for model in given]
        workloads = gather(names, Path(temporary), targets, weights, calibration, stage or (lambda _: None),
                           num_classes=num_classes, in_chans=in_chans)  # fmt: skip
        saturating = [warn_if_inexact(workload.path) for workload in workloads]
        records = measure_records(
            workloads, settings or Settings(), processes=processes, repeats=repeats, progress=progress
        )
    return [
        record.model_copy(update={"exact": False}) if saturates else record
        for record, saturates in zip(records, saturating, strict=True)
    ]
