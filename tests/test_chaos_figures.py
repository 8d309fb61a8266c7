"""docs/trust.md quotes the figures of ``make chaos``: every long command came to the same result after every fault."""

import json

from chaos.jobs import jobs
from chaos.page import COUNTED, FIGURES, PAGE, page

ROWS = json.loads(FIGURES.read_text())


def test_the_page_quotes_the_figures():
    assert page(PAGE.read_text(), ROWS) == PAGE.read_text()


def test_every_long_command_met_every_fault_and_came_to_the_same_result():
    assert set(ROWS) == {job.name for job in jobs("any")}
    for name, row in ROWS.items():
        for kind, unit in COUNTED.items():
            found = row[kind]
            # The trainings of a ground truth are so short here that none has left a checkpoint to cut off.
            assert found[unit] > 0 or (name, kind) == ("ground truth", "cut-off files"), (name, kind)
            assert found["same"] == found["runs" if kind == "kills" else unit], (name, kind)
            if kind in ("full disks", "closed folders"):
                assert found["told"] == found[unit], (name, kind)
    assert sum(row["kills"]["kills"] for row in ROWS.values()) >= 50
