"""Build the latency table of a search space on this machine: the function behind the verb ``lut build``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import find_space
from scarlet_zoo.latency import CPU, Settings
from scarlet_zoo.measurement.lut.build import ROUNDS, build_table, measure_bundle
from scarlet_zoo.measurement.lut.bundle import make_bundle
from scarlet_zoo.measurement.lut.table import LatencyTable
from scarlet_zoo.utils.names import as_file_name
from scarlet_zoo.utils.ownership import own_folder, with_locks

# Called with a description of each stage as it begins; gives a function that is called with (done, expected).
Stages = Callable[[str], Callable[[int, int], None]]


@with_locks
def build_lut(
    space: SearchSpace | str,
    *,
    out: str | Path,
    precision: str = "float32",
    threads: int = 1,
    spin: bool = True,
    networks: int = 32,
    held_out: int = 16,
    rounds: int = ROUNDS,
    seed: int = 0,
    work: str | Path | None = None,
    provider: str = CPU,
    stage: Stages | None = None,
) -> LatencyTable:
    """Measure every block of a space on this machine and fit the table that predicts the latency of its networks.

    Measurements stay in ``work``, so the same call continues where it was stopped.

    Args:
        space: a search space, the name of one, or its TOML file.
        out: file that the table is written to.
        precision: ``float32`` or ``int8``.
        threads: intra-op threads of ONNX Runtime.
        spin: whether idle threads spin.
        networks: number of random networks that the table is calibrated on.
        held_out: number of other random networks that its error is measured on.
        rounds: number of rounds, each in a fresh process, one after the other.
        seed: seed of the random networks.
        work: folder of the measurements; ``OUT.work`` beside ``out`` when left out.
        provider: execution provider of ONNX Runtime, as for :class:`scarlet_zoo.Settings`.
        stage: called with a description of each stage as it begins; gives a function that is called with
            (done, expected).

    Returns:
        The table: latencies in milliseconds, the conditions they hold for, and the error on the held-out networks.

    Raises:
        UnknownNameError: there is no such space; the message lists similar names.
        TableError: ``work`` holds a bundle or measurements of something else.
    """
    file = Path(out)
    folder = Path(work) if work is not None else file.with_name(f"{file.name}.work")
    begin = stage or (lambda _: lambda _done, _expected: None)
    searched = space if isinstance(space, SearchSpace) else find_space(space)
    own_folder(folder)
    bundle = make_bundle(searched, folder / "bundle", precision, (networks, held_out), seed, begin("make networks"))
    settings = Settings(threads=threads, spin=spin, provider=provider)
    where = "" if settings.provider == CPU else f"-{as_file_name(settings.provider, 'provider', mark='-')}"
    name = f"{precision}-{threads}{'' if spin else '-no-spin'}{where}"
    table = build_table(bundle, measure_bundle(bundle, folder / name, settings, rounds, begin("measure")))
    table.write(file)
    return table
