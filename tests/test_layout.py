"""The contract of the house: what may import what, how long a room may be, what evidence looks like."""

import ast
import importlib
import json
import re
import subprocess
import sys
import types
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "scarlet_zoo").rglob("*.py"))
DRIVERS = sorted(path for folder in ("weights", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_DRIVER = 340, 50, 120
# Carried to a device as one file.
LONGER = {"latency.py": 1065}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported():
    """The first part of every name that an import names, in the package and its drivers."""
    everything = "\n".join(file.read_text() for file in (*PACKAGE, *DRIVERS))
    return set(re.findall(r"^\s*(?:from|import) (\w+)\b", everything, re.MULTILINE))


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_and_functions_are_of_a_size_to_live_in(path):
    text = path.read_text()
    assert text.count("\n") <= LONGER.get(path.name, LONGEST_FILE)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - (node.body[0].end_lineno if ast.get_docstring(node) else node.lineno)
            assert length <= LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("path", DRIVERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_drivers_are_short_and_nobody_imports_them(path):
    assert path.read_text().count("\n") <= LONGEST_DRIVER
    assert path.stem not in imported()


def test_every_module_can_be_imported_and_no_public_name_is_one():
    """A module of the root that is named like a public function would hide it once it is imported."""
    import scarlet_zoo

    for name in map(module_name, PACKAGE):
        if not name.endswith("__main__") and "with_" not in name:
            importlib.import_module(name)
    assert not [name for name in scarlet_zoo.__all__ if isinstance(getattr(scarlet_zoo, name), types.ModuleType)]
    assert dir(scarlet_zoo) == sorted(scarlet_zoo.__all__)


@pytest.mark.slow
def test_the_root_and_what_needs_no_torch_load_none():
    light = {"errors", "latency", "utils", "arch", "graph", "cli"}
    modules = ["scarlet_zoo", *(n for n in map(module_name, PACKAGE) if n.count(".") and n.split(".")[1] in light)]
    code = "import sys\n" + "".join(f"import {name}\n" for name in modules)
    # inspect costs a start of the command line more than all of ours together.
    code += "print(sorted({'torch', 'timm', 'onnxscript'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_command_line_starts_without_what_only_its_verbs_need():
    heavy = "{'pydantic', 'torch', 'timm', 'scarlet_zoo.arch'}"
    code = f"import sys, scarlet_zoo.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_root_holds_packages_and_four_files():
    root = ROOT / "scarlet_zoo"
    assert {path.name for path in root.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py", "latency.py"}
    folders = {path.name for path in root.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {"arch", "cli", "data", "deployment", "evidence", "folding", "graph", "inference", "measurement",
                       "models", "nas", "training", "utils"}  # fmt: skip


def test_a_package_says_its_question_and_nothing_else():
    for path in (ROOT / "scarlet_zoo").rglob("__init__.py"):
        if path.parent.name not in ("scarlet_zoo", "arch"):
            (docstring,) = ast.parse(path.read_text()).body
            assert isinstance(docstring, ast.Expr), path


def test_nothing_beside_a_file_that_is_run_hides_the_standard_library():
    """Python puts the folder of a file that it runs first on the path."""
    for file in PACKAGE:
        if '__name__ == "__main__"' in file.read_text():
            beside = {path.stem for path in file.parent.glob("*.py")} - {"__init__"}
            # runner is run with -m, which puts the working folder there instead.
            assert file.stem == "runner" or not beside & sys.stdlib_module_names, file


def test_a_supernet_costs_what_it_may():
    rows = json.loads((ROOT / "benchmarks" / "results" / "supernet.json").read_text())
    assert {row["space"] for row in rows} == {"scarlet", "scarlet-mini"}
    for row in rows:
        assert row["step_ratio"]["p50"] <= 1.05
        assert row["supernet_peak_bytes"] <= row["bound_bytes"]
        assert {"device", "threads", "torch", "date"} <= row["conditions"].keys()


def test_committed_latencies_carry_their_conditions():
    rows = json.loads((ROOT / "benchmarks" / "results" / "spelling.json").read_text())
    assert {(row["name"], row["form"]) for row in rows} == {
        (name, form) for name in ("scarlet_a", "scarlet_b", "scarlet_c") for form in ("released", "native", "blocked")
    }
    for row in rows:
        conditions = row["record"]["conditions"]
        assert row["weights"].startswith("random")
        assert row["record"]["runs"] >= 100
        for key in ("device", "threads", "runtime_version", "sha256", "warmup", "date"):
            assert conditions[key]
