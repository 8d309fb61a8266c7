"""docs/trust.md quotes the figures of ``make fuzz``, and says of what they are."""

import json

from figures import FIGURES, PAGE, page
from parsers import PARSERS
from run import CASES, COMMAND_LINE, COMMANDS, MOST_BYTES, MOST_SECONDS

from scarlet_zoo.cli.console import _LONGEST
from scarlet_zoo.cli.options import _MOST_SIDE
from scarlet_zoo.latency import _MOST_NUMBERS
from scarlet_zoo.utils import reading


def test_the_page_quotes_the_figures():
    assert page(PAGE.read_text(), json.loads(FIGURES.read_text())) == PAGE.read_text()


def test_every_parser_has_figures_that_add_up():
    rows = json.loads(FIGURES.read_text())["rows"]
    assert rows.keys() == {*PARSERS, COMMAND_LINE}
    for name, row in rows.items():
        assert row["accepted"] + row["refused"] + row.get("stopped", 0) <= row["cases"], name
        assert row["slowest_s"] <= MOST_SECONDS or row["faults"], name


def test_the_page_says_the_bounds_as_they_are():
    said = " ".join(PAGE.read_text().split())
    for bound in (
        f"{CASES:,} cases for each parser and {COMMANDS:,} commands",
        f"{MOST_SECONDS:g} seconds and {MOST_BYTES >> 30} GiB",
        f"at most {_LONGEST:,} characters",
        f"{_MOST_SIDE:,} pixels",
        f"2^{_MOST_NUMBERS.bit_length() - 1} numbers",
        f"{reading.MOST_BYTES >> 20} MiB",
        f"{reading.MOST_HOLDERS:,} lists and objects and {reading.MOST_VALUES:,} values",
        f"at most {reading.MOST_DEPTH} deep",
        f"at most {reading.MOST_DIGITS} digits",
        f"{reading.MOST_DOTS:,} dots in a line",
        f"at most {reading.MOST_TOML >> 20} MiB",
    ):
        assert bound in said, bound
