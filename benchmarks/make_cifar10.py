"""Find networks for small photographs on CIFAR-10 (JPEG files), and train them beside rivals of the same cost.

Run it again to continue: the journal in results has the finished commands, and an interrupted one goes on in WORK.
Every choice is made on validation images that no network has learned from. Networks are trained once they are in
scarlet_zoo/arch/zoo.py; until then the architecture that a search found is printed.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scarlet_zoo.arch.space_files import read_space
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.evidence import cifar10_recipes as recipes
from scarlet_zoo.evidence.chosen import most_macs_near_the_best
from scarlet_zoo.evidence.cifar10_recipes import SIZES, better, sized
from scarlet_zoo.evidence.commands import Command, Journal, run_commands
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.same_cost import drawn

HERE = Path(__file__).parent
FOUND = HERE.parent / "weights" / "search"  # where the searches are kept


def spaces() -> list[Command]:
    """Short trainings of random architectures of each candidate space at the two smaller costs."""
    found = []
    for name in recipes.SPACES:
        for macs in (SIZES["s"], SIZES["m"]):
            for number, arch in enumerate(drawn(read_space(HERE / "spaces" / f"{name}.toml"), macs, recipes.TRIES)):
                words = ("train", str(arch), "--space", f"spaces/{name}.toml", *recipes.SHORT)
                found.append(Command(f"{name}_{macs // 10**6}M_{number}", words))
    return found


def rivals() -> list[Command]:
    """Short trainings of the candidates for the rival of each size, on 10,000 images."""
    pairs = [(name, size) for size, names in recipes.RIVALS.items() for name in names]
    return [Command(f"{name}_{size}", ("train", *sized(name, size), *recipes.FEW)) for name, size in pairs]


def supernet(journal: Journal) -> list[Command]:
    """The supernet, as long as a search needs its file."""
    searched = all(search.name in journal.rows for search in searches())
    return [] if searched else [Command("supernet", recipes.SUPERNET, keeps=recipes.SUPERNET_FILE)]


def searches() -> list[Command]:
    """The supernet's searches for validation loss and measured latency, one for each size."""
    return [Command(f"search_{size}", (*recipes.SEARCH, "--limit", f"macs<={macs}")) for size, macs in SIZES.items()]


def networks(journal: Journal) -> list[Command]:
    """The first part of the trainings: the networks of the zoo, and the better rival of each size."""
    ours = [Command(recipes.FIRST[size], ("train", f"scarlet_cifar_{size}", *recipes.LONG)) for size in _there()]
    theirs = [Command(f"rival_{size}", ("train", *better(size, journal), *recipes.LONG))
              for size in _there() if size in recipes.RIVALS]  # fmt: skip
    return [*ours, *theirs]


def again(journal: Journal) -> list[Command]:
    """The second part, the large network first."""
    found = []
    for size in reversed(_there()):
        ours = ("train", f"scarlet_cifar_{size}", "--continue-from", recipes.FIRST[size], *recipes.AGAIN[size])
        found.append(Command(f"second_{size}", ours))
        if size in recipes.RIVALS:
            theirs = ("train", *better(size, journal), "--continue-from", f"rival_{size}", *recipes.AGAIN[size])
            found.append(Command(f"second_rival_{size}", theirs))
    return found


def _there() -> list[str]:
    """The sizes whose architecture is in the zoo."""
    return [size for size in SIZES if f"scarlet_cifar_{size}" in ZOO]


def here(command: Command, at_once: int, loaders: int) -> tuple[str, ...]:
    """What a command is told of this machine; more pixels need more processes that load images."""
    if command.words[0] == "search":
        return ()  # latency is that of one thread
    threads = ("--threads", str(max(2 // at_once, 1)))
    words = [*command.words, "--input-size", "32"]
    pixels = int(words[words.index("--input-size") + 1]) ** 2
    return (*threads, "--checkpoint-every", "200", "--loaders", str(loaders * math.ceil(pixels / 50**2)))


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train and test of CIFAR-10 as JPEG files")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--at-once", type=int, default=1, help="number of commands that run at the same time")
    parser.add_argument("--loaders", type=int, default=0, help="processes that load images of 50 x 50 pixels")
    stages: dict[str, Callable[[], list[Command]]] = {
        "spaces": spaces, "rivals": rivals, "supernet": lambda: supernet(journal), "search": searches,
        "networks": lambda: networks(journal), "again": lambda: again(journal),
    }  # fmt: skip
    parser.add_argument("--stages", nargs="+", choices=stages, default=list(stages), help="all when left out")
    parser.add_argument("--journal", type=Path, default=HERE / "results" / "cifar10.jsonl")
    given = parser.parse_args()
    journal = Journal(given.journal)
    given.work.mkdir(parents=True, exist_ok=True)
    for name, target in ((recipes.DATA, given.data), ("spaces", HERE / "spaces")):
        if not (given.work / name).is_symlink():
            (given.work / name).symlink_to(target.resolve())
    for name in given.stages:
        for size in (size for size in SIZES if name == "networks" and f"scarlet_cifar_{size}" not in ZOO):
            print(f"scarlet_cifar_{size}", most_macs_near_the_best(FOUND / f"cifar10-{size}" / "evaluations.jsonl"))
        asked = [replace(command, here=here(command, given.at_once, given.loaders)) for command in stages[name]()]
        run_commands(asked, journal, given.work, given.at_once)


if __name__ == "__main__":
    with one_line_errors():
        main()
