"""ExecuTorch, PyTorch's runtime for phones, with the XNNPACK backend."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Runtime as Loader
from torch import nn

from scarlet_zoo.deployment.runtimes.arithmetic import in_xnnpack
from scarlet_zoo.deployment.runtimes.registry import Array, Source
from scarlet_zoo.deployment.runtimes.wide_depthwise import split_wide_depthwise
from scarlet_zoo.errors import ExportError


class ExecuTorch:
    """ExecuTorch as a runtime; its file is a ``.pte`` file."""

    def convert(self, source: Source, path: Path) -> None:
        """Convert a network and write its file; operators that XNNPACK supports are delegated to it.

        In half precision the operators and activations are float16. XNNPACK keeps the weights of convolutions in
        float32 in the file and rounds them when it loads it, so the file is not half as large.
        """
        model = split_wide_depthwise(source.model)
        given = (torch.zeros(source.shape),)
        try:
            if source.precision == "float16":
                model = _InHalf(model).eval()
            elif source.precision == "int8":
                model = _in_integers(model, given, source)
            program = torch.export.export(model, given, strict=True)
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExportError(f"{path}: ExecuTorch cannot convert the network: {str(error).splitlines()[0]}") from error

    def open(self, path: Path, threads: int, precision: str) -> Callable[[Array], list[Array]]:
        """Load a file; all files of a process share one thread pool, whose size is that of the last one opened."""
        del precision  # the file's operators say it
        # There is no other way to set the number of threads. It is unsafe while another thread runs a network.
        _unsafe_reset_threadpool(threads)
        try:
            method: Any = Loader.get().load_program(str(path)).load_method("forward")
        except RuntimeError as error:
            raise ExportError(f"{path}: ExecuTorch cannot load the file: {str(error).splitlines()[0]}") from error

        def run(images: Array) -> list[Array]:
            return [np.array(answer.numpy()) for answer in method.execute([torch.from_numpy(images)])]

        return run

    def computes_in(self, precision: str) -> str:
        """The precision itself: XNNPACK refuses operators in float16 where it has none."""
        return in_xnnpack(precision)


class _InHalf(nn.Module):
    """A copy of a network that computes in float16 on float32 images, and answers in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).half()

    def forward(self, images: torch.Tensor) -> Any:
        """Outputs (N, ...) of images (N, C, H, W)."""
        outputs = self.model(images.half())
        return outputs.float() if isinstance(outputs, torch.Tensor) else [output.float() for output in outputs]


def _in_integers(model: nn.Module, given: tuple[torch.Tensor], source: Source) -> Any:
    """Quantise with torchao as XNNPACK wants it: uneven activations, weights with a scale for each channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(model, given, strict=True).module(), quantizer)
    with torch.no_grad():
        for batch in source.batches():
            prepared(torch.from_numpy(batch))
    return convert_pt2e(prepared)


RUNTIME = ExecuTorch()
