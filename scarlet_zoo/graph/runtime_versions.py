"""Install other versions of ONNX Runtime in virtual environments of the user's cache, when first needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import cache_folder, make_folder

_SPEC = re.compile(r"ort==(\d+\.\d+\.\d+)")


def interpreter_of(runtime: str) -> Path:
    """The Python interpreter that has a runtime: this one for ``ort``, else one in a virtual environment.

    Args:
        runtime: ``ort`` for the installed one, or a version such as ``ort==1.22.1``, which pip installs.

    Raises:
        ScarletError: the name is unknown, or pip cannot install that version.
    """
    if runtime == "ort":
        return Path(sys.executable)
    found = _SPEC.fullmatch(runtime)
    if found is None:
        raise ScarletError(f"runtime {runtime!r}: unknown, wanted ort, or a version such as ort==1.22.1")
    home = cache_folder() / "runtimes"
    folder = home / f"onnxruntime-{found[1]}"
    if not folder.is_dir():
        _install(found[1], home, folder)
    return _python(folder)


def _install(version: str, home: Path, folder: Path) -> None:
    """Create the environment in a temporary folder and rename it, so that a half-built one is never used."""
    make_folder(home)
    with tempfile.TemporaryDirectory(dir=home, prefix=".making-", ignore_cleanup_errors=True) as temporary:
        environment = Path(temporary) / "venv"
        venv.create(environment, with_pip=True, symlinks=os.name != "nt")
        pip = [str(_python(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, f"onnxruntime=={version}", "numpy"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip() or f"exit code {done.returncode}").split("\n")[-1]
            raise ScarletError(f"runtime ort=={version}: pip cannot install it with: {reason}")
        try:
            environment.rename(folder)
        except OSError:
            # Another process has already created the same environment.
            if not folder.is_dir():
                raise


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
