"""Run hostile commands in forked processes, in a mount namespace where only a disk in memory can be written."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_OF_ORT = ".ses"  # which ONNX Runtime writes into the temporary folder itself
MOST_SECONDS, MOST_BYTES = 30.0, 2 * 2**30
LASTING_SECONDS, HANGING_SECONDS = 30.0, 600.0  # that pass; on a busy machine few of them are a processor's
_STEP_S = 0.02


def _shut_in(disk):
    """Make everything read-only but a disk in memory, which is mounted on an empty folder.

    Nothing that could have a file open for writing may have been imported yet.
    """
    _mount("--make-rprivate", "/")
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in places:
        if not place.startswith(("/proc", "/sys", "/dev")) or place == "/dev/shm":
            subprocess.run(["mount", "-o", "remount,bind,ro", place], capture_output=True)
    _mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", str(disk))
    for probe in (Path(__file__).parent, Path.home(), Path(sys.argv[1]).parent, Path("/dev/shm")):
        if os.access(probe, os.W_OK):
            sys.exit(f"{probe} can still be written")


def _mount(*words):
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mount {' '.join(words)}: {done.stderr.strip()}")


def _load():
    """Import what most commands need, so that the forked processes have it."""
    import importlib

    import torch

    torch.set_num_threads(1)
    for name in ("cli.main", "deployment.deploy", "deployment.verify", "nas.search.search", "nas.train_supernet",
                 "training.train_network", "measurement.recommend", "measurement.lut.table", "inference.accuracy",
                 "measurement.browser.app", "nas.search.derive", "deployment.optimize"):  # fmt: skip
        importlib.import_module(f"scarlet_zoo.{name}")
    importlib.import_module("timm")


def run(disk, first, last):
    """Run some commands; gives their counts and faults."""
    os.environ.update(XDG_CACHE_HOME=str(disk / "cache"), HOME=str(disk / "home"), TMPDIR=str(disk / "tmp"),
                      HF_HUB_OFFLINE="1", ADBUTILS_ADB_PATH="/bin/false", COLUMNS="100")  # fmt: skip
    (disk / "tmp").mkdir()
    tempfile.tempdir = None
    import commands
    import stage

    _load()
    part, found = {"accepted": 0, "refused": 0, "stopped": 0, "slowest_s": 0.0, "most_mib": 0}, []
    for number in range(first, last):
        rng = random.Random(f"command:{number}")
        kind = rng.choices((stage.QUICK, stage.SLOW, stage.LASTING), (6, 2, 1))[0]
        for name in ("a", "tmp", "home", "cache"):
            shutil.rmtree(disk / name, ignore_errors=True)
            (disk / name).mkdir()
        where = disk / "a" / "b"
        where.mkdir()
        command = commands.make(rng, kind, where, lasting=kind is stage.LASTING)
        outcome, seconds, mib, faults = one(command, disk, where)
        part[outcome] += 1
        part["slowest_s"], part["most_mib"] = max(part["slowest_s"], seconds), max(part["most_mib"], mib)
        found += [(number, f"{commands.shown(command)}: {fault}") for fault in faults]
    return {"part": part, "faults": found}


def one(command, disk, where):
    """Run one command in a forked process: its outcome, its seconds, its memory in MiB, and its faults."""
    import commands

    but = [disk / "cache", disk / "tmp", disk / "home", *commands.outputs_of(command.arguments, where)]
    before = commands.snapshot(disk, but)
    out, err = disk / "tmp" / ".out", disk / "tmp" / ".err"
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if child == 0:
        _command(command, where, out, err)
    code, peak, seconds = _waited(child, LASTING_SECONDS if command.lasting else HANGING_SECONDS)
    stopped = code is None
    faults = commands.faults(command, code, out.read_bytes(), err.read_bytes(), before, commands.snapshot(disk, but))
    if stopped and not command.lasting:
        faults.append(f"not done after {seconds:.0f} seconds of a processor")
    mib = max(peak - base, 0) // 1024
    if mib * 2**20 > MOST_BYTES and not command.lasting:  # a training is as large as it is told to be
        faults.append(f"{mib} MiB")
    left = [path.name for path in (disk / "tmp").iterdir() if path.name not in (".out", ".err", _OF_ORT)]
    if left and not stopped:
        faults.append(f"left in the temporary folder: {left[:3]}")
    outcome = "stopped" if stopped else "accepted" if code == 0 else "refused"
    return outcome, seconds, mib, faults


def _command(command, where, out, err):
    """Be the command line; never returns."""
    os.setsid()
    os.chdir(where)
    for target, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = 1
    try:
        from scarlet_zoo.cli import main

        limit = 6 * 2**30
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        main.main(list(command.arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _waited(child, most):
    """Wait for a child; gives its exit code, None where it was stopped, its peak in KiB, and its seconds.

    It is stopped when it has used a processor for the seconds that it may, or when so many have passed.
    """
    began = time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if not done and (time.monotonic() - began > most or _processor_seconds(child) > MOST_SECONDS):
            os.killpg(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return None, usage.ru_maxrss, usage.ru_utime + usage.ru_stime
        if done:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            return code, usage.ru_maxrss, usage.ru_utime + usage.ru_stime
        time.sleep(_STEP_S)


def _processor_seconds(child):
    """What a process and its children have used of processors."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    # An empty folder, and the numbers of the first case and of the one after the last; prints what came of them.
    _shut_in(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), *map(int, sys.argv[2:4]))) + "\n")
