"""Train the missing networks of the ground truth in benchmarks/ground_truth; run again to continue."""

import argparse
import datetime
from pathlib import Path

from scarlet_zoo.cli.console import progress_bar
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.nas.ranking.collect import add_latency, collect, write_package

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="Folder of the unfinished trainings.")
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).parent / "ground_truth", help="Folder of the ground truth."
    )
    parser.add_argument("--workers", type=int, default=1, help="Number of trainings that run at the same time.")
    parser.add_argument("--limit", type=int, help="Stop after this many trainings.")
    parser.add_argument(
        "--latency", action="store_true", help="Measure latency, on a quiet machine, and train nothing."
    )
    given = parser.parse_args()
    with one_line_errors(), progress_bar("ground truth") as progress:
        if given.latency:
            add_latency(given.folder, progress)
        else:
            collect(given.folder, given.work, workers=given.workers, limit=given.limit, progress=progress)
        write_package(given.folder, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
