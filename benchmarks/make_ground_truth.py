"""The ground truth of benchmarks/ground_truth: trains what is missing, a row a training; continues."""

import argparse
import datetime
from pathlib import Path

from scarlet_zoo.cli.console import progress_bar
from scarlet_zoo.nas.ranking.collect import add_latency, collect, write_package

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of unfinished trainings")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "ground_truth")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--limit", type=int, help="make so many rows and stop")
    parser.add_argument("--latency", action="store_true", help="measure latency on a quiet machine; nothing is trained")
    given = parser.parse_args()
    with progress_bar("ground truth") as progress:
        if given.latency:
            add_latency(given.folder, progress)
        else:
            collect(given.folder, given.work, workers=given.workers, limit=given.limit, progress=progress)
    write_package(given.folder, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
