"""Compare networks that use an entangled supernet's weights with the same networks trained alone, on CIFAR-10 (JPEG).

Run it again to continue: the journal in results has what is finished, on another machine too. For skips without and
with a stabilizer a supernet is trained, searched for loss and latency, and three architectures along its front are
taken. Their accuracy with its weights, after batch norm statistics of their own, stands beside that of a training alone
for as many images as the supernet had.
"""

import argparse
import json
import shutil
from pathlib import Path

from scarlet_zoo.evidence.cifar10_recipes import DATA, TRAIN
from scarlet_zoo.evidence.commands import Command, Journal, run_commands
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.nas.search.front import load_front
from scarlet_zoo.utils.files import write_text

RESULTS = Path(__file__).parent / "results"
FILE = RESULTS / "entangled.json"
SKIPS, TAKEN = ("plain", "identity"), "spread:3"
HOW = (*TRAIN, "--batch-size", "128", "--epochs", "12", "--lr", "0.1")
SEARCH = ("--objectives", "loss,latency", "--evaluations", "100", "--population", "20")


def supernet_of(skip: str, strategy: str = "ofa") -> Command:
    """The supernet with one kind of skip."""
    kind = ("--strategy", strategy, "--space", "scarlet-cifar", "--skip", skip, "--clip-norm", "5")
    words = ("supernet", "train", *kind, *HOW)
    return Command(f"{strategy}_{skip}", words)


def taken_from(skip: str, journal: Journal, work: Path) -> list[dict[str, object]]:
    """The architectures along the front of a supernet's search, with their accuracy; the journal keeps them."""
    name = f"taken_{skip}"
    if name not in journal.rows:
        file = f"ofa_{skip}/supernet.safetensors"
        search = Command(f"search_{skip}", ("search", "--supernet", file, *SEARCH))
        run_commands([search], journal, work)
        front = load_front(work / search.name / "front.json")
        rows = [{"arch": str(one.arch), **one.values} for one in front.choose(TAKEN)]
        journal.add({"name": name, "command": [TAKEN], "report": {"taken": rows}})
    found: list[dict[str, object]] = journal.rows[name]["report"]["taken"]
    return found


def finished(journal: Journal) -> list[dict[str, object]]:
    """What the journal has of both accuracies of an architecture."""
    compared, rows = [], journal.rows
    for skip in SKIPS:
        taken = rows[f"taken_{skip}"]["report"]["taken"] if f"taken_{skip}" in rows else []
        for number, row in enumerate(taken):
            if (alone := rows.get(f"alone_{skip}_{number}")) is not None:
                report = alone["report"]
                images = report["pictures"] * int(HOW[HOW.index("--epochs") + 1])
                compared.append({"skip": skip, **row, "alone": report["accuracy"]["percent"], "images": images})
    return compared


def main() -> None:
    """Run what is missing, and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test of CIFAR-10 as JPEG files")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--threads", default="2", help="threads of a training")
    parser.add_argument(
        "--skips", nargs="+", choices=SKIPS, default=SKIPS,
        help="kinds of skips; with one kind each, two processes of one thread share the work",
    )  # fmt: skip
    given = parser.parse_args()
    journal = Journal(RESULTS / "entangled.jsonl")
    given.work.mkdir(parents=True, exist_ok=True)
    if not (given.work / DATA).is_symlink():
        (given.work / DATA).symlink_to(given.data.resolve())
    here = ("--threads", given.threads, "--checkpoint-every", "200")
    for skip in given.skips:
        if f"taken_{skip}" not in journal.rows:
            supernet = supernet_of(skip)
            kept, file = RESULTS / f"{supernet.name}.safetensors", given.work / supernet.name / "supernet.safetensors"
            if kept.is_file() and not file.is_file():  # of a series that another machine goes on with
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(kept, file)
            run_commands([Command(supernet.name, supernet.words, f"{supernet.name}/supernet.safetensors", here)],
                         journal, given.work)  # fmt: skip
        for number, row in enumerate(taken_from(skip, journal, given.work)):
            alone = Command(f"alone_{skip}_{number}", ("train", str(row["arch"]), *HOW), here=here)
            run_commands([alone], journal, given.work)
        write_text(FILE, json.dumps({"how": HOW, "compared": finished(journal)}, indent=1) + "\n")
    for pair in finished(journal):
        words = f"{pair['accuracy']:.2f} % with the supernet's weights, {pair['alone']:.2f} % alone"
        print(pair["skip"], pair["arch"], words)


if __name__ == "__main__":
    with one_line_errors():
        main()
