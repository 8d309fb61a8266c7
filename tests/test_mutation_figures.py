"""docs/trust.md quotes the figures of ``make mutants``, and each fault that no test notices has its reason."""

import json
import re

import pytest
from conftest import ROOT
from mutation.page import FIGURES, PAGE, page

FIGURES_NOW = json.loads(FIGURES.read_text())


def test_the_page_quotes_the_figures():
    assert page(PAGE.read_text(), FIGURES_NOW) == PAGE.read_text()


@pytest.mark.parametrize("room", FIGURES_NOW["rooms"])
def test_most_faults_are_noticed(room):
    row = FIGURES_NOW["rooms"][room]
    assert row["left"] == 0
    assert row["noticed"] / row["tried"] >= 0.85


def test_what_was_not_noticed_is_explained():
    survivors = FIGURES_NOW["survivors"]
    assert sum(row["tried"] - row["noticed"] for row in FIGURES_NOW["rooms"].values()) == len(survivors)
    assert [name for name, one in survivors.items() if not one["why"]] == []


def test_the_parts_are_those_that_must_be_exact():
    config = (ROOT / "tests" / "mutation" / "mutmut.toml").read_text()
    for pattern in re.findall(r'"(scarlet_zoo/[^"]+)"', config):
        assert list(ROOT.glob(pattern)), pattern
    for file in re.findall(r'"(tests/[^"]+)"', config):
        assert (ROOT / file).is_file(), file
