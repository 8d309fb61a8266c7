"""A recording of a terminal as SVG: commands that are run, and what they print on a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from scarlet_zoo.errors import ScarletError

COLUMNS, _ROWS = 80, 50
# A network that comes with its weights: from nothing to what it sees; and what to take for a budget, by our records.
COMMANDS = (
    "scarlet-zoo export scarlet_cifar_s --target ort --out out",
    "scarlet-zoo verify out/scarlet_cifar_s.onnx",
    "scarlet-zoo predict out/scarlet_cifar_s.onnx cat.png --top 3",
    "scarlet-zoo recommend --records benchmarks/results/peers.json --budget-ms 8",
)
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
_FAMILY = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


def prepare(folder: Path, results: Path) -> None:
    """Put what the commands read into a folder: a photograph of scikit-image's, and the committed records."""
    from skimage import data

    photographs: Any = data
    Image.fromarray(photographs.chelsea()).save(folder / "cat.png")
    records = folder / "benchmarks" / "results"
    records.mkdir(parents=True)
    (records / "peers.json").write_bytes((results / "peers.json").read_bytes())


def run_commands(folder: Path, commands: Sequence[str] = COMMANDS) -> list[str]:
    """Run commands of this package in a folder, each on a terminal, and return what each printed, with its escapes.

    Raises:
        ScarletError: a command did not succeed.
    """
    return [_run(command, folder) for command in commands]


def recording(commands: Sequence[str], printed: Sequence[str]) -> str:
    """Draw commands and what they printed, with fonts of the reader's machine."""
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for place, (command, text) in enumerate(zip(commands, printed, strict=True)):
        console.print(Text.assemble("\n" if place else "", ("$ ", "bold green"), (command, "bold")), soft_wrap=True)
        for line in Text.from_ansi(text.rstrip()).split("\n", allow_blank=True):
            for part in line.divide(range(COLUMNS, len(line), COLUMNS)):  # as a terminal breaks it
                console.print(part, soft_wrap=True)
    template = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, monospace", _FAMILY)
    return console.export_svg(title="scarlet-zoo", code_format=template, unique_id="terminal") + "\n"


def _run(command: str, folder: Path) -> str:
    words = shlex.split(command)
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, COLUMNS, 0, 0))
    wanted = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(
        [sys.executable, "-m", "scarlet_zoo", *words[1:]], cwd=folder, stdout=terminal, stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL, env={**os.environ, **wanted},
    )  # fmt: skip
    os.close(terminal)
    parts = []
    while part := _read(ours):
        parts.append(part)
    os.close(ours)
    if process.wait():
        raise ScarletError(f"{command}: ended with {process.returncode}, wanted a command that succeeds")
    return b"".join(parts).decode().replace("\r\n", "\n")


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""
