"""The recording on the first page: its commands run as they stand there, and print what it shows."""

import html
import re
import xml.etree.ElementTree as ET

import pytest
from conftest import ROOT

from scarlet_zoo.cli import main
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.terminal import COLUMNS, COMMANDS, prepare, recording, run_commands

DRAWN = ROOT / "benchmarks" / "figures" / "terminal.svg"
# What differs between machines and versions: digests, and the last digits of errors.
VARYING = re.compile(r"[0-9a-f]{16,}|\d\.\d[e][+-]\d\d|\b1[0-3]\d\b")


def lines_of(svg):
    """The text of a recording, line by line, without the space between columns."""
    rows = {}
    for found in re.finditer(r'<text class="terminal-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(float(found[2]), []).append(html.unescape(found[3]))
    return [" ".join("".join(rows[y]).split()) for y in sorted(rows)]


def commands_in(svg):
    return [line.removeprefix("$ ") for line in lines_of(svg) if line.startswith("$ ")]


def test_it_shows_the_commands_and_the_command_line_knows_them():
    found = commands_in(DRAWN.read_text())
    assert found == list(COMMANDS)
    for line in found:
        words, command = line.split()[1:], main._parser()
        command.commands[words[0]].make_context(words[0], words[1:])


def test_it_is_one_file_without_fonts_of_other_hosts():
    text = DRAWN.read_text()
    ET.fromstring(text)
    assert not re.findall(r"@font-face|@import|<image|href|url\((?!#)", text)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())
    assert width < 12.3 * (COLUMNS + 2)
    assert height < 1400
    assert "terminal.svg" in (ROOT / "README.md").read_text()


def test_a_long_line_is_broken_as_a_terminal_does():
    (first, second, third) = lines_of(recording(["scarlet-zoo x"], ["a" * 100]))
    assert (first, second, third) == ("$ scarlet-zoo x", "a" * COLUMNS, "a" * 20)


@pytest.mark.slow
def test_a_command_that_fails_is_no_recording(tmp_path):
    with pytest.raises(ScarletError, match="ended with 2, wanted a command that succeeds"):
        run_commands(tmp_path, ["scarlet-zoo none"])


@pytest.mark.slow
def test_its_commands_print_what_it_shows(tmp_path):
    prepare(tmp_path, ROOT / "benchmarks" / "results")
    again = lines_of(recording(COMMANDS, run_commands(tmp_path)))
    drawn = lines_of(DRAWN.read_text())
    assert [VARYING.sub("*", line) for line in again] == [VARYING.sub("*", line) for line in drawn]
