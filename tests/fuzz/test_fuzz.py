"""A few hostile cases for every parser and for the command line; ``make fuzz`` runs many."""

import os
import random
import shutil

import commands
import pytest
import stage
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from judge import judge
from parsers import PARSERS

# The same cases each time and wherever the tests run, however busy the machine is.
SAME = settings(max_examples=25, derandomize=True, database=None, deadline=None, phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARSERS)
@SAME
@given(rng=st.randoms(use_true_random=False))
def test_a_parser_reads_or_refuses(name, rng):
    case = PARSERS[name].make(rng)
    note(ascii(case)[:2000])
    found, _ = judge(PARSERS[name], case)
    assert found in ("accepted", "refused")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # Deep enough that ../.. is still a folder of the test's own.
    deep = tmp_path_factory.mktemp("fuzz") / "a" / "b"
    deep.mkdir(parents=True)
    return deep


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tens", range(4))
def test_the_command_line_answers_in_one_line(tens, folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("ADBUTILS_ADB_PATH", os.devnull)
    for number in range(10 * tens, 10 * tens + 10):
        command = commands.make(random.Random(f"quick:{number}"), stage.QUICK, folder, safe=True)
        outputs = [folder / "cache", *commands.outputs_of(command.arguments, folder)]
        shutil.rmtree(folder / "out", ignore_errors=True)
        before = commands.snapshot(folder.parent, outputs)
        code, out, err = commands.run_here(command, folder)
        after = commands.snapshot(folder.parent, outputs)
        assert not commands.faults(command, code, out, err, before, after), commands.shown(command)


@pytest.mark.slow
@pytest.mark.parametrize("template", stage.QUICK)
def test_an_example_of_a_verb_is_valid_before_it_is_made_hostile(template, folder, monkeypatch):
    """Or it fails in the one way that it must here: no device, no port, another network's weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("ADBUTILS_ADB_PATH", os.devnull)
    stage.set_up(folder / "in")
    shutil.rmtree(folder / "out", ignore_errors=True)
    code, _, said = commands.run_here(commands.Command(template.split(" ")), folder)
    known = template.startswith(("device", "serve", "weights push", "tour", "verify", "weights verify"))
    assert code == 0 or known, said
