"""``make mutants``: plant faults in what must be exact, and count those that a test notices; figures in figures.json.

mutmut plants them in a copy of the repository's last commit: another operator, another constant, a swapped or missing
argument, one in each copy of a function. A part of them is drawn for each file. The quick tests run first, and the slow
ones only for what the quick ones let through. Run it again to continue.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIGURES = HERE / "figures.json"
KILLED, SURVIVED = "killed", "survived"
OUTCOMES = {None: "left", 0: SURVIVED, 1: KILLED, 3: KILLED, 5: SURVIVED, 33: SURVIVED}  # others: the process ended
ROOMS = {"folding": "folding", "graph passes": "graph/passes", "quantisation plan": "graph/quantization/plan",
         "verify": "deployment", "space": "arch", "records": "measurement"}  # fmt: skip
SLOW = {"folding": ["path_sets", "folding"], "graph passes": ["lowering", "quantization"],
        "quantisation plan": ["quantization"], "verify": ["verification"], "space": [], "records": []}  # fmt: skip


def main():
    """Make the copy, try what is left of the sample, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "mutants", help="Folder of the copy.")
    parser.add_argument("--share", type=float, default=0.1, help="Share of each file's faults that is tried.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the sample.")
    parser.add_argument("--at-once", type=int, default=2, help="Faults that are tried at the same time.")
    given = parser.parse_args()
    if not (given.work / "pyproject.toml").is_file():
        copy_to(given.work)
    run(given.work, ["none of this name"], given.at_once)  # makes the faults and the times of the tests
    drawn = sample(given.work, given.share, given.seed)
    left = [name for name in drawn if outcomes(given.work)[name] == "left"]
    if left:
        run(given.work, left, given.at_once)
    for name in drawn:
        if outcomes(given.work)[name] == SURVIVED:
            try_slow_tests(given.work, name)
    write(given.work, drawn, given.share, given.seed)


def copy_to(work):
    """Copy the last commit, with the configuration of mutmut, and this environment beside it."""
    work.mkdir(parents=True)
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x"], cwd=work, input=packed, check=True)
    with (work / "pyproject.toml").open("a") as file:
        file.write((HERE / "mutmut.toml").read_text())
    (work / "mutants").mkdir()
    for folder in (work, work / "mutants"):
        (folder / ".venv").symlink_to(ROOT / ".venv")


def try_slow_tests(work, name):
    """Let the slow tests of the fault's part run with it, once; what they notice is kept in a file of the copy."""
    tried = read_slow(work)
    tests = [f"tests/test_{test}.py" for test in SLOW[room_of(name)]]
    if name in tried or not tests:
        return
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "slow",
        "-W",
        "default",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MUTANT_UNDER_TEST": name}
    done = subprocess.run(words, cwd=work / "mutants", env=env, capture_output=True)
    (work / "slow.json").write_text(json.dumps(tried | {name: KILLED if done.returncode else SURVIVED}))


def read_slow(work):
    """The outcomes of the slow tests."""
    file = work / "slow.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def run(work, names, at_once):
    """Let mutmut try these faults."""
    words = [sys.executable, "-m", "mutmut", "run", "--max-children", str(at_once), *names]
    with (work / "mutmut.log").open("w") as log:
        subprocess.run(words, cwd=work, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)


def outcomes(work):
    """The outcome of each fault by name."""
    found = {}
    for file in sorted((work / "mutants").rglob("*.meta")):
        codes = json.loads(file.read_text())["exit_code_by_key"]
        found |= {name: OUTCOMES.get(code, KILLED) for name, code in codes.items()}
    return found | read_slow(work)


def sample(work, share, seed):
    """Draw this share of each file's faults; a larger share holds a smaller one."""
    drawn = []
    for file in sorted((work / "mutants").rglob("*.meta")):
        names = sorted(json.loads(file.read_text())["exit_code_by_key"])
        random.Random(f"{file.name} {seed}").shuffle(names)
        drawn += names[: round(len(names) * share)]
    return drawn


def room_of(name):
    """The part of the package that a fault lies in."""
    path = name.removeprefix("scarlet_zoo.").replace(".", "/")
    return next(room for room, start in ROOMS.items() if path.startswith(start))


def shown(work, name):
    """What a fault changes, as lines of a diff."""
    done = subprocess.run([sys.executable, "-m", "mutmut", "show", name], cwd=work, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return [line[:200] for line in lines]


def write(work, drawn, share, seed):
    """Write how many faults were noticed in each part, and those that were not, with the reasons that are known."""
    found = outcomes(work)
    known = json.loads(FIGURES.read_text())["survivors"] if FIGURES.is_file() else {}
    rows = {}
    for room in ROOMS:
        names = [name for name in drawn if room_of(name) == room]
        counts = Counter(found[name] for name in names)
        rows[room] = {"made": sum(room_of(name) == room for name in found), "tried": len(names),
                      "noticed": counts[KILLED], "left": counts["left"]}  # fmt: skip
    survivors = {
        name: {"change": shown(work, name), "why": known.get(name, {}).get("why", "")}
        for name in drawn
        if found[name] == SURVIVED
    }
    content = {"share": share, "seed": seed, "date": time.strftime("%Y-%m-%d"), "rooms": rows, "survivors": survivors}
    fresh = FIGURES.with_suffix(".tmp")
    fresh.write_text(json.dumps(content, indent=1) + "\n")
    fresh.replace(FIGURES)
    sys.stdout.write("".join(f"{room}: {row['noticed']} of {row['tried']} noticed\n" for room, row in rows.items()))


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("error: git is not installed")
    main()
