"""Measure the zoo's networks for CIFAR-10 (JPEG files) beside their rivals, which make_cifar10.py has trained.

The weights of a rival are in the folder of the runs alone. Where they are not there any more, its accuracy is the one
that was measured then, and its latency is measured with random weights, which take as long.
"""

import argparse
import json
from pathlib import Path

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.evidence.beside_rivals import measured_together, row_of, timed_again
from scarlet_zoo.evidence.commands import Journal
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.utils.files import write_text

HERE = Path(__file__).parent
JOURNAL, FILE = HERE / "results" / "cifar10.jsonl", HERE / "results" / "cifar10.json"

if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--data", required=True, help="folder with train and test of CIFAR-10 as JPEG files")
        parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
        given = parser.parse_args()
        rows, journal = [], Journal(JOURNAL).rows
        for name, entry in ZOO.items():
            if (weights := HERE.parent / "weights" / "networks" / f"{name}.cifar10_jpeg.safetensors").is_file():
                log = HERE.parent / "weights" / "test_reads.jsonl"
                rows.append(row_of(name, entry.arch, weights, given.data, given.work / "files", log))
        for run in sorted(name for name in journal if name.startswith("rival_")):
            network, weights = journal[run]["command"][1], given.work / run / "model.safetensors"
            name, log = f"{network} {run}", HERE / "results" / "test_reads.jsonl"
            if weights.is_file():
                rows.append(row_of(name, network, weights, given.data, given.work / "files", log))
            else:
                rows.append(timed_again(name, network, FILE, given.work / "files"))
        write_text(FILE, json.dumps(measured_together(rows)) + "\n")
        for row in read_json(FILE):
            print(row["name"], row["side"], row["macs"], row["params"], row["test_top1"], row["record"]["p50_ms"])
