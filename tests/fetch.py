"""Fetch and make what tests need beside packages, once, into ``.venv``.

``make test`` runs this file as a part of its set-up. What cannot be had is told, and its tests are skipped.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import timm
import torch
from filelock import FileLock

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.int8_files import quantising_processors
from scarlet_zoo.graph.runtime_versions import interpreter_of
from scarlet_zoo.measurement.phone.archive import make_bundle_archive
from scarlet_zoo.measurement.phone.sysroot import make_sysroot
from scarlet_zoo.training.fast_layers import fast_layers
from scarlet_zoo.utils.files import cache_folder, file_sha256

KEPT = Path(__file__).parent.parent / ".venv" / "cache"
OLD_ORT = "ort==1.22.1"
# A package of Kotlin for notebooks, which holds the whole compiler, and its SHA-256.
KOTLIN = "kotlin_jupyter_kernel-0.19.0.944-py3-none-any.whl"
KOTLIN_SHA256 = "dc654a426a28e6621aeb0bd7772d268a9a877aabae4a17b73383752a416281a3"
# SHA-256 of timm's source distributions, by version; of another version they are not unpacked.
TIMM_SOURCES = {"1.0.31": "baa0b333339c46d3d6d4965d99b69f5053afed71210e8f433d7ea5ee6a18f0ec"}
EMULATORS = all(map(shutil.which, ("qemu-aarch64-static", "qemu-x86_64-static", "apt-get", "dpkg-deb")))


def arm64_root():
    """An arm64 Python.

    Raises:
        ScarletError: there is no emulator here, or Debian or the registry cannot be asked.
    """
    if not EMULATORS:
        raise ScarletError("got no qemu-user-static and apt, wanted both")
    kept, here = KEPT / "device", cache_folder() / "device"
    kept.mkdir(parents=True, exist_ok=True)
    if not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(kept)
    with FileLock(kept / "fetching.lock"):
        return make_sysroot(here / "arm64-newest")


def phone_archive(sysroot):
    """What a phone gets, where the verb looks for it."""
    return make_bundle_archive(sysroot, sysroot.folder.with_name(f"{sysroot.folder.name}.tar.gz"))


def timm_tests():
    """timm's tests folder for the version that is installed.

    Raises:
        ScarletError: its source distribution cannot be had, or is not the one that is known.
    """
    cache = KEPT.with_name("timm-sdist")
    folder = cache / f"timm-{timm.__version__}" / "tests"
    if not folder.is_dir():
        digest = TIMM_SOURCES.get(timm.__version__)
        if digest is None:
            raise ScarletError(f"timm {timm.__version__}: got no digest of its source distribution, wanted one in "
                               f"TIMM_SOURCES of {Path(__file__).name}")  # fmt: skip
        cache.mkdir(parents=True, exist_ok=True)
        wanted = cache / "wanted.txt"
        wanted.write_text(f"timm=={timm.__version__} --hash=sha256:{digest}\n")  # pip runs none of it before it checks
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "timm", "--dest",
                 str(cache), "--require-hashes", "--requirement", str(wanted)]  # fmt: skip
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            why = done.stderr.strip().splitlines()[-1:]
            raise ScarletError(f"timm's source distribution cannot be fetched: {why}")
        unpack(cache / f"timm-{timm.__version__}.tar.gz", digest, cache)
    return folder


def kotlin_compiler():
    """The folder of jars of a Kotlin compiler.

    Raises:
        ScarletError: it cannot be had, or is not the one that is known.
    """
    folder = KEPT.with_name("kotlin")
    jars = folder / "run_kotlin_kernel" / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "fetching.lock"):
        if jars.is_dir():
            return jars
        wanted = folder / "wanted.txt"
        wanted.write_text(f"kotlin-jupyter-kernel==0.19.0.944 --hash=sha256:{KOTLIN_SHA256}\n")
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest",
                 str(folder), "--require-hashes", "--requirement", str(wanted)]  # fmt: skip
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ScarletError(f"a Kotlin compiler cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
        with tempfile.TemporaryDirectory(dir=folder) as own, zipfile.ZipFile(folder / KOTLIN) as wheel:
            wheel.extractall(own, [name for name in wheel.namelist() if name.endswith(".jar")])
            (Path(own) / "run_kotlin_kernel").replace(jars.parent)
        (folder / KOTLIN).unlink()
    return jars


def unpack(archive, digest, folder):
    """Unpack a tar archive into a folder, once its digest is the one that is wanted; nothing gets outside.

    Raises:
        ScarletError: the archive has another digest.
    """
    found = file_sha256(archive)
    if found != digest:
        raise ScarletError(f"{archive}: got sha256 {found}, wanted {digest}")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")


def compiled_kernels():
    """Let numba compile the kernels of training and keep them beside their source, before several processes do."""
    images = torch.rand(16, 32, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    network = torch.nn.Sequential(torch.nn.Conv2d(32, 32, 5, groups=32, bias=False), torch.nn.BatchNorm2d(32))
    with fast_layers(network):
        network(images).sum().backward()


def main():
    """Make all parts."""
    with tempfile.TemporaryDirectory() as own:  # what the person at this machine has there is none of ours
        os.environ["XDG_CACHE_HOME"] = own
        _make("an arm64 Python", lambda: [phone_archive(arm64_root()), quantising_processors(arm64_root())])
        os.environ["XDG_CACHE_HOME"] = str(KEPT)
        _make(OLD_ORT, lambda: interpreter_of(OLD_ORT))
        _make("timm's own tests", timm_tests)
        if shutil.which("java") and shutil.which("javac"):
            _make("a Kotlin compiler", kotlin_compiler)
        _make("kernels of training", compiled_kernels)


def _make(name, part):
    sys.stdout.write(f"tests: {name}\n")
    try:
        part()
    except (ScarletError, OSError) as error:
        sys.stdout.write(f"tests: {name}: is not there, its tests are skipped: {error}\n")


if __name__ == "__main__":
    main()
