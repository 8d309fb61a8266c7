"""Take one small network of each of timm's families through every stage; run again to continue."""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import timm
import torch

from scarlet_zoo.data.folders import list_images
from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.timm_sweep import SIDE, Member, members, sweep_one
from scarlet_zoo.utils.files import json_text, write_text
from scarlet_zoo.utils.markdown import markdown_table

RESULT = Path(__file__).parent / "results" / "timm_sweep.json"
TABLE = Path(__file__).parent.parent / "docs" / "timm.md"
IMAGES, LIMIT_S = 40, 900
INTRODUCTION = """# timm's families, from creation to int8

The smallest network of each convolutional or hybrid family of timm, made by `benchmarks/sweep_timm.py` from timm's
registry: created, folded, exported, verified, optimised and quantised. The weights are random, with batch norms
calibrated on photographs, at 128 pixels where the network takes them: the table shows that the way can be gone and how
much is lost on it, not accuracy. SQNR is that of the logits on photographs that were not calibrated on. Layers that
would lose too much stay in float: 25 dB are asked for of convolutional networks, and 20 of hybrid ones.
"""


def one(member: Member, folder: Path) -> None:
    """Print the row of one network, in a process of its own."""
    torch.set_num_threads(1)
    files, _ = list_images(folder)
    with tempfile.TemporaryDirectory() as temporary:
        chosen = files[:: max(1, len(files) // IMAGES)][:IMAGES]
        row = sweep_one(member, [open_image(file) for file in chosen], Path(temporary))
    sys.stdout.write(f"\n{json.dumps(row)}\n")


def row_of(member: Member, folder: str) -> dict[str, Any]:
    """Run a network in a child, so that what one breaks or holds is no other's."""
    command = [sys.executable, __file__, "--images", folder, "--one", json.dumps(asdict(member))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {**asdict(member), "create": {"error": f"not done after {LIMIT_S} seconds"}}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if lines:
        row: dict[str, Any] = json.loads(lines[-1])
        return row
    reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return {**asdict(member), "create": {"error": reason}}


def main() -> None:
    """Take all networks that have no row yet through the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True, help="folder of photographs")
    parser.add_argument("--result", type=Path, default=RESULT, help="file of the rows")
    parser.add_argument("--page", type=Path, default=TABLE, help="page with the table")
    parser.add_argument("--families", nargs="+", help="families that a new file of rows is for; all when left out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(Member(**json.loads(asked.one)), Path(asked.images))
        return
    if asked.result.is_file():
        kept = read_json(asked.result)
    else:
        found = [asdict(member) for member in members(asked.families)]
        kept = {"members": found, "rows": []}
    kept |= {"timm": timm.__version__, "onnxruntime": onnxruntime.__version__, "torch": torch.__version__,
             "images": IMAGES, "side": SIDE}  # fmt: skip
    done = {row["name"] for row in kept["rows"]}
    todo = [Member(**member) for member in kept["members"] if member["name"] not in done]
    with ThreadPoolExecutor(2) as pool:
        for finished in as_completed([pool.submit(row_of, member, asked.images) for member in todo]):
            row = finished.result()
            kept["rows"] = sorted([*kept["rows"], row], key=lambda row: row["family"])
            write_text(asked.result, json_text(kept, indent=1) + "\n")
            write_table(kept["rows"], asked.page)
            sys.stderr.write(f"{row['name']}: {outcome(row)}\n")


def write_table(rows: list[dict[str, Any]], page: Path) -> None:
    """Write the table of the documentation anew."""
    header = ("family", "network", "kind", "verified, dB", "int8, dB", "layers kept in float", "float32, MB",
              "int8, MB")  # fmt: skip
    cells = [(row["family"], f"`{row['name']}`", row["kind"], *_figures(row)) for row in rows]
    write_text(page, f"{INTRODUCTION}\n{markdown_table(header, cells)}\n")


def _figures(row: dict[str, Any]) -> tuple[str, ...]:
    if "int8" not in row or "error" in row["int8"]:
        return outcome(row).replace("|", "/")[:90], "", "", "", ""
    int8 = row["int8"]
    sizes = (f"{size / 1e6:.1f}" for size in (row["export"]["bytes"], int8["bytes"]))
    return f"{row['verify']['sqnr_db']:.0f}", f"{int8['sqnr_db']:.1f}", str(int8["layers_kept_float"]), *sizes


def outcome(row: dict[str, Any]) -> str:
    """The first error of a row, or the SQNR of its int8 file, in words."""
    stages = {stage: found for stage, found in row.items() if isinstance(found, dict)}
    failed = [f"{stage}: {found['error']}" for stage, found in stages.items() if "error" in found]
    return failed[0] if failed else f"int8 {stages['int8']['sqnr_db']} dB"


if __name__ == "__main__":
    with one_line_errors():
        main()
