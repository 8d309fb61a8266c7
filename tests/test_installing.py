"""What errors tell people to type."""

import subprocess
import sys

import pytest
from conftest import ROOT

from scarlet_zoo.utils import installing
from scarlet_zoo.utils.installing import install_command


def test_the_command_names_packages_and_never_this_one():
    assert install_command("ncnn").startswith("pip install 'ncnn>=")
    assert "pnnx" in install_command("ncnn")
    assert install_command("train", ["matplotlib"]).count(">=") == 1
    for text in (ROOT / "scarlet_zoo").rglob("*.py"):
        assert "pip install 'scarlet-zoo" not in text.read_text()
        assert "pip install scarlet" not in text.read_text()


@pytest.mark.slow
def test_pip_understands_the_command():
    words = install_command("openvino").replace("'", "").split()
    done = subprocess.run(
        [sys.executable, "-m", *words, "--dry-run", "--no-index", "-q"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_where_the_package_is_not_installed_a_clone_is_meant(monkeypatch):
    def missing(_):
        raise installing.PackageNotFoundError

    monkeypatch.setattr(installing, "requires", missing)
    assert install_command("web") == "pip install '.[web]' in a clone of scarlet-zoo"
