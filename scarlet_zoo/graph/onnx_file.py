"""Run any ONNX network with ONNX Runtime: any number of inputs and outputs, of any type and rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.load import loadable
from scarlet_zoo.graph.provider import ON_CPU, ProviderError, ProviderSession
from scarlet_zoo.latency import MeasurementError, Provider, batch_axis, random_input, reason_of, shapes_of_inputs

Array = NDArray[Any]
Feeds = Mapping[str, Array]
_HALF = "tensor(float16)"


class OnnxFile:
    """A loaded ONNX network.

    Attributes:
        path: its file.
        types: the runtime's type of each input by name, such as ``tensor(float)``.
        sides: declared sides of each input by name; a dynamic side is its name or None.
        outputs: names of the outputs.

    Raises:
        ArtifactError: the runtime cannot load the file, or an output is no tensor of numbers.
    """

    def __init__(
        self, path: Path, content: bytes | None = None, *, optimiser: bool = True, provider: Provider = ON_CPU
    ) -> None:
        """Load a network.

        Args:
            path: its file.
            content: the model to run instead of the file's own, serialised.
            optimiser: whether the runtime may rewrite the graph; off, it runs the operators as they are written.
            provider: the execution provider that it runs on.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what it would say is in its exceptions
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimiser:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            with loadable(path) if content is None else nullcontext(path) as found:
                self._opened = ProviderSession(content or str(found), options, provider, path)
        except ArtifactError:
            raise
        except Exception as error:
            # The runtime's exceptions have no common base but Exception.
            why = reason_of(error)
            raise ArtifactError(f"{path}: ONNX Runtime {ort.__version__} does not load it: {why}") from error
        self.path = path
        inputs, outputs = self._opened.session.get_inputs(), self._opened.session.get_outputs()
        self.types: dict[str, str] = {item.name: item.type for item in inputs}
        self.sides: dict[str, Sequence[Any]] = {item.name: item.shape for item in inputs}
        self.outputs: list[str] = [item.name for item in outputs]
        odd = [item for item in outputs if not item.type.startswith("tensor(") or item.type == "tensor(string)"]
        if odd:
            raise ArtifactError(f"{path}: output {odd[0].name!r} is {odd[0].type}, wanted tensors of numbers")

    def shapes(self, given: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
        """The shape of each input by name: a dynamic batch is 1, other dynamic sides are given.

        Raises:
            ArtifactError: a given shape does not fit, or a dynamic side is not given; the message says what to type.
        """
        try:
            return shapes_of_inputs(self.path, list(self.sides.items()), given)
        except MeasurementError as error:
            raise ArtifactError(str(error)) from error

    def batch_axes(self) -> dict[str, int]:
        """The axis of the batch of each input whose batch is dynamic, by name."""
        axes = {name: batch_axis(sides) for name, sides in self.sides.items()}
        return {name: axis for name, axis in axes.items() if axis is not None}

    def random(self, name: str, shape: Sequence[int], seed: int) -> Array:
        """A random input of this name, as :func:`scarlet_zoo.latency.random_input` makes it.

        Raises:
            ArtifactError: the input is no tensor of numbers.
        """
        try:
            made: Array = random_input(self.path, name, self.types[name], shape, seed)
        except MeasurementError as error:
            raise ArtifactError(str(error)) from error
        return made

    @property
    def provider_nodes(self) -> dict[str, int]:
        """Number of nodes by provider; empty before the first run, and on the CPU, which runs all."""
        return self._opened.nodes

    def _typed(self, feeds: Feeds) -> dict[str, Array]:
        """The inputs, rounded to float16 where the file takes that."""
        return {name: value.astype(np.float16) if self.types.get(name) == _HALF and value.dtype.kind == "f" else value
                for name, value in feeds.items()}  # fmt: skip

    def run(self, feeds: Feeds) -> list[Array]:
        """All outputs for one set of inputs, in their own types and shapes.

        Numbers that are given as float32 are rounded where the file takes float16.

        Raises:
            ArtifactError: the runtime does not run the network on these inputs.
        """
        try:
            return [np.asarray(output) for output in self._opened.run(self._typed(feeds))]
        except ProviderError:
            raise
        except Exception as error:
            shapes = " ".join(f"{name}={','.join(map(str, value.shape))}" for name, value in feeds.items())
            raise ArtifactError(f"{self.path}: ONNX Runtime does not run it on {shapes}: {reason_of(error)}") from error
