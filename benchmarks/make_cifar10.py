"""Find networks for small photographs on CIFAR-10 (JPEG files), and train them beside rivals of the same cost.

Run it again to continue: the journal in results has the finished commands, on another machine too; an interrupted one
continues from its folder in WORK. Every choice is made on validation images that no network has learned from. Networks
are trained once they are in scarlet_zoo/arch/zoo.py; until then the architecture that a search found is printed.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scarlet_zoo.arch.space_files import read_space
from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.evidence.chosen import most_macs_near_the_best
from scarlet_zoo.evidence.commands import Command, Journal, run_commands
from scarlet_zoo.evidence.same_cost import drawn, side_of

HERE = Path(__file__).parent
FOUND = HERE.parent / "weights" / "search"  # where the searches are kept
DATA, SPACES = "cifar10_jpeg", ("fine-maps", "even-maps", "early-stride", "late-stride")
SIZES = {"s": 6_000_000, "m": 12_000_000, "l": 25_000_000}  # the most multiply-adds
TRIES = 3
RIVALS = {"s": ("mobilenetv3_small_075", "tinynet_e"), "m": ("mobilenetv3_small_100", "tinynet_e")}
TRAIN = ("--data", DATA, "--validation", "5000", "--augment", "small")
SHORT = (*TRAIN, "--batch-size", "256", "--mixed-precision", "bf16", "--epochs", "6", "--lr", "0.2")
FEW = (*TRAIN, "--pictures", "10000", "--epochs", "6")
LONG = (*TRAIN, "--batch-size", "512", "--mixed-precision", "bf16", "--epochs", "75", "--lr", "0.4",
        "--weight-decay", "2e-4")  # fmt: skip
SUPERNET = ("supernet", "train", "--strategy", "scarlet", "--space", "scarlet-cifar", *TRAIN, "--batch-size", "64",
            "--epochs", "11", "--lr", "0.15")  # fmt: skip
SUPERNET_FILE = "supernet/supernet.safetensors"
SEARCH = ("search", "--supernet", SUPERNET_FILE, "--objectives", "loss,latency",
          "--evaluations", "100", "--population", "20", "--bn-images", "1000")  # fmt: skip


def spaces() -> list[Command]:
    """Short trainings of random architectures of each candidate space at the two smaller costs."""
    found = []
    for name in SPACES:
        for macs in (SIZES["s"], SIZES["m"]):
            for number, arch in enumerate(drawn(read_space(HERE / "spaces" / f"{name}.toml"), macs, TRIES)):
                words = ("train", str(arch), "--space", f"spaces/{name}.toml", *SHORT)
                found.append(Command(f"{name}_{macs // 10**6}M_{number}", words))
    return found


def sized(name: str, size: str) -> tuple[str, ...]:
    """A network of others with the input side at which it is as large as one of ours."""
    return name, "--input-size", str(side_of(name, SIZES[size], 3))


def rivals() -> list[Command]:
    """Short trainings of the candidates for the rival of each size, on 10,000 images."""
    pairs = [(name, size) for size, names in RIVALS.items() for name in names]
    return [Command(f"{name}_{size}", ("train", *sized(name, size), *FEW)) for name, size in pairs]


def supernet(journal: Journal) -> list[Command]:
    """The supernet, as long as a search needs its file."""
    searched = all(search.name in journal.rows for search in searches())
    return [] if searched else [Command("supernet", SUPERNET, keeps=SUPERNET_FILE)]


def searches() -> list[Command]:
    """The supernet's searches for validation loss and measured latency, one for each size."""
    return [Command(f"search_{size}", (*SEARCH, "--limit", f"macs<={macs}")) for size, macs in SIZES.items()]


def networks(journal: Journal) -> list[Command]:
    """The networks of the zoo, and the better rival of each size, all by one recipe."""
    sizes = [size for size in SIZES if f"scarlet_cifar_{size}" in ZOO]
    ours = [Command(f"scarlet_cifar_{size}", ("train", f"scarlet_cifar_{size}", *LONG)) for size in sizes]
    for size, names in ((size, RIVALS[size]) for size in sizes if size in RIVALS):
        better = max(names, key=lambda name: journal.rows[f"{name}_{size}"]["report"]["accuracy"]["percent"])
        ours.append(Command(f"rival_{size}", ("train", *sized(better, size), *LONG)))
    return ours


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
        "networks": lambda: networks(journal),
    }  # fmt: skip
    parser.add_argument("--stages", nargs="+", choices=stages, default=list(stages), help="all when left out")
    parser.add_argument("--journal", type=Path, default=HERE / "results" / "cifar10.jsonl")
    given = parser.parse_args()
    journal = Journal(given.journal)
    given.work.mkdir(parents=True, exist_ok=True)
    for name, target in ((DATA, given.data), ("spaces", HERE / "spaces")):
        if not (given.work / name).is_symlink():
            (given.work / name).symlink_to(target.resolve())
    for name in given.stages:
        for size in (size for size in SIZES if name == "networks" and f"scarlet_cifar_{size}" not in ZOO):
            print(f"scarlet_cifar_{size}", most_macs_near_the_best(FOUND / f"cifar10-{size}" / "evaluations.jsonl"))
        asked = [replace(command, here=here(command, given.at_once, given.loaders)) for command in stages[name]()]
        run_commands(asked, journal, given.work, given.at_once)


if __name__ == "__main__":
    main()
