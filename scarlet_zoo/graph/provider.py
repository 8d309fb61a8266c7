"""Sessions that answer on an execution provider of ONNX Runtime, and say which nodes it really took."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.latency import CPU, MeasurementError, Provider, nodes_of_profile, run_limit

ON_CPU = Provider()


class ProviderError(ArtifactError):
    """An execution provider is not there, does not start, or runs no node of a network."""


def as_provider(provider: Provider | str | None) -> Provider:
    """The provider of a text, as :meth:`scarlet_zoo.latency.Provider.parse` reads it; the CPU for None.

    Raises:
        ProviderError: ONNX Runtime knows no such provider.
    """
    if isinstance(provider, Provider):
        return provider
    try:
        return Provider.parse(provider or CPU)
    except MeasurementError as error:
        raise ProviderError(str(error)) from error


class ProviderSession:
    """A session of ONNX Runtime on one execution provider.

    The first run on another provider than the CPU is profiled, to find out which nodes the provider took.

    Args:
        model: path of a file, or its content.
        options: options of the session.
        provider: the execution provider.
        where: the file, for errors.

    Attributes:
        session: the runtime's session.
        provider: the execution provider.
        nodes: number of nodes by provider; empty before the first run, and on the CPU, which runs all.

    Raises:
        ProviderError: the provider is not there or does not start.
    """

    def __init__(self, model: str | bytes, options: ort.SessionOptions, provider: Provider, where: Path) -> None:
        self.provider, self.nodes, self._where = provider, dict[str, int](), where
        self._folder = None if provider.is_cpu else tempfile.mkdtemp(prefix="scarlet-zoo-")
        if self._folder is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(Path(self._folder) / "profile")
        try:
            self.session = provider.open(model, options, where)
        except MeasurementError as error:
            self._forget()
            raise ProviderError(str(error)) from error

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """All outputs for one set of inputs.

        Raises:
            ProviderError: no node ran on the provider.
            MeasurementError: it took longer than :func:`scarlet_zoo.latency.run_limit` allows.
        """
        with run_limit(max((len(value) for value in feeds.values() if np.ndim(value)), default=1)) as options:
            outputs: list[Any] = self.session.run(None, dict(feeds), options)
        if self._folder is not None:
            self.nodes = nodes_of_profile(self.session.end_profiling())
            self._forget()
            try:
                self.provider.check_nodes(self.nodes, self._where)
            except MeasurementError as error:
                raise ProviderError(str(error)) from error
        return outputs

    def __del__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
