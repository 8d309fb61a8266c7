"""What a serious project has beside its code says the same as the code."""

import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT

import scarlet_zoo

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
CHANGES = (ROOT / "CHANGELOG.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+)(?: [a-z -]+)?:(?!=)", MAKEFILE, re.MULTILINE))


def test_the_version_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == scarlet_zoo.__version__
    assert cited["license"] == PROJECT["project"]["license"]
    (paper,) = cited["references"]
    assert paper["url"] == PROJECT["project"]["urls"]["Paper"]
    assert scarlet_zoo.__version__ in re.search(r"^## \[Unreleased\].*?(?=^## )", CHANGES, re.DOTALL | re.MULTILINE)[0]


def test_an_address_is_one_that_exists_or_plainly_none():
    for name, url in PROJECT["project"]["urls"].items():
        assert name == "Paper" or re.match(r"https://\w+\.invalid/", url), (name, url)


def test_the_changelog_keeps_to_its_format():
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    versions = re.split(r"^## ", CHANGES, flags=re.MULTILINE)[1:]
    assert versions[0].startswith("[Unreleased]\n")
    for version in versions:
        headings = re.findall(r"^### (.*)$", version, re.MULTILINE)
        assert headings, version
        assert set(headings) <= kinds
        assert len(headings) == len(set(headings))


def test_no_file_of_ours_is_one_that_git_ignores():
    """It would be in nobody's clone and in no wheel."""
    command = ["git", "ls-files", "--ignored", "--others", "--exclude-standard", "--", "scarlet_zoo", "tests", "docs"]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    assert [name for name in ignored if "/__pycache__/" not in name] == []


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / ".github" / "workflows").iterdir()))
def test_a_workflow_calls_targets_that_there_are(name):
    told = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    steps = [step for job in told["jobs"].values() for step in job["steps"]]
    called = {target for step in steps for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert {"test", "check", "package"} <= called
    assert called <= TARGETS
    named = {
        python
        for job in told["jobs"].values()
        for python in job.get("strategy", {}).get("matrix", {}).get("python", [])
    }
    stated = {text.rpartition(" ")[2] for text in PROJECT["project"]["classifiers"] if "Python :: 3." in text}
    assert named == stated


def test_a_commit_is_checked_by_what_make_static_runs():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    entries = {hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in local["hooks"]}
    static = MAKEFILE.partition("\nstatic:")[2].partition("\n\n")[0]
    assert entries == {"ruff check", "ruff format --check", "lint-imports", "mypy", "mypy --config-file tests/mypy.ini"}
    for entry in entries:
        assert f"$(BIN)/{entry}" in static


def test_an_issue_asks_for_what_it_needs():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert {"name", "description", "body"} <= form.keys(), path
            assert any(field.get("validations", {}).get("required") for field in form["body"]) or path.stem == "idea"
            ids = [field["id"] for field in form["body"]]
            assert len(ids) == len(set(ids))
