"""timm's own model tests, from its source distribution, pointed at our names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fetch import timm_tests

from scarlet_zoo.errors import ScarletError

HERE = Path(__file__).parent


@pytest.mark.slow
def test_timms_model_tests_pass_for_our_names():
    try:
        folder = timm_tests()
    except ScarletError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "timm_suite_plugin", "test_models.py", "-k", "scarlet",
               "-W", "ignore", "-o", "addopts=", "-p", "no:cacheprovider"]  # fmt: skip
    # Its coverage would take the place of this process's.
    env = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "SLIPCOVER_ENABLED": ""}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.split(" passed")[0].split()[-1])
    assert passed >= 25, done.stdout[-500:]
