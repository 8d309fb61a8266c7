"""timm's own model tests, from its source distribution, pointed at our names."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import timm

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def timm_tests():
    """timm's tests folder for the version that is installed, fetched once."""
    cache = HERE.parent / ".venv" / "timm-sdist"
    folder = cache / f"timm-{timm.__version__}" / "tests"
    if not folder.is_dir():
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest",
                 str(cache), f"timm=={timm.__version__}"]  # fmt: skip
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"timm's source distribution cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(cache / f"timm-{timm.__version__}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return folder


@pytest.mark.slow
def test_timms_model_tests_pass_for_our_names(timm_tests):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "timm_suite_plugin", "test_models.py", "-k", "scarlet",
               "-W", "ignore", "-o", "addopts=", "-p", "no:cacheprovider"]  # fmt: skip
    # Its coverage would take the place of this process's.
    env = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "SLIPCOVER_ENABLED": ""}
    done = subprocess.run(command, cwd=timm_tests, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.split(" passed")[0].split()[-1])
    assert passed >= 25, done.stdout[-500:]
