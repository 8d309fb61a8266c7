"""ncnn, Tencent's runtime for phones, with pnnx, its converter from torch."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import ncnn
import numpy as np
import pnnx
import torch

from scarlet_zoo.deployment.runtimes.arithmetic import has_float16
from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError


class Ncnn:
    """ncnn as a runtime; its files are a ``.param`` and a ``.bin``."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write both files; weights become float16 in half precision."""
        with tempfile.TemporaryDirectory() as temporary:
            stem = Path(temporary) / "network"
            pnnx.export(source.model, f"{stem}.pt", torch.zeros(source.shape), fp16=source.precision == "float16",
                        check_trace=False)  # fmt: skip
            written = [Path(f"{stem}.ncnn.{kind}") for kind in ("param", "bin")]
            if not all(file.is_file() for file in written):
                raise ExportError(f"{path}: pnnx cannot convert the network: it wrote no ncnn files")
            shutil.move(written[1], path.with_suffix(".bin"))
            shutil.move(written[0], path)

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Load a file, with float16 arithmetic for a float16 file only, and without bfloat16."""
        network = ncnn.Net()
        network.opt.num_threads = threads
        network.opt.use_vulkan_compute = False
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(network.opt, option, precision == "float16")
        network.opt.use_bf16_storage = False
        if network.load_param(str(path)) or network.load_model(str(path.with_suffix(".bin"))):
            raise ExportError(f"{path}: ncnn cannot load the file")
        inputs, outputs = network.input_names(), network.output_names()

        def run(images: Array) -> list[Array]:
            rows: list[list[Array]] = []
            for image in images:
                extractor = network.create_extractor()
                extractor.input(inputs[0], ncnn.Mat(np.ascontiguousarray(image)).clone())
                rows.append([np.array(extractor.extract(name)[1]) for name in outputs])
            return [np.stack(column) for column in zip(*rows, strict=True)]

        run.network = network  # type: ignore[attr-defined]  # an extractor does not keep the network alive
        return run

    def computes_in(self, precision: str) -> str:
        """The precision itself; ncnn takes float32 where its kernels have no float16, as on x64."""
        if precision == "float16" and not has_float16():
            return "float32: ncnn has no float16 on this processor"
        return precision


RUNTIME = Ncnn()
