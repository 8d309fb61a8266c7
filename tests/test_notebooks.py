"""The notebooks: they run from top to bottom in an empty folder, and show what was seen when they last did."""

import base64
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO

import pytest
from conftest import FASHION, ROOT
from PIL import Image

from scarlet_zoo.evidence.site.notebooks import notebook_page

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
BRIEFLY = {"runs=200": "runs=100, openings=2", "settings=settings)": "settings=settings, repeats=0)"}
# What the test makes smaller, so that every call of a notebook runs within seconds.
SMALLER = {
    "deploy": {'"2000"': '"400"', "EPOCHS, BATCH = 5, 48": "EPOCHS, BATCH = 1, 48", **BRIEFLY},
    "search": {
        **BRIEFLY,
        '"2400"': '"600"',
        "epochs=12": "epochs=2",
        "evaluations=24, population=8": "evaluations=6, population=3",
    },
}
PATHS = re.compile(r"(?:/home/|/root/|/tmp/|/work/|/Users/|/usr/)\S*|[A-Z]:\\\\")


def cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def shown(path):
    return "\n".join("".join(output.get("text", "")) for cell in cells(path) for output in cell["outputs"])


def drawings(path):
    data = [output.get("data", {}) for cell in cells(path) for output in cell["outputs"]]
    return [Image.open(BytesIO(base64.b64decode("".join(one["image/png"])))) for one in data if "image/png" in one]


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["deploy", "search"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_can_be_read_without_running_them(path):
    numbers = [cell["execution_count"] for cell in cells(path)]
    assert numbers == list(range(1, len(numbers) + 1)), "it was not run from top to bottom"
    assert not PATHS.findall(path.read_text())
    assert not [output for cell in cells(path) for output in cell["outputs"] if output["output_type"] == "error"]
    assert len(drawings(path)) == {"deploy": 2, "search": 3}[path.stem]
    assert all(min(image.size) > 100 for image in drawings(path))
    # A figure stands with its conditions: the processor, the runtime and the date.
    assert re.search(r"^\w.*, 1 thread, onnxruntime [\d.]+, 20\d\d-\d\d-\d\dT", shown(path), re.MULTILINE)
    assert f"docs/notebooks/{path.name}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_their_pages_show_what_they_showed(path):
    page = notebook_page(path)
    assert page.count("](data:image/png;base64,") == len(drawings(path))
    assert page.startswith("# ")
    for line in shown(path).splitlines():
        assert line.rstrip() in page
    assert "![](" not in page, "a drawing without a title"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.skipif(find_spec("nbclient") is None or find_spec("ipykernel") is None, reason="needs the extra notebooks")
def test_they_run_from_top_to_bottom_in_an_empty_folder(path, tmp_path):
    text, smaller, out = path.read_text(), tmp_path / path.name, tmp_path / "out.ipynb"
    for large, small in SMALLER[path.stem].items():
        large, small = (json.dumps(word)[1:-1] for word in (large, small))
        assert text.count(large) == 1, large
        text = text.replace(large, small)
    smaller.write_text(text)
    command = [sys.executable, str(FOLDER / "execute.py"), str(smaller), str(tmp_path / "clean"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, "FASHION_MNIST": str(FASHION), "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(drawings(out)) == len(drawings(path))
    again = [re.sub(r"\d", "0", line) for line in shown(out).splitlines()]
    assert len(again) >= len(cells(path)) - 4
    assert not PATHS.findall(out.read_text())
    assert (tmp_path / "clean" / "out").is_dir()
