"""SCARLET-A, B and C on every runtime that is installed here, in turns, with one thread and with two."""

import json
import tempfile
from pathlib import Path

from scarlet_zoo.exporting import export_network
from scarlet_zoo.files import write_text
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.networks import load_network
from scarlet_zoo.pictures import photos
from scarlet_zoo.runtimes.checkup import check_up
from scarlet_zoo.runtimes.running import cold_start, open_runner, silence
from scarlet_zoo.tracing import Recipe
from scarlet_zoo.zoo import ZOO

HERE = Path(__file__).parent
TWICE = ("ort-x64", "ort-arm64")  # what ort is, under another name


def main() -> None:
    """One network after the other; its files take turns in one process, once per number of threads."""
    targets = [row.target for row in check_up() if row.runs and row.target not in TWICE]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in [name for name, entry in ZOO.items() if entry.published]:
            network = load_network(name)
            images = network.preprocessing.batch(photos(24))
            made = {}
            for target in targets:
                made[target] = export_network(
                    network, Path(temporary) / name / target, target, Recipe(), lambda images=images: images
                )
            for threads in (1, 2):
                settings = Settings(threads=threads, runs=200, seconds=6.0)
                with silence():
                    timings = measure(
                        [done.path for done in made.values()], settings, open_runner=open_runner, cold_start=cold_start
                    )
                for (target, done), timing in zip(made.items(), timings, strict=True):
                    record = {**timing.to_dict(), "file": f"{target}/{done.path.name}"}
                    parity = done.parity.sqnr_db if done.parity else None
                    rows.append({"name": name, "target": target, "threads": threads, "weights": network.weights,
                                 "sqnr_db": parity, "record": record})  # fmt: skip
                    print(f"{name} {target} {threads}: {timing.p50_ms:.2f} ms")
    write_text(HERE / "results" / "runtimes.json", json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
