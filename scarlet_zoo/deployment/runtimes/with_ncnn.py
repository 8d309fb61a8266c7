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

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.errors import ExportError


class Ncnn:
    """ncnn as a runtime; its files are a ``.param`` and a ``.bin``."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write both files; weights stay float32."""
        with tempfile.TemporaryDirectory() as temporary:
            stem = Path(temporary) / "network"
            pnnx.export(source.model, f"{stem}.pt", torch.zeros(source.shape), fp16=False, check_trace=False)
            written = [Path(f"{stem}.ncnn.{kind}") for kind in ("param", "bin")]
            if not all(file.is_file() for file in written):
                raise ExportError(f"{path}: pnnx cannot convert the network: it wrote no ncnn files")
            shutil.move(written[1], path.with_suffix(".bin"))
            shutil.move(written[0], path)

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """Load a file, with all float16 and bfloat16 arithmetic switched off."""
        network = ncnn.Net()
        network.opt.num_threads = threads
        network.opt.use_vulkan_compute = False
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(network.opt, option, False)
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


RUNTIME = Ncnn()
