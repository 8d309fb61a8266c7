"""Check answers, bits and fusion of exported files on emulated arm64 and x64 without VNNI; nothing is timed."""

import argparse
import datetime
import json
from pathlib import Path

from scarlet_zoo.arch.zoo import list_archs
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.emulation import Case, other_processors, prove, this_processor
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.quantization.quantize import Int8
from scarlet_zoo.graph.session import OnnxClassifier
from scarlet_zoo.measurement.phone.sysroot import make_sysroot
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text

HERE = Path(__file__).parent
FLOATS = ("native", "ort-x64")
INTEGERS = ("arm64", "x64")  # int8 weights, and uint8 weights for processors that saturate
CALIBRATION, PROVEN = slice(0, 24), slice(24, 28)


def cases_of(name: str, folder: Path) -> list[Case]:
    """Export every file of a network that would be deployed."""
    network = load_network(name)
    feed, photographs = network.preprocessing, photos(28)
    images, calibration = feed.batch(photographs[PROVEN]), feed.batch(photographs[CALIBRATION])
    paths = {target: export_network(network, folder / target, target, Recipe(input_size=feed.size)).path
            for target in FLOATS}  # fmt: skip
    truth = OnnxClassifier(paths["native"]).logits(images, 1)
    for isa in INTEGERS:
        paths[f"int8-{isa}"] = export_network(network, folder / isa, "ort-int8", Recipe(input_size=feed.size),
                                             lambda: calibration, Int8(isa=isa, method="minmax")).path  # fmt: skip
    return [Case(f"{name}-{target}", read_artifact(path), images, truth) for target, path in paths.items()]


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument(
            "--work", type=Path, required=True, help="Folder of the arm64 sysroot, the files and the answers."
        )
        given = parser.parse_args()
        sysroot = make_sysroot(given.work / "root")
        cases = [case for name in list_archs() for case in cases_of(name, given.work / "files" / name)]
        rows = prove(cases, [this_processor(), *other_processors(sysroot)], given.work / "answers")
        report = {"note": "correctness and structure under qemu's user emulation; nothing was timed", "rows": rows,
                  "arm64": dict(sysroot.versions), "date": datetime.date.today().isoformat()}  # fmt: skip
        write_text(HERE / "results" / "arm64.json", json.dumps(report) + "\n")
        for row in rows:
            print(row["file"], row["processor"], row["error"] or row["answers"], row.get("golden"))
