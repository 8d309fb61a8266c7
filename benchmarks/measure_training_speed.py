"""Time training steps as torch alone does them and as a training of ours does, for supernets and networks of others."""

import argparse
import datetime
import json
import os
from pathlib import Path

import timm
import torch

from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.training_speed import Case, measured
from scarlet_zoo.latency import cpu_features, cpu_model
from scarlet_zoo.utils.files import write_text

RESULTS = Path(__file__).parent / "results" / "training_speed.json"
CASES = (Case("scarlet-mini", 1, 28, 96), Case("scarlet-rgb32", 3, 32, 96), Case("scarlet-rgb96", 3, 96, 64),
         Case("scarlet_mini_s", 1, 28, 128), Case("tf_efficientnet_lite0", 3, 96, 64),
         Case("mobilenetv3_large_100", 3, 96, 64), Case("mobilenetv3_large_100", 3, 224, 32),
         Case("resnet18", 3, 96, 64))  # fmt: skip


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="Steps of each kind.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--remark", default="", help="What else is true of the machine during the measurement.")
    parser.add_argument("--save", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = []
    for case in CASES:
        rows.append(measured(case, given.rounds, given.threads))
        print(rows[-1])
    conditions = {"threads": given.threads, "memory_format": "channels_last", "device": cpu_model(),
                  "instruction_sets": cpu_features(), "cores": os.cpu_count(), "load_average": os.getloadavg(),
                  "remark": given.remark, "torch": torch.__version__, "timm": timm.__version__,
                  "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")}  # fmt: skip
    write_text(given.save, json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
