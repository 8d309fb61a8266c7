"""``make fuzz``: many hostile cases for each parser and for the command line, with figures in figures.json.

Each case is a number from which its input follows, so a finding can be repeated, and a run that was ended goes on where
it was. A parser's cases run in a child process of their own that ends when a case takes 30 seconds or 2 GiB. Commands
run in forked processes on a disk in memory, beside which nothing can be written.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from judge import judge
from parsers import PARSERS

HERE = Path(__file__).parent
FIGURES = HERE / "figures.json"
CASES, COMMANDS = 100_000, 2_000
CHUNK, COMMANDS_AT_ONCE = 10_000, 50
MOST_SECONDS, MOST_BYTES = 30.0, 2 * 2**30
COMMAND_LINE = "command line"


def main():
    """Run what the arguments say and write the figures after each chunk."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="Parsers, or 'commands'; all when left out.")
    parser.add_argument("--cases", type=int, default=CASES, help="Cases of each parser.")
    parser.add_argument("--commands", type=int, default=COMMANDS, help="Cases of the command line.")
    parser.add_argument("--again", action="store_true", help="Begin at the first case.")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="File of the figures.")
    given = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", ADBUTILS_ADB_PATH="/bin/false")
    warnings.simplefilter("ignore")
    found = 0
    names = given.names or [*PARSERS, COMMAND_LINE]
    for name in names:
        if name in PARSERS:
            found += fuzz(name, given.cases, given.figures, again=given.again, run=run_parser)
        else:
            found += fuzz(COMMAND_LINE, given.commands, given.figures, again=given.again, run=run_commands)
    say(f"{found} faults")
    return int(found > 0)


def say(line):
    """Print a line of progress at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def fuzz(name, cases, path, *, again, run):
    """Run the cases of a parser or of the command line that were not run yet; gives the number of faults."""
    row = {} if again else read(path).get(name, {})
    row = {"cases": 0, "accepted": 0, "refused": 0, "slowest_s": 0.0, "most_mib": 0, "faults": 0, **row}
    while row["cases"] < cases:
        first = row["cases"]
        last = min(first + (CHUNK if run is run_parser else COMMANDS_AT_ONCE), cases)
        began = time.monotonic()
        part, faults = run(name, first, last)
        for key in ("accepted", "refused", "stopped"):
            if part.get(key) or key in row:
                row[key] = row.get(key, 0) + part.get(key, 0)
        row["slowest_s"] = round(max(row["slowest_s"], part["slowest_s"]), 3)
        row["most_mib"] = max(row["most_mib"], part["most_mib"])
        row["faults"] += len(faults)
        row["cases"] = last
        for number, fault in faults[:20]:
            say(f"  {name} {number}: {fault}")
        rate = (last - first) / max(time.monotonic() - began, 1e-9)
        say(f"{name}: {last:,} of {cases:,} cases, {rate:,.0f} a second, {row['faults']} faults")
        write(path, name, row)
    return row["faults"]


def read(path):
    """The figures so far, by name."""
    return json.loads(path.read_text())["rows"] if path.is_file() else {}


def write(path, name, row, part="rows"):
    """Replace one row of a part of the figures; several runs may write, one for some parsers each."""
    from filelock import FileLock

    with FileLock(Path(tempfile.gettempdir()) / "scarlet-fuzz-figures.lock"):
        content = json.loads(path.read_text()) if path.is_file() else {}
        content["conditions"] = conditions()
        content[part] = dict(sorted((content.get(part, {}) | {name: row}).items()))
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(content, indent=1) + "\n")
        fresh.replace(path)


def conditions():
    """What the figures depend on."""
    import onnx
    import onnxruntime
    import PIL
    import torch

    return {"python": sys.version.split()[0], "torch": torch.__version__.partition("+")[0], "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__, "pillow": PIL.__version__, "system": os.uname().sysname,
            "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def run_parser(name, first, last):
    """Run some cases in a child, and in the next one those after a case that ended it."""
    part, faults, start = (
        {**dict.fromkeys(("accepted", "refused", "faults", "most_mib"), 0), "slowest_s": 0.0},
        [],
        first,
    )
    for number in range(20):  # imports what the children need
        judge(PARSERS[name], PARSERS[name].make(random.Random(f"{name}:{number}")))
    while start < last:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _child(name, start, last, writer)
        os.close(writer)
        start = _heard(child, reader, start, part, faults)
    return part, faults


def _child(name, first, last, writer):
    """Run cases and tell each one's outcome; never returns."""
    limit = _memory() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with os.fdopen(writer, "w") as out:
        for number in range(first, last):
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS + 5)  # which ends the process
            case = PARSERS[name].make(random.Random(f"{name}:{number}"))
            found, seconds = judge(PARSERS[name], case)
            out.write(json.dumps([number, found, seconds, _peak()]) + "\n")
            if number % 50 == 0:
                out.flush()
    os._exit(0)


def _heard(child, reader, start, part, faults):
    """Add up what a child tells; gives the number of the next case."""
    base = None
    with os.fdopen(reader) as lines:
        for line in lines:
            if not line.endswith("\n"):
                break
            number, found, seconds, peak = json.loads(line)
            base = peak if base is None else base
            kind = found if found in ("accepted", "refused") else "faults"
            part[kind] += 1
            if kind == "faults":
                faults.append((number, found))
            part["slowest_s"] = max(part["slowest_s"], seconds)
            part["most_mib"] = max(part["most_mib"], (peak - base) // 2**20)
            start = number + 1
    _, status = os.waitpid(child, 0)
    if status:
        faults.append((start, f"fault: the process ended with {status} at this case or one of the 50 after it"))
        start += 1
    return start


def _memory():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) * 1024
    return 0


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_commands(_, first, last):
    """Run some commands in a process that can write nothing but its disk in memory."""
    inside = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
    with tempfile.TemporaryDirectory(prefix="scarlet-fuzz-") as disk:
        command = [*inside, sys.executable, str(HERE / "isolated.py"), disk, str(first), str(last)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the command line cannot be isolated here: {done.stderr.strip()[-500:]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer["part"], [tuple(fault) for fault in answer["faults"]]


if __name__ == "__main__":
    sys.exit(main())
