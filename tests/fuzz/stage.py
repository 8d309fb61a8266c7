"""The stage of the command line's fuzzing: valid input files, and a valid command of every verb."""

import io
import json
import shutil
from functools import cache
from pathlib import Path

import examples
import hostile
import parsers
import safetensors.torch
import torch
from PIL import Image

ARCH, TABLED = str(examples.arch()), str(examples.table_arch())
WEIGHTS = examples.ROOT / "weights" / "networks" / "scarlet_mini_s.fashion_mnist.safetensors"
SMALL = """name = "small"
in_chans = 3
input_size = 16
num_classes = 2
stages = [[8, 2, 2], [16, 1, 2]]
kernel_sizes = [3]
stem_width = 8
first_width = 8
head_width = 16
"""
PLAN = (examples.ROOT / "benchmarks" / "ground_truth" / "plan.toml").read_text()


@cache
def _contents():
    """The content of each input file, by name."""
    picture = io.BytesIO()
    Image.new("RGB", (20, 16), (200, 100, 20)).save(picture, "PNG")
    pictures = {}
    for place, name in enumerate(("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png")):
        file = io.BytesIO()
        Image.effect_noise((20, 16), 20 + 9 * place).convert("RGB").save(file, "PNG")
        pictures[f"images/{name}"] = file.getvalue()
    texts = {
        "record.json": json.dumps([examples.record()]), "front.json": json.dumps(examples.front()),
        "table.json": json.dumps(examples.table()), "space.toml": SMALL, "labels.txt": "a\nb\nc\nd\ne\n",
        "list.csv": "path,label\n" + "".join(f"{name},{name[7]}\n" for name in pictures),
        "accuracies.csv": "name,top1,images\nmobilenetv3_small_075,65.1,1000\n",
        "preprocessing.json": json.dumps(examples.TIMM),
        "truth/plan.toml": PLAN, "truth/ground_truth.csv": examples.truth(),
    }  # fmt: skip
    return {
        **{name: text.encode() for name, text in texts.items()}, **pictures, "picture.png": picture.getvalue(),
        "net.onnx": examples.model().SerializeToString(), "weights.safetensors": WEIGHTS.read_bytes(),
        "weights.pth": checkpoint(),
    }  # fmt: skip


def checkpoint():
    """The same weights as torch saves them, in a training's checkpoint."""
    file = io.BytesIO()
    torch.save({"epoch": 3, "model_state": safetensors.torch.load(WEIGHTS.read_bytes())}, file)
    return file.getvalue()


def set_up(folder):
    """Write the input files into a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in _contents().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def spoil(rng, folder, name):
    """Write a hostile copy over an input file."""
    content, suffix = _contents()[name], Path(name).suffix
    if name == "net.onnx":
        made = parsers.PARSERS["onnx"].make(rng)
    elif suffix == ".json":
        made = hostile.json_text(rng, json.loads(content))
    elif suffix == ".toml":
        made = hostile.toml_text(rng, content.decode())
    elif suffix in (".csv", ".txt"):
        made = hostile.text(rng, content.decode())
    else:
        made = hostile.content(rng, content)
    (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode("utf-8", "surrogatepass"))


@cache
def _templates():
    """The commands of verbs.txt by kind; words that begin with in/ are input files."""
    found = {}
    for line in (Path(__file__).parent / "verbs.txt").read_text().splitlines():
        if line.startswith("# "):
            kind = found.setdefault(line[2:], [])
        else:
            kind.append(line.replace("{arch}", ARCH).replace("{tabled}", TABLED))
    return found


# What takes a moment, what takes seconds, and what may take as long as it is told to and is stopped then.
QUICK, SLOW, LASTING = (tuple(_templates()[kind]) for kind in ("quick", "slow", "lasting"))
