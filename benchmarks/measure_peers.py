"""Measure SCARLET in every graph variant, and its peers, interleaved in one process; run again to continue."""

import argparse
import contextlib
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.utils import reparameterize_model
from timm.utils.onnx import onnx_export

from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.to_onnx import export_onnx
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.graph.fusion import inspect
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.latency import Settings, measure
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.models.cost import model_cost
from scarlet_zoo.models.loading import Network, load_network
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.utils.files import json_text, make_folder, write_text

HERE = Path(__file__).parent
PEERS = [peer.model_dump() for peer in published_peers()]
CALIBRATION, SESSIONS = 16, 8


def loaded(name: str) -> Network:
    """Load a network as it is deployed: with the branches of training merged, where timm can merge them."""
    network = load_network(name, "random")
    return replace(network, model=reparameterize_model(network.model).eval())


def write_files(name: str, folder: Path) -> dict[str, Any]:
    """Write the files of a network by variant, and return them with its cost and the reasons of failed exports."""
    network, files, failed = loaded(name), {}, {}
    feed, ours = network.preprocessing, network.arch is not None

    def make(variant: str, write: Any) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                files[variant] = str(write().relative_to(folder.parent))
        except (ScarletError, RuntimeError) as error:
            failed[variant] = str(error).split("\n")[0]

    def timms() -> Path:
        path = folder / "timm.onnx"
        torch.manual_seed(0)
        model = reparameterize_model(create_model(name, exportable=True).eval()).eval()
        onnx_export(
            model, str(path), batch_size=1, input_size=(feed.channels, *feed.size), use_dynamo=True, check=False
        )
        return path

    for form in ("native", "blocked", "friendly") if ours else ("native", "blocked"):
        path = folder / f"{form}.onnx"
        recipe = Recipe(form=form)
        make(form, lambda path=path, recipe=recipe: export_onnx(network.model, path, recipe, weights=network.weights,
                                                                preprocessing=feed).path)  # fmt: skip
    images = feed.batch(photos(CALIBRATION))
    make("int8", lambda: export_network(network, folder / "int8", "ort-int8", Recipe(), lambda: images,
                                        Int8(method="percentile")).path)  # fmt: skip
    make("timm", timms)
    if ours:
        released = folder.parent / "released"
        if not released.is_dir():
            subprocess.run([sys.executable, HERE / "released_spelling.py", released], check=True)
        files["released"] = f"released/{name}.released.onnx"
    params = sum(parameter.numel() for parameter in network.model.parameters())
    macs = model_cost(network.model, (feed.channels, *feed.size)).macs
    return {"name": name, "side": feed.size[0], "params": params, "macs": macs, "weights": network.weights,
            "files": files, "failed": failed}  # fmt: skip


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument(
            "--work", type=Path, required=True, help="Folder of the files; keep it till all is measured."
        )
        work = parser.parse_args().work
        networks = []
        for peer in PEERS:
            listing = work / peer["name"] / "files.json"
            if not listing.is_file():
                make_folder(listing.parent)
                write_text(listing, json_text(write_files(peer["name"], listing.parent)))
            networks.append(read_json(listing))
            print(peer["name"], networks[-1]["failed"], flush=True)
        variants = [
            (network, variant, work / file) for network in networks for variant, file in network["files"].items()
        ]
        for threads in (1, 2):
            done = work / f"threads-{threads}.json"
            if not done.is_file():
                timings = measure([file for *_, file in variants], Settings(threads=threads, openings=SESSIONS))
                rows = [{"name": network["name"], "variant": variant, "threads": threads,
                         "record": {**timing.to_dict(), "file": f"{network['name']}/{variant}.onnx"}}
                        for (network, variant, _), timing in zip(variants, timings, strict=True)]  # fmt: skip
                write_text(done, json_text(rows))
        rows = [row for threads in (1, 2) for row in read_json(work / f"threads-{threads}.json")]
        fusion = {f"{network['name']}/{variant}": inspect(file).totals for network, variant, file in variants}
        described = [{key: value for key, value in network.items() if key != "files"} for network in networks]
        write_text(
            HERE / "results" / "peers.json", json_text({"networks": described, "rows": rows, "fusion": fusion}) + "\n"
        )
        for row in rows:
            print(row["name"], row["variant"], row["threads"], round(row["record"]["p50_ms"], 2))
