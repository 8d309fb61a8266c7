"""Drivers say in one line what is wrong with a file that an earlier run of theirs has left."""

import re

import pytest
from conftest import ROOT

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.drivers import one_line_errors, read_json

DRIVERS = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("weights/*.py"), *ROOT.glob("export/*.py")]


def test_a_file_that_was_cut_off_is_named(tmp_path, capsys):
    file = tmp_path / "rows.json"
    file.write_text('[{"name": "a"}, {"na')
    with pytest.raises(ScarletError, match=r"rows\.json: cannot be read: .*; remove it to begin anew"):
        read_json(file)
    with pytest.raises(SystemExit) as ended, one_line_errors():
        read_json(file)
    assert ended.value.code == 2
    assert re.fullmatch(r"error: .*rows\.json: cannot be read: .*\n", capsys.readouterr().err)
    file.write_text('[{"name": NaN}]')
    assert len(read_json(file)) == 1, "a measurement that failed may be no number"


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda path: path.name)
def test_every_driver_ends_in_one_line(driver):
    text = driver.read_text()
    if "scarlet_zoo" in text and "__main__" in text:
        assert "with one_line_errors()" in text
        assert not re.search(r"json\.loads\([^)\n]*\.read_text\(\)\)", text.replace("]", ""))
