"""Build latency tables of the 19-layer space and test them on 100 unseen networks; run again to continue."""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.cost import arch_cost
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.interleaved_bundles import measure_together
from scarlet_zoo.latency import Settings
from scarlet_zoo.measurement.lut.build import build_table, measure_bundle
from scarlet_zoo.measurement.lut.bundle import Bundle, Group, make_bundle
from scarlet_zoo.measurement.lut.cut import network_graph
from scarlet_zoo.measurement.lut.fit import errors_of, fit
from scarlet_zoo.measurement.lut.table import LatencyTable
from scarlet_zoo.utils.files import make_folder, replacing, write_text

RESULTS = Path(__file__).parent / "results"
SPACE, UNSEEN, SEED, ROUNDS = get_space("scarlet"), 100, 2026, 4


def unseen_networks(known: set[str], precision: str, work: Path) -> Bundle:
    """Write random architectures that the table was not made from, as a bundle."""
    rng = random.Random(SEED)
    archs: dict[str, None] = {}
    while len(archs) < UNSEEN:
        arch = str(Arch.sample(SPACE, rng))
        if arch not in known:
            archs[arch] = None
    folder = work / "unseen"
    make_folder(folder)
    groups = [Group("unseen", arch, {"network": f"{number}.onnx"}) for number, arch in enumerate(archs)]
    for group in groups:
        file = folder / group.files["network"]
        if not file.is_file():
            with replacing(file) as temporary:
                onnx.save(network_graph(Arch.parse(group.arch), precision), temporary)
    return Bundle(folder, SPACE, precision, tuple(groups))


def row_of(precision: str, work: Path) -> dict[str, Any]:
    """Build and test the table of one precision."""
    begun, minutes = time.time(), work / "minutes.json"
    bundle = make_bundle(SPACE, work / "bundle", precision)
    table = build_table(bundle, measure_bundle(bundle, work / "table", Settings(), ROUNDS))
    if not minutes.is_file():
        write_text(minutes, json.dumps((time.time() - begun) / 60))
    known = {network.arch for network in (*table.calibration.networks, *table.held_out.networks)}
    unseen = unseen_networks(known, precision, work)
    own, others = measure_together((bundle, unseen), work / "together", Settings(), ROUNDS)
    same, medians = build_table(bundle, own), np.array([_medians(file) for file in others])
    same.write(RESULTS / f"lut_scarlet_{precision}.json")
    later = measure_bundle(unseen, work / "measured", Settings(), ROUNDS)
    truth, halves = medians.mean(axis=0), (medians[::2].mean(axis=0), medians[1::2].mean(axis=0))
    archs = [Arch.parse(group.arch) for group in unseen.groups]
    predicted, low, high = same.predict(archs).T
    calibrated = np.array([network.measured_ms for network in same.calibration.networks])
    macs = {kind: np.array([float(arch_cost(Arch.parse(arch)).macs) for arch in own]) for kind, own in
            (("known", [n.arch for n in same.calibration.networks]), ("new", map(str, archs)))}  # fmt: skip
    afterwards = np.mean([_medians(file) for file in later], axis=0)
    return {
        "precision": precision,
        "predictor": errors_of(truth, predicted).model_dump(),
        "within_4_percent": float(np.mean(np.abs(predicted / truth - 1) <= 0.04)),
        "covered": float(np.mean((low <= truth) & (truth <= high))),
        "promised_coverage": same.calibration.coverage,
        "block_sum": errors_of(truth, same.block_sum(same.encode(archs))).model_dump(),
        "macs": errors_of(truth, fit(macs["known"], calibrated)(macs["new"])).model_dump(),
        "repeat": errors_of(*halves).model_dump(),
        "another_sitting": errors_of(afterwards, table.predict(archs)[:, 0]).model_dump(),
        "build_minutes": read_json(minutes),
        "seconds_for_100000": seconds_for(table, 100_000),
        "networks": [{"arch": str(arch), "measured_ms": ms, "predicted_ms": guess} for arch, ms, guess in
                     zip(archs, truth.tolist(), predicted.tolist(), strict=True)],
        "conditions": read_json(others[-1])["conditions"],
    }  # fmt: skip


def _medians(measured: Path) -> list[float]:
    return [float(np.median(group[0])) for group in read_json(measured)["samples_ms"]]


def seconds_for(table: LatencyTable, count: int) -> float:
    """Seconds that this many predictions take."""
    sizes = [len(layer.tokens) for layer in SPACE.layers]
    encoded = np.random.default_rng(0).integers(sizes, size=(count, len(sizes)))
    begun = time.perf_counter()
    table.predict_encoded(encoded)
    return time.perf_counter() - begun


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--work", type=Path, required=True, help="Folder of the files and measurements.")
        parser.add_argument("precisions", nargs="*", default=["float32", "int8"], help="Precisions of the tables.")
        given = parser.parse_args()
        path = RESULTS / "lut.json"
        for precision in given.precisions:
            rows = [row for row in (read_json(path) if path.exists() else [])
                    if row["precision"] != precision]  # fmt: skip
            rows.append(row_of(precision, given.work / precision))
            write_text(path, json.dumps(rows) + "\n")
            print({key: value for key, value in rows[-1].items() if key not in ("networks", "conditions")})
