"""Take one small network of each of timm's families through every stage; run again to continue."""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import onnxruntime
import timm
import torch

from scarlet_zoo.data.folders import list_images
from scarlet_zoo.evidence.timm_sweep import Member, members, sweep_one
from scarlet_zoo.utils.files import json_text, write_text

RESULT = Path(__file__).parent / "results" / "timm_sweep.json"
IMAGES, LIMIT_S = 40, 900


def one(member: Member, folder: Path) -> None:
    """Print the row of one network, in a process of its own."""
    torch.set_num_threads(1)
    files, _ = list_images(folder)
    with tempfile.TemporaryDirectory() as temporary:
        row = sweep_one(member, files[:: max(1, len(files) // IMAGES)][:IMAGES], Path(temporary))
    sys.stdout.write(f"\n{json.dumps(row)}\n")


def row_of(member: Member, folder: str) -> dict:
    """Run a network in a child, so that what one breaks or holds is no other's."""
    command = [sys.executable, __file__, "--images", folder, "--one", json.dumps(asdict(member))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {**asdict(member), "create": {"error": f"not done after {LIMIT_S} seconds"}}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        return json.loads(lines[-1])
    reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return {**asdict(member), "create": {"error": reason}}


def main() -> None:
    """Take all networks that have no row yet through the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True, help="folder of photographs")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(Member(**json.loads(asked.one)), Path(asked.images))
        return
    versions = {"timm": timm.__version__, "onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.is_file() else []
    todo = [member for member in members() if member.name not in {row["name"] for row in rows}]
    with ThreadPoolExecutor(2) as pool:
        for row in pool.map(lambda member: row_of(member, asked.images), todo):
            rows = sorted([*rows, row], key=lambda row: row["family"])
            write_text(RESULT, json_text({"versions": versions, "images": IMAGES, "rows": rows}, indent=1) + "\n")
            failed = next((f"{stage}: {row[stage]['error']}" for stage in row
                           if isinstance(row[stage], dict) and "error" in row[stage]), None)  # fmt: skip
            sys.stderr.write(f"{row['name']}: {failed or row['int8']['sqnr_db']}\n")


if __name__ == "__main__":
    main()
