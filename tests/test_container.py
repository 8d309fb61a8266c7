"""The Dockerfile without Docker: its RUN lines run as they stand, in a fresh folder, on packages that are there."""

import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from clone_parts import already_fetched, copied, run
from conftest import ROOT

import scarlet_zoo

LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
# Debian's lists are asked whether the packages are there; nothing is installed on this machine.
ASKED = """#!/bin/sh
test "$1" = update || exec /usr/bin/apt-get --simulate -qq "$@"
"""


def told(instruction):
    return [line.removeprefix(f"{instruction} ") for line in LINES if line.startswith(f"{instruction} ")]


def test_what_the_image_copies_is_all_that_a_clone_has_and_its_command_is_a_target():
    assert told("COPY") == [". ."]
    ignored = set((ROOT / ".dockerignore").read_text().split())
    assert {".venv", "out", ".git"} <= ignored
    assert not ignored & {path.name for path in ROOT.iterdir() if path.name in ("scarlet_zoo", "weights", "export")}
    (command,) = told("CMD")
    assert command == '["make", "demo"]'
    assert re.search(r"^demo:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hatchling") is None, reason="needs hatchling, of the extra dev")
@pytest.mark.skipif(shutil.which("apt-get", path="/usr/bin") is None, reason="needs Debian's apt-get")
def test_the_lines_of_the_image_run(tmp_path):
    folder = tmp_path / "image"
    copied(folder)
    version = "python{}.{}".format(*sys.version_info)
    already_fetched(folder / ".venv" / "lib" / version / "site-packages")
    (tmp_path / "apt-get").write_text(ASKED)
    (tmp_path / "apt-get").chmod(0o755)
    programs = f"{tmp_path}:{Path(sys.base_prefix) / 'bin'}:"
    # pip asks no index: what it would fetch is there, its build backend too, which NO_BUILD_ISOLATION=0 lets it use.
    there = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    said = [run(folder, line, programs, **there) for line in told("RUN")]
    assert "dataset-fashion-mnist" in said[0] or Path("/usr/share/datasets/fashion-mnist").is_dir()
    assert "scarlet-zoo[all] into .venv" in said[2]
    assert said[3] == f"scarlet-zoo {scarlet_zoo.__version__}\n"
