"""What happens to a running command: it is killed, its disk is full, its folder is closed, its state is cut off."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 600
# Root may write everywhere; without this capability it may not.
OBEDIENT = (
    "setpriv",
    "--bounding-set",
    "-dac_override,-dac_read_search",
    "--inh-caps",
    "-dac_override,-dac_read_search",
)


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    error: str
    seconds: float

    @property
    def is_one_line(self) -> bool:
        """Whether it has said in one line why it gives up; other lines are progress and warnings."""
        said = [line for line in self.error.splitlines() if line.startswith("error: ")]
        return len(said) == 1 and self.error.rstrip().splitlines()[-1] == said[0] and "Traceback" not in self.error


def run(words: Sequence[str], cwd: Path) -> Ended:
    """Run a command to its end."""
    began = time.monotonic()
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return Ended(done.returncode, done.stderr, time.monotonic() - began)


def killed(words: Sequence[str], cwd: Path, after: Path, most_s: float, rng: random.Random) -> bool:
    """Start a command and kill it, with all that it has started, at a random moment.

    Args:
        words: the command.
        cwd: working folder.
        after: what exists once work has begun; half of the kills wait for it, the others come at any time.
        most_s: how long the command takes when nothing happens to it.
        rng: draws the moment.

    Returns:
        Whether it was still running.
    """
    with subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          start_new_session=True) as process:  # fmt: skip
        wait, end = rng.random() < 0.5, time.monotonic() + LIMIT_S
        while wait and not after.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        moment = time.monotonic() + rng.random() * most_s * (0.5 if wait else 0.9)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.005)
        running = process.poll() is None
        if running:
            os.killpg(process.pid, signal.SIGKILL)
    return running


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A folder on a disk of its own, of so many bytes; needs root. The disk stays full-sized until the block ends."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def enlarge(folder: Path) -> None:
    """Give the disk of :func:`small_disk` room for everything."""
    subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)


def cut(folder: Path, patterns: Sequence[str], rng: random.Random) -> Path | None:
    """Cut off one file of an unfinished run at a random place; None if there is none yet."""
    found = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.stat().st_size)
    if not found:
        return None
    chosen = rng.choice(found)
    with chosen.open("r+b") as file:
        file.truncate(rng.randrange(chosen.stat().st_size))
    return chosen
