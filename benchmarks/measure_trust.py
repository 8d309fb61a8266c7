"""Test how reliable a comparison is: a file against itself, and against itself slowed by 5 %; continues."""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.to_target import export_network
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.latency import Runner, Settings, measure
from scarlet_zoo.measurement.compare import compare
from scarlet_zoo.models.loading import load_network
from scarlet_zoo.utils.files import write_text

RESULTS = Path(__file__).parent / "results" / "trust.json"
NAME, TRIALS, SLOWDOWN, CONFIDENCE = "scarlet_c", 50, 0.05, 0.99
SETTINGS = Settings(seconds=5.0)


class Slowed(Runner):
    """A runner that stays busy for 5 % longer than it needs, as a slower network would."""

    def time_ms(self) -> float:
        """Run once and return the milliseconds."""
        start = time.perf_counter_ns()
        ended = start + (1 + SLOWDOWN) * 1e6 * super().time_ms()
        while time.perf_counter_ns() < ended:
            pass
        return (time.perf_counter_ns() - start) / 1e6


def trial(file: Path, slowed: bool) -> dict[str, Any]:
    """Compare a file with a copy of itself, which is slowed or not."""

    def slow_copy(path: Path, how: Settings) -> Runner:
        return (Runner if path == file else Slowed)(path, how)

    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy.onnx"
        copy.write_bytes(file.read_bytes())
        timings = measure([file, copy], SETTINGS, open_runner=slow_copy if slowed else Runner)
    base, new = (timing.to_dict() for timing in timings)
    found = compare(base, new, CONFIDENCE)
    return {"slowed": slowed, "ratio": found.ratio, "low": found.low, "high": found.high, "verdict": found.verdict,
            "cv": [base["cv"], new["cv"]], "p50_ms": [base["p50_ms"], new["p50_ms"]],
            "conditions": base["conditions"]}  # fmt: skip


if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--again", action="store_true", help="Start from the beginning.")
        given = parser.parse_args()
        rows = read_json(RESULTS)["trials"] if RESULTS.exists() and not given.again else []
        with tempfile.TemporaryDirectory() as temporary:
            file = export_network(load_network(NAME), Path(temporary), "native", Recipe()).path
            while len(rows) < 2 * TRIALS:
                rows.append(trial(file, slowed=len(rows) % 2 == 1))
                kinds = {kind: [row["verdict"] for row in rows if row["slowed"] == kind] for kind in (False, True)}
                report = {
                    "name": NAME,
                    "planted_slowdown": SLOWDOWN,
                    "confidence": CONFIDENCE,
                    "same_called_different": sum(verdict != "no difference" for verdict in kinds[False]),
                    "slower_found": sum(verdict == "slower" for verdict in kinds[True]),
                    "trials": rows,
                }
                write_text(RESULTS, json.dumps(report) + "\n")
                print(len(rows), rows[-1]["slowed"], rows[-1]["ratio"], rows[-1]["verdict"], flush=True)
        print(report["same_called_different"], report["slower_found"])
