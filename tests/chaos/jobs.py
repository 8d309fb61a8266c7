"""The long commands that are interrupted, each small enough for seconds, and what of its result must come out equal."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
PLAN = """
title = "small networks"
architectures = 3
draw = 1
seeds = [0, 1]
data = "DATA"
pictures = 1200
[training]
epochs = 2
batch_size = 50
lr = 0.05
"""
SPACE = """
name = "few"
in_chans = 1
input_size = 28
num_classes = 10
mean = [0.5]
std = [0.5]
stem_width = 8
first_width = 8
head_width = 16
stages = [[8, 2, 2], [16, 2, 2]]
kernel_sizes = [3, 5]
expand_ratios = [1, 3]
"""


@dataclass(frozen=True)
class Job:
    """A long command.

    Attributes:
        name: its name in the figures.
        words: the command, for a folder that it writes to; it runs in the folder of what was prepared.
        result: what must be the same in the folder, whatever has happened on the way; measured times are left out.
        writes: the file by whose first line or byte one sees that work has begun.
        truncates: patterns of files that hold the state of an unfinished run.
    """

    name: str
    words: Callable[[Path], list[str]]
    result: Callable[[Path], object]
    writes: str
    truncates: tuple[str, ...]


def zoo(*words: object) -> list[str]:
    """A command of scarlet-zoo."""
    return [sys.executable, "-m", "scarlet_zoo", *map(str, words)]


def driver(name: str, *words: object) -> list[str]:
    """A command of a driver in the repository."""
    return [sys.executable, str(ROOT / name), *map(str, words)]


def tensors(path: Path) -> dict[str, str]:
    """The digest of each tensor of a weights file."""
    return {key: sha256(value.tobytes()).hexdigest() for key, value in load_file(path).items()}


def trained(file: str) -> Callable[[Path], object]:
    """The weights and the log of a training."""
    return lambda out: (tensors(out / "out" / file), (out / "out" / "steps.jsonl").read_text())


def lines(path: Path) -> list[dict[str, object]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def searched(out: Path) -> object:
    """The architectures that a search has scored, with their values, and its front."""
    rows = [row for row in lines(out / "out" / "evaluations.jsonl") if "arch" in row]
    front = json.loads((out / "out" / "front.json").read_text())["front"]
    return sorted((row["arch"], json.dumps(row["values"])) for row in rows), [one["arch"] for one in front]


def predicted(out: Path) -> object:
    """The short trainings of a predictor and the front that it found."""
    rows = lines(out / "out" / "trainings.jsonl")
    told = [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]
    return sorted(json.dumps(row, sort_keys=True) for row in told), searched(out)


def truth(out: Path) -> object:
    """The rows of a ground truth without their times."""
    head, *rows = [line.split(",") for line in (out / "truth" / "ground_truth.csv").read_text().splitlines()]
    kept = [number for number, name in enumerate(head) if name not in ("core_seconds", "latency_ms")]
    return sorted(tuple(row[number] for number in kept) for row in rows)


def table(out: Path) -> object:
    """The blocks of a latency table and the number of its sittings; the times are measured anew."""
    made = json.loads((out / "table.json").read_text())
    return sorted(made["blocks"] if isinstance(made["blocks"], dict) else map(json.dumps, _names(made["blocks"])))


def _names(blocks: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: value for key, value in block.items() if not isinstance(value, float | list)} for block in blocks]


def swept(out: Path) -> object:
    """The networks of a sweep and how they came out, without times."""
    rows = json.loads((out / "sweep.json").read_text())["rows"]
    return [(row["name"], row["int8"]["sqnr_db"], row["verify"]["sqnr_db"]) for row in rows]


def exported(out: Path) -> object:
    """The files of an export of the zoo, by digest."""
    rows = json.loads((out / "manifest.json").read_text())["rows"]
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((out / "files").rglob("*.onnx"))}
    return [(row["network"], row["target"], row["files"]) for row in rows], found


def ranked(out: Path) -> object:
    """The rankings of every recipe, without times."""
    report = json.loads((out / "out" / "rank.json").read_text())
    rows = [{key: value for key, value in row.items() if "seconds" not in key} for row in report["rows"]]
    return rows, report["spread"], report["ceiling"]


def toured(out: Path) -> object:
    """The supernet of a tour and the kinds of its files; the network that it takes follows from measured times."""
    files = {path.relative_to(out).parent / f"*{path.suffix}" for path in (out / "out").rglob("*") if path.is_file()}
    log = (out / "out" / "supernet" / "steps.jsonl").read_text()
    return tensors(out / "out" / "supernet" / "supernet.safetensors"), log, sorted(map(str, files))


def jobs(data: str) -> list[Job]:
    """The long commands.

    Args:
        data: folder of Fashion-MNIST.
    """
    at = ("--data", "fashion-mnist", "--data-dir", data)
    brief = (*at, "--pictures", 1500, "--validation", 200, "--batch-size", 25, "--epochs", 2, "--checkpoint-every", 7,
             "--threads", 1)  # fmt: skip
    scored = ("--evaluations", 24, "--population", 8)
    predictor = ("--method", "predictor", "--validation", 200, "--training-pictures", 400, "--training-epochs", 1,
                 "--candidates", 8, "--confirm", 2)  # fmt: skip
    few = ("--space", "few.toml")
    export = ("--networks", "scarlet_mini_s", "scarlet_mini_m", "--targets", "ort", "ort-x64", "ort-int8")
    lut = ("--networks", 8, "--held-out", 4, "--sittings", 2)
    found = ("--objectives", "loss,macs", *scored)
    rank = ("--truth", "truth", "--recipe", "spos", "--recipe", "bn-nas:skip=identity", "--seeds", 1, "--budget", 4000,
            "--bn-images", 100, "--validation-images", 200, "--batch-size", 25)  # fmt: skip
    state = ("out/checkpoint.pt",)  # of a log that is cut off the lines are lost, and a warning says so
    return [
        Job("train", lambda out: zoo("train", "scarlet_mini_s", *brief, "--out", out / "out"),
            trained("model.safetensors"), "out/steps.jsonl", state),
        Job("supernet train", lambda out: zoo("supernet", "train", *few, *brief, "--out", out / "out"),
            trained("supernet.safetensors"), "out/steps.jsonl", state),
        Job("search", lambda out: zoo("search", "--supernet", "net/supernet.safetensors", "--data-dir", data, *found,
                                      "--validation-images", 200, "--out", out / "out"),
            searched, "out/evaluations.jsonl", ("out/evaluations.jsonl",)),
        Job("search --method predictor", lambda out: zoo("search", *few, *at, *predictor, *found, "--out", out / "out"),
            predicted, "out/trainings.jsonl", ("out/trainings.jsonl", "out/evaluations.jsonl")),
        Job("ground truth", lambda out: driver("benchmarks/make_ground_truth.py", "--work", out / "work", "--folder",
                                               out / "truth"),
            truth, "truth/ground_truth.csv", ("work/*/checkpoint.pt",)),
        Job("rank", lambda out: zoo("rank", *rank, "--out", out / "out"), ranked, "out/spos/0/steps.jsonl",
            ("out/*/*/evaluations.jsonl", "out/*/*/ranker.json", "out/*/*/checkpoint.pt")),
        Job("tour", lambda out: zoo("tour", "--smoke", *few, *at, "--threads", 1, "--out", out / "out"), toured,
            "out/supernet/steps.jsonl", ("out/*/checkpoint.pt", "out/search/evaluations.jsonl")),
        Job("lut build", lambda out: zoo("lut", "build", *few, *lut, "--save", out / "table.json"),
            table, "table.json.work", ("table.json.work/*/sitting-*.json", "table.json.work/*/*.onnx")),
        Job("sweep of timm", lambda out: driver("benchmarks/sweep_timm.py", "--images", "pictures", "--result",
                                                out / "sweep.json", "--page", out / "timm.md", "--families",
                                                "starnet", "mobilenetv3"),
            swept, "sweep.json", ("sweep.json",)),
        Job("export of the zoo", lambda out: driver("export/export_zoo.py", *export, "--out", out / "files",
                                                    "--manifest", out / "manifest.json", "--data-dir", data),
            exported, "manifest.json", ("manifest.json", "files/*/*.onnx")),
    ]  # fmt: skip
