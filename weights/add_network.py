"""Add a finished training to the zoo: measure it once on the test images and write weights, card and log."""

import argparse
import json
import shutil
from pathlib import Path

from scarlet_zoo.arch.zoo import get_arch
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.read_once import read_test_once
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.utils.files import file_sha256, json_text, make_folder, replacing, write_text

HERE = Path(__file__).parent


def toml_text(table: dict[str, object]) -> str:
    """Return values as lines of TOML, which writes texts, numbers and lists as JSON does."""
    return "".join(f"{key} = {json_text(value)}\n" for key, value in table.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="Name of the network in scarlet_zoo/arch/zoo.py.")
    parser.add_argument("run", type=Path, help="Folder that scarlet-zoo train wrote.")
    parser.add_argument(
        "--command", action="append", required=True, help="A command that made the network; repeat it, in order."
    )
    parser.add_argument("--read-as", help="Name in the log, if the log has other weights under the network's own name.")
    given = parser.parse_args()
    run, source = json.loads((given.run / "run.json").read_text()), given.run / "model.safetensors"
    if run["arch"] != str(get_arch(given.name)):
        raise ScarletError(f"{given.run}: got a training of {run['arch']}, wanted one of {given.name}")
    metadata, tag = read_metadata(source), run["data"].replace("-", "_")
    feed = json.loads(metadata["preprocessing"])
    target = HERE / "networks" / f"{given.name}.{tag}.safetensors"
    make_folder(target.parent)
    read_as = given.read_as or given.name
    seen = read_test_once(read_as, run["arch"], source, run["data"], HERE / "test_reads.jsonl")
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    card = {"name": given.name, "tag": tag, "arch": run["arch"], "dataset": run["data"], "num_classes": run["classes"],
            "source": "trained by this project", "licence": "Apache-2.0", "redistributed": True,
            "how_to_get": f"it is in this package: timm.create_model('{given.name}.{tag}', pretrained=True)",
            "sha256": file_sha256(target), "labels": json.loads(metadata["labels"])}  # fmt: skip
    measured = {"validation_top1_percent": run["top1"][-1], "test_top1_percent": seen["top1"],
                "test_images": seen["images"], "test_date": seen["date"], "commands": given.command,
                "seed": run["settings"]["seed"], "hardware": run["hardware"],
                "minutes": round(run["seconds"] / 60, 1)}  # fmt: skip
    fed = {"resize": round(feed["size"][0] / feed["crop"]), "crop": feed["size"][0],
           **{key: feed[key] for key in ("interpolation", "mean", "std")}}  # fmt: skip
    text = toml_text(card) + "\n[measured]\n" + toml_text(measured) + "\n[preprocessing]\n" + toml_text(fed)
    write_text(HERE / "cards" / f"{given.name}.{tag}.toml", text)
