"""A copy of the checkout, as a newcomer has it, and what runs in it."""

import shutil
import subprocess
import sys

from conftest import ROOT


def cloned(folder):
    """The checkout's files in a folder, beside an environment that has what pip would fetch."""
    copied(folder)
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=folder, check=True)
    packages = next((folder / ".venv" / "lib").glob("python3*")) / "site-packages"
    already_fetched(packages)
    return folder


def copied(folder):
    """The checkout's files in a folder."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def already_fetched(packages):
    """Let an environment find the packages of the one that runs the tests."""
    packages.mkdir(parents=True, exist_ok=True)
    # Our own package is what is installed from the copy: an editable installation would stand in its way.
    (packages / "fetched.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))


def run(clone, script, programs="", **more):
    """What a script says on stdout that runs in a folder, as a newcomer's shell runs it."""
    environment = {"PATH": f"{programs}/usr/local/bin:/usr/bin:/bin", "HOME": str(clone),
                   "XDG_CACHE_HOME": str(clone / "cache"), "OMP_WAIT_POLICY": "PASSIVE", **more}  # fmt: skip
    done = subprocess.run(["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
