"""The archive that is pushed to a phone: an arm64 Python, ONNX Runtime and the script that measures."""

from __future__ import annotations

import tarfile
from pathlib import Path

from scarlet_zoo import latency
from scarlet_zoo.measurement.phone.sysroot import Sysroot
from scarlet_zoo.utils.files import replacing

ROOT, SCRIPT = "root", "latency.py"
# Parts of the root that the measuring interpreter does not need.
_LEFT_OUT = ("usr/share", "var", "etc", "proc", "sys", "usr/bin/perl", "usr/lib/systemd", "lib/systemd")
_UNUSED = ("/test/", "/tests/", "/idlelib/", "/ensurepip/", "/lib2to3/", "/tkinter/", "/__pycache__/", "/perl",
           "/transformers/", "/quantization/", "/tools/", "/gconv/")  # fmt: skip


def make_bundle_archive(sysroot: Sysroot, path: Path) -> Path:
    """Write the archive, unless there is one that is newer than the root and the script; gives its path.

    Args:
        sysroot: the root for the device's kind of processor.
        path: path of the ``.tar.gz`` file.
    """
    sources = (sysroot.folder / "made.json", Path(latency.__file__))
    if path.is_file() and all(path.stat().st_mtime > source.stat().st_mtime for source in sources):
        return path
    with replacing(path) as temporary, tarfile.open(temporary, "w:gz", compresslevel=3) as archive:
        for file in sorted(sysroot.folder.rglob("*")):
            name = file.relative_to(sysroot.folder).as_posix()
            if _is_needed(file, name):
                archive.add(file.resolve() if file.is_symlink() else file, f"{ROOT}/{name}", recursive=False)
        archive.add(latency.__file__, SCRIPT)
    return path


def _is_needed(file: Path, name: str) -> bool:
    if file.is_dir() or not file.exists() or name.startswith(_LEFT_OUT):
        return False
    if name.startswith(("usr/bin/", "bin/", "sbin/", "usr/sbin/")):
        return Path(name).name.startswith("python3.")
    return not any(part in f"/{name}" for part in _UNUSED)
