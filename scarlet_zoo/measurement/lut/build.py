"""Build a latency table from measured rounds of a bundle.

On this machine each round runs in a fresh process and is written to its own file when it is done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.errors import TableError
from scarlet_zoo.latency import Settings, is_stable, measure_groups, statistics
from scarlet_zoo.measurement.lut.bundle import CALIBRATION, HELD_OUT, PIECES, Bundle, Progress
from scarlet_zoo.measurement.lut.fit import COVERAGE, conformal_error, errors_of, fit, left_out
from scarlet_zoo.measurement.lut.keys import FORMS, piece_key, pieces_of
from scarlet_zoo.measurement.lut.table import Calibration, HeldOut, LatencyTable, Network, Stamp
from scarlet_zoo.utils.files import file_sha256, make_folder, write_text
from scarlet_zoo.utils.jobs import worker_pool
from scarlet_zoo.utils.reading import bounded_text, parse_json

ROUNDS, TURNS = 4, 8
_STAMPED = ("device", "machine", "cpu_features", "runtime", "runtime_version", "provider", "threads", "spin")
Array = NDArray[np.float64]


def measure_bundle(
    bundle: Bundle, folder: Path, settings: Settings, sittings: int = ROUNDS, progress: Progress | None = None
) -> list[Path]:
    """Measure a bundle on this machine; rounds whose files are in the folder are not measured again.

    Args:
        bundle: the bundle to measure.
        folder: where the rounds are written, as ``sitting-N.json``.
        settings: how to measure.
        sittings: number of rounds, each in a fresh process, one after the other.
        progress: called with (rounds done, rounds in all).

    Returns:
        The files of the rounds, for :func:`build_table`, which checks them.
    """
    make_folder(folder)
    files = [folder / f"sitting-{number}.json" for number in range(sittings)]
    for done, file in enumerate(files):
        if not file.is_file():
            with worker_pool(1) as pool:
                measured = pool.submit(measure_groups, bundle.paths, settings, TURNS).result()
            write_text(file, json.dumps(measured))
        if progress is not None:
            progress(done + 1, sittings)
    return files


def build_table(bundle: Bundle, sittings: Sequence[Path]) -> LatencyTable:
    """Build a table from measured rounds, whichever device they come from.

    Args:
        bundle: the bundle that was measured.
        sittings: the rounds: files of :func:`measure_bundle`, or of ``latency.py --groups`` on a device.

    Raises:
        TableError: a round cannot be read, measured other files, or is of another device, runtime or number of threads.
    """
    if not sittings:
        raise TableError("latency table: got no measured rounds, wanted one file or more")
    rounds = [_read(file, bundle) for file in sittings]
    stamps = [{key: row["conditions"][key] for key in _STAMPED} for row in rounds]
    for file, stamp in zip(sittings, stamps, strict=True):
        apart = [f"{key} {stamp[key]!r}" for key in _STAMPED if stamp[key] != stamps[0][key]]
        if apart:
            raise TableError(f"{file}: measured with {'; '.join(apart)}, wanted the same as {sittings[0]}")
    # (rounds, groups, files of the group), in milliseconds
    medians = [[[float(np.median(times)) for times in group] for group in row["samples_ms"]] for row in rounds]
    blocks = _blocks(bundle, medians)
    added = {"precision": bundle.precision, "form": FORMS[bundle.precision], "date": rounds[-1]["conditions"]["date"]}
    stable = [_stable([row["samples_ms"][index] for row in rounds]) for index in range(len(bundle.groups))]
    return _calibrated(bundle, Stamp.model_validate({**stamps[0], **added}), blocks, medians, stable)


def _stable(rounds: Sequence[Any]) -> bool:
    """Whether the runs of a group's first file varied by at most 5 %; a whole network's group has only one file."""
    return is_stable(float(statistics([time_ms for files in rounds for time_ms in files[0]])["cv"]))


def _read(file: Path, bundle: Bundle) -> dict[str, Any]:
    try:
        measured: dict[str, Any] = parse_json(bounded_text(file))
        counts = [len(group) for group in measured["samples_ms"]]
        digests, conditions = measured["sha256"], measured["conditions"]
        missing = [key for key in (*_STAMPED, "date") if key not in conditions]
        whole = all(len(times) > 0 for group in measured["samples_ms"] for times in group)
    except OSError as error:
        raise TableError(f"{file}: cannot be read: {error.strerror}, wanted a measured bundle") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"{file}: not a measured bundle: {type(error).__name__} {error}") from error
    if missing or not whole:
        raise TableError(f"{file}: not a measured bundle: it lacks {' '.join(missing) or 'samples'}")
    if counts != [len(group.files) for group in bundle.groups]:
        raise TableError(f"{file}: has {len(counts)} groups of other files, wanted those of the bundle {bundle.folder}")
    if digests != [[file_sha256(path) for path in group] for group in bundle.paths]:
        raise TableError(f"{file}: measured other files, wanted those of {bundle.folder}")
    return measured


def _blocks(bundle: Bundle, medians: Sequence[Any]) -> dict[str, float]:
    """Each block's mean in milliseconds over rounds and over the places where it stands."""
    found: dict[str, list[float]] = {}
    for index, group in enumerate(bundle.groups):
        if group.use == PIECES:
            arch = Arch.parse(group.arch, bundle.space)
            for place, piece in enumerate(group.files):
                found.setdefault(piece_key(arch, piece), []).append(
                    float(np.mean([one[index][place] for one in medians]))
                )
    return {key: float(np.mean(values)) for key, values in found.items()}


def _calibrated(bundle: Bundle, stamp: Stamp, blocks: dict[str, float], medians: Sequence[Any],
                stable: Sequence[bool]) -> LatencyTable:  # fmt: skip
    """The table with its calibration, and its error on networks that the calibration has not seen."""
    places = {use: [i for i, group in enumerate(bundle.groups) if group.use == use] for use in (CALIBRATION, HELD_OUT)}
    archs = {use: [Arch.parse(bundle.groups[i].arch, bundle.space) for i in own] for use, own in places.items()}
    measured = {use: np.array([[one[i][0] for one in medians] for i in own]) for use, own in places.items()}
    steady = {use: [stable[i] for i in own] for use, own in places.items()}
    sums = {use: np.array([_sum(blocks, arch) for arch in own]) for use, own in archs.items()}
    macs = {use: np.array([float(arch_cost(arch).macs) for arch in own]) for use, own in archs.items()}
    known, truth = measured[CALIBRATION].mean(axis=1), measured[HELD_OUT].mean(axis=1)
    line, others = fit(sums[CALIBRATION], known), left_out(sums[CALIBRATION], known)
    error, predicted = conformal_error(known, others), line(sums[HELD_OUT])
    half = max(len(medians) // 2, 1)
    halves = measured[HELD_OUT][:, :half].mean(axis=1), measured[HELD_OUT][:, -half:].mean(axis=1)
    return LatencyTable(
        space=bundle.space.to_json(),
        stamp=stamp,
        blocks=blocks,
        calibration=Calibration(offset_ms=line.offset, slope=line.slope, error=error, coverage=COVERAGE,
                                networks=_networks(archs[CALIBRATION], known, others, steady[CALIBRATION])),
        held_out=HeldOut(
            predictor=errors_of(truth, predicted),
            block_sum=errors_of(truth, sums[HELD_OUT]),
            macs=errors_of(truth, fit(macs[CALIBRATION], known)(macs[HELD_OUT])),
            covered=float(np.mean(np.abs(truth / predicted - 1) <= error)),
            repeat=errors_of(*halves) if len(medians) > 1 else None,
            networks=_networks(archs[HELD_OUT], truth, predicted, steady[HELD_OUT]),
        ),
    )  # fmt: skip


def _sum(blocks: dict[str, float], arch: Arch) -> float:
    return sum(blocks[piece_key(arch, piece)] for piece in pieces_of(arch))


def _networks(archs: Sequence[Arch], measured: Array, predicted: Array, stable: Sequence[bool]) -> list[Network]:
    rows = zip(archs, measured, predicted, stable, strict=True)
    return [Network(arch=str(arch), measured_ms=float(ms), predicted_ms=float(guess), stable=steady)
            for arch, ms, guess, steady in rows]  # fmt: skip
