"""The README's first lines run as typed."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAD = "\n".join((ROOT / "README.md").read_text().splitlines()[:30])


@pytest.mark.slow
def test_the_first_thirty_lines_hold_eight_that_run():
    (block,) = re.findall(r"```sh\n(.*?)```", HEAD, re.DOTALL)
    lines = block.strip().splitlines()
    assert len(lines) == 8
    script = "set -eu\n" + "\n".join(lines)
    env = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "install: skipped" in done.stdout
    assert (ROOT / "out" / "demo" / "report.md").exists()
    assert (ROOT / "out" / "demo" / "scarlet_a.onnx").exists()
    assert "scarlet:e3k7-" in done.stdout


def test_its_table_is_the_evidence():
    rows = json.loads((ROOT / "benchmarks" / "results" / "spelling.json").read_text())
    ours = [row for row in rows if row["form"] == "blocked"]
    for row, line in zip(ours, re.findall(r"^\| SCARLET-.*$", HEAD, re.MULTILINE), strict=True):
        assert f"| {row['record']['p50_ms']:.2f} ms | {row['speedup']['ratio']:.2f}x |" in line
    conditions = ours[0]["record"]["conditions"]
    assert f"{conditions['device']}, onnxruntime {conditions['runtime_version']}" in HEAD
