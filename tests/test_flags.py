"""A flag has one meaning on the whole command line, and is still taken under the name that it had before."""

import pytest
import typer

from scarlet_zoo.cli.main import app
from scarlet_zoo.cli.options import REPEATABLE
from scarlet_zoo.errors import ScarletWarning


def verbs(command, path=()):
    """(path, command) of every verb."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from verbs(inner, (*path, name))
    else:
        yield path, command


VERBS = dict(verbs(typer.main.get_command(app)))
FORMER = [(path, old, new) for path, verb in VERBS.items() for old, new in getattr(verb, "former_flags", {}).items()]


def test_a_flag_means_the_same_wherever_it_is_taken():
    meanings = {}
    for path, verb in VERBS.items():
        for option in verb.params:
            for flag in (*option.opts, *option.secondary_opts):
                if flag.startswith("--"):
                    described = (option.help.removesuffix(REPEATABLE), option.metavar)
                    meanings.setdefault(flag, {}).setdefault(described, []).append(" ".join(path))
    assert len(VERBS) > 30
    assert len(meanings) > 80
    twice = {flag: found for flag, found in meanings.items() if len(found) > 1}
    assert not twice


def test_every_flag_is_described_by_a_whole_sentence():
    for path, verb in VERBS.items():
        for option in verb.params:
            if option.opts[0].startswith("--"):
                assert option.help, (path, option.opts)
                assert option.help.endswith("."), (path, option.help)


@pytest.mark.parametrize(
    ("path", "old", "new"), FORMER, ids=lambda part: part if isinstance(part, str) else "-".join(part)
)
def test_a_former_name_is_taken_and_not_shown(scarlet, path, old, new):
    def given(*arguments):
        return VERBS[path].make_context("verb", list(arguments), resilient_parsing=True).params

    said = f"^{old}: is now {new}; the former name goes with the next minor version$"
    for arguments in ((old, "24"), (f"{old}=24",)):
        with pytest.warns(ScarletWarning, match=said):
            assert given(*arguments) == given(new, "24") != given()
    shown = scarlet(*path, "--help")[1].split()
    assert new in shown
    assert old not in shown


def test_what_stands_behind_two_dashes_is_no_flag():
    params = VERBS[("predict",)].make_context("verb", ["m", "--", "--limit"], resilient_parsing=True).params
    assert [str(path) for path in params["images"]] == ["--limit"]
    params = VERBS[("bench",)].make_context("verb", ["--", "--out"], resilient_parsing=True).params
    assert list(params["models"]) == ["--out"]


def test_a_wrong_value_of_a_former_name_is_shown(scarlet):
    code, _, err = scarlet("pictures", "fashion-mnist", "--limit", "few", "--out", "x")
    assert code == 2
    warning, error = err.splitlines()
    assert warning == "warning: --limit: is now --max-images; the former name goes with the next minor version"
    assert "'few'" in error


def test_the_former_names_of_the_flags_that_meant_two_things():
    assert {(" ".join(path), old) for path, old, _ in FORMER} >= {
        ("bench", "--out"), ("lut build", "--out"), ("validate", "--limit"), ("pictures", "--limit"),
        ("device run", "--runtime"), ("recommend", "--device"), ("serve", "--records"), ("train", "--precision"),
    }  # fmt: skip


def test_every_verb_is_described_whole_on_a_line_of_80_columns(scarlet, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    groups = {path[:end] for path in VERBS for end in range(len(path))}
    for group in groups:
        code, shown, _ = scarlet(*group, "--help")
        assert code == 0
        described = [line for line in shown.splitlines() if not line.startswith("Usage")]
        assert [line for line in described if line.endswith("...")] == []
