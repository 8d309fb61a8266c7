"""ExecuTorch, PyTorch's runtime for phones, with the XNNPACK backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Runtime as Loader

from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.deployment.runtimes.wide_depthwise import split_wide_depthwise
from scarlet_zoo.errors import ExportError


class ExecuTorch:
    """ExecuTorch as a runtime; its file is a ``.pte`` file."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write its file; operators that XNNPACK supports are delegated to it."""
        model = split_wide_depthwise(source.model)
        try:
            program = torch.export.export(model, (torch.zeros(source.shape),), strict=True)
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExportError(f"{path}: ExecuTorch cannot convert the network: {str(error).splitlines()[0]}") from error

    def open(self, path: Path, threads: int) -> Callable[[Array], list[Array]]:
        """Load a file; all files of a process share one thread pool, whose size is that of the last one opened."""
        # There is no other way to set the number of threads. It is unsafe while another thread runs a network.
        _unsafe_reset_threadpool(threads)
        try:
            method: Any = Loader.get().load_program(str(path)).load_method("forward")
        except RuntimeError as error:
            raise ExportError(f"{path}: ExecuTorch cannot load the file: {str(error).splitlines()[0]}") from error

        def run(images: Array) -> list[Array]:
            return [np.array(answer.numpy()) for answer in method.execute([torch.from_numpy(images)])]

        return run


RUNTIME = ExecuTorch()
