"""A search space to the latency table of this machine, in one call: the function behind the verb ``lut build``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.spaces import find_space
from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.lut.build import ROUNDS, build_table, measure_bundle
from scarlet_zoo.measurement.lut.bundle import make_bundle
from scarlet_zoo.measurement.lut.table import LatencyTable

# What begins, to how its progress is shown: called with (done, expected).
Stages = Callable[[str], Callable[[int, int], None]]


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
    stage: Stages | None = None,
) -> LatencyTable:
    """Measure every block of a space on this machine and fit the table that predicts its networks, with its error.

    What is measured is kept in ``work`` until the table is written, so the same call goes on after it was stopped.

    Args:
        space: a search space, the name of one, or its TOML file.
        out: file of the table.
        precision: ``float32`` or ``int8``.
        threads: of ONNX Runtime.
        spin: whether idle threads spin.
        networks: random networks that the table is calibrated on.
        held_out: other random networks that its error is told on.
        rounds: fresh processes to measure in, one after the other.
        seed: of those networks.
        work: folder of what is measured; beside ``out`` when left out.
        stage: called with what begins; gives what is called with (done, expected) of it.

    Returns:
        The table: latencies in milliseconds, the conditions they hold for, and the error on the held-out networks.

    Raises:
        UnknownNameError: no such space; the message lists the near ones.
        TableError: ``work`` holds measurements of other settings.
    """
    file = Path(out)
    folder = Path(work) if work is not None else file.with_name(f"{file.name}.work")
    begin = stage or (lambda _: lambda _done, _expected: None)
    searched = space if isinstance(space, SearchSpace) else find_space(space)
    made = make_bundle(searched, folder / "bundle", precision, (networks, held_out), seed, begin("make networks"))
    name = f"{precision}-{threads}{'' if spin else '-no-spin'}"
    settings = Settings(threads=threads, spin=spin)
    table = build_table(made, measure_bundle(made, folder / name, settings, rounds, begin("measure")))
    table.write(file)
    return table
