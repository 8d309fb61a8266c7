"""Quantise one file on several processors, real and emulated, and compare the bytes that they write.

As a script, it quantises: ``python int8_files.py SOURCE.onnx IMAGES.npy OUT.onnx`` prints the new file's sha256.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import scarlet_zoo
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.evidence.emulation import Processor, other_processors, this_processor
from scarlet_zoo.measurement.phone.sysroot import Sysroot

# What scarlet_zoo.graph.quantization imports; pip adds what these need.
_PACKAGES = ("numpy", "onnxruntime", "onnx", "onnx-ir", "pydantic", "pillow", "platformdirs", "packaging", "wrapt")


def quantising_processors(sysroot: Sysroot) -> list[Processor]:
    """Return this processor, x64 without VNNI, and arm64, each with an interpreter that can quantise.

    Args:
        sysroot: an arm64 Python. The packages that quantising needs are unpacked beside it, in the versions that are
            installed here, since other versions of onnx may write other bytes.

    Raises:
        ScarletError: qemu is not installed, or a package cannot be downloaded.
    """
    beside = sysroot.folder.with_name(f"{sysroot.folder.name}.quantiser")
    sysroot.unpack_wheels(beside, [f"{name}=={importlib.metadata.version(name)}" for name in _PACKAGES])
    arm64, *_, old_x64 = other_processors(sysroot)
    here = {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "OMP_NUM_THREADS": "1"}
    there = here | {"PYTHONPATH": os.pathsep.join(map(str, (beside, Path(scarlet_zoo.__file__).parent.parent)))}
    # The real interpreter, because that of an environment is a link, which the emulator resolves.
    command = (*old_x64.command[:-1], str(Path(sys.executable).resolve()))
    return [
        replace(this_processor(), environment=here),
        replace(old_x64, command=command, environment={**old_x64.environment, **here}),
        replace(arm64, environment={**arm64.environment, **there}),
    ]


def quantised_on(processors: Sequence[Processor], source: Path, images: Path, folder: Path) -> dict[str, str]:
    """Quantise a file for arm64 on each processor.

    Args:
        processors: from :func:`quantising_processors`.
        source: a float file.
        images: calibration images, preprocessed, float32 (N, C, H, W) as ``.npy``.
        folder: folder for the new files.

    Returns:
        The sha256 of the file that each processor wrote, by the processor's name.

    Raises:
        ScarletError: the interpreter of a processor fails.
    """
    written = {}
    for processor in processors:
        processor.prepare()
        command = [*processor.command, __file__, str(source), str(images), str(folder / f"{processor.name}.onnx")]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, **processor.environment})  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
            raise ScarletError(f"processor {processor.name}: {lines[-1]}")
        written[processor.name] = done.stdout.split()[-1]
    return written


def _quantise(source: str, images: str, out: str) -> str:
    import numpy as np

    from scarlet_zoo.graph.quantization.quantize import Int8, quantize_int8

    return quantize_int8(source, out, np.load(images), Int8(isa="arm64", method="percentile")).artifact.sha256


if __name__ == "__main__":
    sys.stdout.write(_quantise(*sys.argv[1:]) + "\n")
