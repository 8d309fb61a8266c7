"""Add a finished training to the zoo: measure it once on the test images and write weights, card and log."""

import argparse
import json
import tempfile
from pathlib import Path

from torch import Tensor

from scarlet_zoo.arch.zoo import get_arch
from scarlet_zoo.data.layout import is_named_data
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.inference.accuracy import validate
from scarlet_zoo.inference.load import load
from scarlet_zoo.inference.right_answers import Accuracy
from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors, save_state, state_sha256
from scarlet_zoo.utils.files import file_sha256, json_text, make_folder, write_text
from scarlet_zoo.utils.schema_versions import SCHEMA_KEY, SCHEMAS

HERE = Path(__file__).parent
DATASETS = {"cifar10_jpeg": "CIFAR-10, JPEG"}  # what a data set's folder is called in words


def toml_text(table: dict[str, object]) -> str:
    """Return values as lines of TOML, which writes texts, numbers and lists as JSON does."""
    return "".join(f"{key} = {json_text(value)}\n" for key, value in table.items())


def rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of convolutions and classifier in float16; norms and biases stay float32."""
    return {key: tensor.half() if tensor.ndim > 1 else tensor for key, tensor in state.items()}


def write_weights(name: str, arch: str, data: str, source: Path, target: Path) -> Accuracy:
    """Write the weights in float16 if that costs no validation image, else as they are; returns that accuracy."""
    tensors, metadata = read_tensors(source).state, read_metadata(source)
    described = {key: text for key, text in metadata.items() if key != "sha256"}
    found = []
    for state in (tensors, rounded(tensors)):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.safetensors"
            save_state(state, file, described)
            seen = validate(load(arch, str(file), trained_only=True), data, split="validation",
                            validation=int(metadata["validation"]), batch=500)  # fmt: skip
        found.append((seen.accuracy, state))
    exact, half = found
    accuracy, chosen = half if half[0].right >= exact[0].right else exact
    # The bytes of a file differ each time that it is written, and the log of test images knows them.
    if read_metadata(target).get("sha256") != state_sha256(chosen):
        save_state(chosen, target, described)
    return accuracy


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("name", help="Name of the network in scarlet_zoo/arch/zoo.py.")
        parser.add_argument("run", type=Path, help="Folder that scarlet-zoo train wrote.")
        parser.add_argument(
            "--command", action="append", required=True, help="A command that made the network; repeat it, in order."
        )
        parser.add_argument(
            "--read-as", help="Name in the log, if the log has other weights under the network's own name."
        )
        parser.add_argument(
            "--after",
            type=Path,
            action="append",
            default=[],
            help="Folder of an earlier part of the training, which the run continues; repeat it, in order.",
        )
        given = parser.parse_args()
        run, source = read_json(given.run / "run.json"), given.run / "model.safetensors"
        if run["arch"] != str(get_arch(given.name)):
            raise ScarletError(f"{given.run}: got a training of {run['arch']}, wanted one of {given.name}")
        parts = [*(read_json(folder / "run.json") for folder in given.after), run]
        metadata, tag = read_metadata(source), run["data"].replace("-", "_")
        data = run["data"] if is_named_data(run["data"]) else str(given.run.parent / run["data"])
        feed = json.loads(metadata["preprocessing"])
        target = HERE / "networks" / f"{given.name}.{tag}.safetensors"
        make_folder(target.parent)
        validated = write_weights(given.name, run["arch"], data, source, target)
        seen = read_test_once(given.read_as or given.name, run["arch"], target, data, HERE / "test_reads.jsonl")
        card = {SCHEMA_KEY: SCHEMAS["weights card"], "name": given.name, "tag": tag, "arch": run["arch"],
                "dataset": DATASETS.get(run["data"], run["data"]), "num_classes": run["classes"],
                "source": "trained by this project", "licence": "Apache-2.0",
                "redistributed": True,
                "how_to_get": f"it is in this package: timm.create_model('{given.name}.{tag}', pretrained=True)",
                "sha256": file_sha256(target), "labels": json.loads(metadata["labels"])}  # fmt: skip
        measured = {"validation_top1_percent": validated.percent, "test_top1_percent": seen["top1"],
                    "test_images": seen["images"], "test_date": seen["date"], "commands": given.command,
                    "seed": run["settings"]["seed"], "hardware": ", then ".join(part["hardware"] for part in parts),
                    "minutes": round(sum(part["seconds"] for part in parts) / 60, 1)}  # fmt: skip
        fed = {"resize": round(feed["size"][0] / feed["crop"]), "crop": feed["size"][0],
               **{key: feed[key] for key in ("interpolation", "mean", "std")}}  # fmt: skip
        text = toml_text(card) + "\n[measured]\n" + toml_text(measured) + "\n[preprocessing]\n" + toml_text(fed)
        write_text(HERE / "cards" / f"{given.name}.{tag}.toml", text)
