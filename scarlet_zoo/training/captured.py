"""A network's gradients by one CUDA graph, for networks whose kernels are shorter than their launch from Python.

A step of a small network is several hundred kernels of a few microseconds. Launched one by one the processor is the
limit; recorded once as a graph and replayed they run back to back (https://pytorch.org/docs/stable/notes/cuda.html,
"CUDA Graphs"). A graph holds fixed shapes and addresses, so it serves networks and not supernets, whose path changes
from step to step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.training.learner import LossTerm, StepBatch

_WARMUPS = 3
Backward = Callable[[StepBatch], list[LossTerm]]


class CapturedGradients:
    """Takes the gradients of each batch as ``backward`` does, by a CUDA graph from the first batch on.

    A network that cannot be captured, because it reads a value from the device say, is run step by step.

    Args:
        model: the network, on a CUDA device.
        backward: adds the gradients of a batch to those of the parameters.
    """

    def __init__(self, model: nn.Module, backward: Backward) -> None:
        self._model, self._backward = model, backward
        self._graph: torch.cuda.CUDAGraph | None = None
        self._failed = False

    def __call__(self, batch: StepBatch) -> list[LossTerm]:
        """Set the parameters' gradients to those of a batch; the losses are the graph's, until the next call."""
        if self._graph is None and not self._failed:
            self._capture(batch)
        if self._graph is None:
            self._model.zero_grad(set_to_none=True)
            return self._backward(batch)
        # The gradients are tensors of the graph, which writes them anew.
        for held, given in zip((*self._batch.views, self._batch.targets), (*batch.views, batch.targets), strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._terms

    def _capture(self, batch: StepBatch) -> None:
        self._batch = replace(batch, views=tuple(view.clone() for view in batch.views), targets=batch.targets.clone())
        before = {key: value.clone() for key, value in self._model.state_dict().items()}
        self._warm_up()
        self._model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._terms = self._backward(self._batch)
            self._graph = graph
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            warnings.warn(f"training: the step cannot be a CUDA graph, which would be faster: {reason}", ScarletWarning,
                          stacklevel=2)  # fmt: skip
            self._failed = True
        # The batch norms have seen the batch too often.
        self._model.load_state_dict(before)

    def _warm_up(self) -> None:
        """Let the libraries choose their algorithms and allocate what they need, on another stream."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARMUPS):
                self._model.zero_grad(set_to_none=True)
                self._backward(self._batch)
        torch.cuda.current_stream().wait_stream(stream)
