"""What comes from elsewhere is checked before it is used, and make lowest installs what pyproject.toml allows."""

import ast
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import fetch
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.version import Version

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.measurement.phone import sysroot
from scarlet_zoo.models.weights.cards import all_cards
from scarlet_zoo.utils.files import file_sha256

SOURCES = sorted(path for folder in ("scarlet_zoo", "tests", "benchmarks", "weights", "export", "docs")
                 for path in (ROOT / folder).rglob("*.py"))  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Extras that cannot be installed beside the others, and the tools of those who work on the package.
ASIDE = {"coreml", "executorch", "litert", "dev"}


def pins():
    lines = (ROOT / "tests" / "lowest.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_make_lowest_installs_the_minima_of_pyproject_toml():
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(row for name in extras.keys() - ASIDE for row in extras[name])]
    minima = {}
    for requirement in map(Requirement, wanted):
        if requirement.name != PROJECT["name"]:
            (bound,) = requirement.specifier
            assert bound.operator == ">=", requirement
            assert minima.setdefault(requirement.name, bound.version) == bound.version
    found = pins()
    assert found.pop("ml_dtypes") == "0.5.0"  # none of ours; the lowest that runs beside onnx-ir
    assert found == minima


def test_the_page_of_versions_has_the_minima():
    page = (ROOT / "docs" / "versions.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 10
    assert all(pins()[name] == lowest and Version(lowest) <= Version(newest) for name, lowest, newest in rows)


def test_an_archive_of_another_digest_is_not_unpacked(tmp_path):
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as content:
        content.addfile(tarfile.TarInfo("file"), io.BytesIO())
    with pytest.raises(ScarletError, match=r"a\.tar\.gz: got sha256 [0-9a-f]{64}, wanted 0000"):
        fetch.unpack(archive, "0" * 64, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    fetch.unpack(archive, file_sha256(archive), tmp_path / "out")
    assert (tmp_path / "out" / "file").is_file()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_an_archive_writes_nothing_outside(tmp_path, name):
    archive, wheel = tmp_path / "a.tar", tmp_path / "a.whl"
    with tarfile.open(archive, "w") as content:
        content.addfile(tarfile.TarInfo(name), io.BytesIO())
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr(name, "")
    try:
        fetch.unpack(archive, file_sha256(archive), tmp_path / "in" / "tar")
    except tarfile.FilterError:
        assert not name.startswith("/")  # the filter takes the slash away
    sysroot._unpack([wheel], tmp_path / "in" / "zip")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "a.whl", "in"}
    assert {path.name for path in (tmp_path / "in").iterdir()} <= {"tar", "zip"}


def test_a_timm_whose_digest_is_not_known_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "KEPT", tmp_path / "cache")
    monkeypatch.setattr(fetch, "TIMM_SOURCES", {})
    with pytest.raises(ScarletError, match="got no digest of its source distribution"):
        fetch.timm_tests()


def calls(name):
    """Every call of a method of this name, with its file and its keyword arguments."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                yield path, node, {word.arg: ast.unparse(word.value) for word in node.keywords}


@pytest.mark.slow
def test_no_other_place_unpacks_an_archive():
    found = {(path.name, keywords.get("filter")) for path, _, keywords in calls("extractall")}
    # Those without a filter are wheels; zipfile leads nowhere out.
    assert found == {("fetch.py", "'data'"), ("fetch.py", None), ("sysroot.py", None)}


@pytest.mark.slow
def test_no_pickle_is_read_with_its_code():
    loads = [(path, words) for path, node, words in calls("load") if ast.unparse(node.func) == "torch.load"]
    assert len(loads) > 3
    assert [path for path, words in loads if words.get("weights_only") != "True"] == []
    reading = [(path.name, name) for name in ("load", "loads", "Unpickler") for path, node, _ in calls(name)
               if ast.unparse(node.func).startswith("pickle.") and not path.name.startswith("test_")]  # fmt: skip
    assert reading == []


def test_every_shipped_set_of_weights_is_safetensors_with_the_digest_of_its_card():
    files = [path for path in (ROOT / "weights" / "networks").iterdir() if path.name != "README.md"]
    shipped = {name: card for name, card in all_cards().items() if card.redistributed}
    assert {path.name for path in files} == {f"{name}.safetensors" for name in shipped}
    assert all(file_sha256(path) == shipped[path.name.removesuffix(".safetensors")].sha256 for path in files)


def test_every_package_of_the_lock_file_has_a_digest():
    lock = json.loads((ROOT / "scarlet_zoo/measurement/browser/npm/package-lock.json").read_text())
    packages = {name: row for name, row in lock["packages"].items() if name}
    assert packages
    assert all(row["integrity"].startswith("sha512-") for row in packages.values())


def test_a_changed_web_asset_is_not_served(tmp_path, monkeypatch):
    from scarlet_zoo.measurement.browser import web_runtime

    monkeypatch.setattr(web_runtime, "_folder", lambda: tmp_path)
    for name in web_runtime.FILES:
        (tmp_path / name).write_text("as installed")
    digests = {name: file_sha256(tmp_path / name) for name in web_runtime.FILES}
    (tmp_path / "installed.json").write_text(json.dumps({"version": "1", "sha256": digests}))
    assert web_runtime.web_runtime().sha256 == digests
    (tmp_path / web_runtime.WASM).write_text("changed")
    with pytest.raises(ScarletError, match="has changed since it was installed"):
        web_runtime.web_runtime()


def test_onnxruntime_tells_and_keeps_nothing_of_the_user(tmp_path):
    script = "import scarlet_zoo, onnxruntime as ort; print(ort.get_available_providers())"
    clean = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env={**clean, **homes}, check=True, capture_output=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
