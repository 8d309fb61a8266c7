"""Hostile input that coverage guides: atheris goes on from the cases that reach new branches of a parser.

``make guided`` runs it for some seconds a parser, beside the cases that chance alone makes. An input that a parser
neither reads nor refuses is kept in a file of out/fuzz, and the line that tells of it names the file.
"""

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from run import FIGURES, HERE, say, write

FINDINGS = HERE.parents[1] / "out" / "fuzz"


def main():
    """Fuzz each parser in a process of its own and write the figures after each; ends with 1 after a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="Parsers of texts and bytes; all when left out.")
    parser.add_argument("--seconds", type=int, default=60, help="Seconds for each parser.")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="File of the figures.")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("error: atheris is not installed; wanted: pip install 'atheris>=3'\n")
        return 2
    FINDINGS.mkdir(parents=True, exist_ok=True)
    faults = 0
    for name in given.names or _of_bytes():
        row = fuzz(name, given.seconds)
        faults += row["faults"]
        say(f"{name}: {row['inputs']:,} inputs, {row['branches']:,} branches reached, {row['faults']} faults")
        write(given.figures, name, row, "guided")
    return int(faults > 0)


def _of_bytes():
    """The parsers whose cases are a text or bytes, as guided input is."""
    from parsers import PARSERS

    kinds = {
        name: {type(PARSERS[name].make(random.Random(f"{name}:{number}"))) for number in range(20)} for name in PARSERS
    }
    return [name for name in PARSERS if kinds[name] in ({str}, {bytes})]


def fuzz(name, seconds):
    """Fuzz one parser in a child; gives its inputs, the branches that they reached, and its faults."""
    with tempfile.TemporaryDirectory(prefix="scarlet-guided-") as corpus:
        words = [sys.executable, str(HERE / "guided_child.py"), name, str(seconds), str(FINDINGS), corpus]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    inputs = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    reached = re.findall(r"\bcov: (\d+)", done.stderr)
    if not inputs or not reached:
        last = done.stderr.strip().splitlines()[-1:]
        sys.exit(f"error: {name}: atheris ended with {done.returncode} without figures: {' '.join(last)}")
    if done.returncode:
        for line in re.findall(
            r"^(?:fault:.*|.*Test unit written to .*|.*ERROR: libFuzzer.*)$", done.stderr, re.MULTILINE
        ):
            say(f"  {name}: {line}")
    return {"inputs": int(inputs[1]), "branches": int(reached[-1]), "seconds": seconds,
            "faults": int(done.returncode != 0)}  # fmt: skip


if __name__ == "__main__":
    os.environ.update(HF_HUB_OFFLINE="1", ADBUTILS_ADB_PATH="/bin/false")
    sys.exit(main())
