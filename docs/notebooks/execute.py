"""Run a notebook from top to bottom in a folder, and write it with what it showed: execute.py NOTEBOOK FOLDER OUT."""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

SECONDS = 1800  # of a cell


def execute(notebook: Path, folder: Path, out: Path) -> None:
    """Run a notebook in a folder.

    Args:
        notebook: the notebook.
        folder: where it runs; what it writes stays there.
        out: where it is written with its outputs, without times and paths of this machine.

    Raises:
        CellExecutionError: a cell raises an error.
    """
    book = nbformat.read(notebook, as_version=4)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.getenv("PYTHONPATH")]))
    NotebookClient(book, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for one in cell.outputs:
                one.get("metadata", {}).clear()
    book.metadata["language_info"] = {"name": "python"}
    nbformat.write(book, out)


if __name__ == "__main__":
    execute(*map(Path, sys.argv[1:]))
