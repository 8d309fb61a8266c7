"""make audit ends in 0 only where the advisory service has answered for every package."""

import json
import sys

import audit
import pytest

KNOWN = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"]}]}
SOUND = {"name": "rich", "version": "15.0.0", "vulns": []}
HARMED = {"name": "pillow", "version": "10.0.0", "vulns": [{"id": "PYSEC-2023-175", "fix_versions": ["10.0.1"]}]}
OURS = {"name": "scarlet-zoo", "skip_reason": "distribution marked as editable"}
# What pip-audit says of every package where a mirror of PyPI has no advisories; it then ends with 0.
UNSEEN = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited: jinja2 (2.4.1)"}


@pytest.fixture
def asked(tmp_path, capsys):
    """Run the audit with a program in pip-audit's place, which answers with these rows or with a text."""

    def run(known, environment, code=0):
        answers = [text if isinstance(text, str) else json.dumps({"dependencies": text, "fixes": []})
                   for text in (known, environment)]  # fmt: skip
        program = tmp_path / "pip-audit"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nprint({answers!r}['--path' in sys.argv])\n"
            f"print('a traceback', 'ConnectionError: no such host', sep='\\n', file=sys.stderr)\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        code = audit.main([str(tmp_path), "--pip-audit", str(program)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_packages_without_advisories_are_well(asked, tmp_path):
    assert asked([KNOWN], [SOUND, OURS]) == (0, f"{tmp_path}: no advisory is known for its packages, 1 in all\n", "")


def test_an_advisory_is_an_error(asked, tmp_path):
    code, out, err = asked([KNOWN], [SOUND, HARMED], code=1)
    assert (code, out) == (1, "pillow 10.0.0: PYSEC-2023-175, mended in 10.0.1\n")
    assert err == f"error: {tmp_path}: advisories for its packages: got 1, wanted none\n"


@pytest.mark.parametrize(("known", "environment", "why"), [
    ("", "", "pip-audit ended with 1: ConnectionError: no such host"),
    ("[]", "", "pip-audit ended with 1"),
    ([UNSEEN], [SOUND], "it knows no advisory of jinja2==2.4.1, which has some"),
    ([{**KNOWN, "vulns": []}], [SOUND], "it knows no advisory of jinja2==2.4.1, which has some"),
    ([], [SOUND], "it knows no advisory of jinja2==2.4.1, which has some"),
    ([KNOWN], "", "pip-audit ended with 1: ConnectionError: no such host"),
    ([KNOWN], [OURS], "it was asked about 0 of 0 packages"),
    ([KNOWN], [SOUND, {**UNSEEN, "name": "torch"}], "it was asked about 1 of 2 packages"),
])  # fmt: skip
def test_without_an_answer_nothing_is_well(asked, known, environment, why):
    code, _, err = asked(known, environment, code=1)
    assert code == 2
    assert err.startswith("error: audit: the advisory service cannot be reached or asked: ")
    assert why in err
    assert err.count("\n") == 1


def test_a_program_that_is_not_there_is_no_answer(tmp_path, capsys):
    assert audit.main([str(tmp_path), "--pip-audit", str(tmp_path / "none")]) == 2
    assert "pip-audit did not run: FileNotFoundError" in capsys.readouterr().err
