"""Profile SCARLET-A, B, C and two peers by block, and compare with the limits of this machine."""

import json
import tempfile
from pathlib import Path

from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.measurement.profiling import profile
from scarlet_zoo.measurement.roofline import measure_machine
from scarlet_zoo.measurement.workloads import gather
from scarlet_zoo.utils.files import json_text, write_text

NAMES = ("scarlet_a", "scarlet_b", "scarlet_c", "mobilenetv3_large_100", "mnasnet_100")

if __name__ == "__main__":
    with one_line_errors():
        machine, rows = measure_machine(), []
        with tempfile.TemporaryDirectory() as temporary:
            for workload in gather(NAMES, Path(temporary), ["ort-x64"], "random"):
                result = profile(workload.path, machine, label=workload.name)
                rows.append(result.to_dict())
                print(workload.label, json.dumps({key: rows[-1][key] for key in ("p50_us", "limit_us", "of_limit")}))
        write_text(Path(__file__).parent / "results" / "profiles.json", json_text(rows) + "\n")
