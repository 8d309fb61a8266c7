"""Read what a page sends back, strictly: impossible numbers are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from scarlet_zoo.errors import RecordError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.latency import is_stable, machine_conditions, make_conditions, runtime_conditions, statistics
from scarlet_zoo.measurement.browser.catalog import Served
from scarlet_zoo.measurement.records import Milliseconds, Record, check_record
from scarlet_zoo.utils.names import is_plain_text

_MOST_NAME_BYTES = 80


def _plain_name(name: str) -> str:
    """Refuse a device's name that is too long in bytes, or has what people do not see."""
    if len(name.encode(errors="replace")) > _MOST_NAME_BYTES:
        raise ValueError(f"a name of {len(name.encode(errors='replace'))} bytes, wanted at most {_MOST_NAME_BYTES}")
    if not is_plain_text(name) or set("/\\") & set(name):
        raise ValueError("a name with hidden characters, / or \\")
    return name


Name = Annotated[str, Field(min_length=1), AfterValidator(_plain_name)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Client = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_LONGEST_MS = 60_000.0
# No processor reads weights faster than this, which bounds a network's latency from below.
_BYTES_PER_MS = 1e9
_SLACK_S = 2.0
_GPU = "WebGpuExecutionProvider"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Browser(_Strict):
    """The browser that the page runs in, as the page reports it.

    Attributes:
        user_agent, platform: names of the browser and its system.
        cores: number of cores that the browser reports.
        secure_context, cross_origin_isolated: the page's state; threads and fine timers need both.
        timer_ms: smallest step of the page's clock, in milliseconds.
        hash: how it computes SHA-256: ``subtle`` (the browser's own) or ``script``.
        gpu: the adapter that the browser gives for WebGPU, as it describes it; None if it gives none.
        gpu_in_software: whether that adapter computes on the processor; None if there is none or it does not say.
    """

    user_agent: Annotated[str, Field(min_length=1, max_length=400)]
    platform: Annotated[str, Field(min_length=1, max_length=80)]
    cores: Annotated[int, Field(ge=1, le=4096)]
    secure_context: bool
    cross_origin_isolated: bool
    timer_ms: Annotated[FiniteFloat, Field(ge=0, le=100)]
    hash: Annotated[str, Field(pattern="^(subtle|script)$")]
    gpu: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    gpu_in_software: bool | None = None

    def machine(self, device: str) -> dict[str, Any]:
        """The part of a measurement's conditions that depends on the machine, with ``device`` as its name."""
        return machine_conditions(device, self.platform, self.user_agent, self.cores)


class Method(_Strict):
    """How the page measured.

    Attributes:
        threads, warmup, burst, runs, seconds: as in :class:`scarlet_zoo.latency.Settings`.
        runs_per_sample: number of runs that each sample is the mean of; more than 1 if the clock is too coarse.
        openings: number of sessions.
    """

    threads: Annotated[int, Field(ge=1, le=64)]
    warmup: Count
    burst: Count
    runs: Count
    seconds: Annotated[FiniteFloat, Field(gt=0, le=86_400)]
    runs_per_sample: Count
    openings: Count


class Asker(_Strict):
    """A page that sends a request.

    Attributes:
        client: random hexadecimal number of the page; it stays the same after a reload.
        device: the device's name, as the user entered it.
    """

    client: Client
    device: Name


class Posted(Asker):
    """A measurement of one network, as the page posts it.

    Attributes:
        model, sha256: the network's id, and the hash of the file that the page received.
        provider: ``wasm`` for the processor, or ``webgpu``.
        provider_nodes: number of nodes that ran on each execution provider, for ``webgpu``.
        golden_error: largest difference from the host's outputs, over their range.
        load_ms, first_ms: time of loading and of the first run, in milliseconds.
        samples_ms, opening_of_sample: as in :class:`scarlet_zoo.latency.Timing`.
    """

    model: Annotated[str, Field(max_length=8)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    provider: Literal["wasm", "webgpu"] = "wasm"
    provider_nodes: dict[Annotated[str, Field(max_length=80)], Count] | None = Field(default=None, max_length=8)
    golden_error: Annotated[FiniteFloat, Field(ge=0)]
    load_ms: Milliseconds
    first_ms: Milliseconds
    samples_ms: Annotated[list[Milliseconds], Field(min_length=10, max_length=20_000)]
    opening_of_sample: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=20_000)]
    browser: Browser
    method: Method


Post = TypeVar("Post", bound=BaseModel)


def read_post(kind: type[Post], body: bytes) -> Post:
    """Validate the body of a request as an object of class ``kind``.

    Raises:
        RecordError: the body is not valid; the message names the first wrong field.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecordError(f"post: {'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from error


def record_of_post(posted: Posted, model: Served, runtime_version: str, open_for_s: float, device: str) -> Record:
    """Check a posted measurement and make its record.

    Args:
        posted: the measurement.
        model: the network that was measured.
        runtime_version: version of the onnxruntime-web that was served.
        open_for_s: seconds since the page first asked for this network.
        device: name of the device in the record.

    Raises:
        RecordError: the page measured another file, its outputs are wrong, or its times are impossible.
    """
    _believe(posted, model, open_for_s)
    numbers = statistics(posted.samples_ms)
    conditions = make_conditions(
        posted.browser.machine(device),
        {"mode": "hot", "spin": True, "affinity": None, **posted.method.model_dump()},
        web_runtime_conditions(runtime_version, model.artifact, posted.provider, posted.provider_nodes),
        sha256=posted.sha256,
        input_shape={model.input_name: list(model.input.shape)},
        golden_error=posted.golden_error,
        browser=posted.browser.model_dump(),
    )
    return check_record({
        "file": model.label, "network": model.network, **numbers, "runs": len(posted.samples_ms),
        "load_ms": posted.load_ms, "first_ms": posted.first_ms, "samples_ms": posted.samples_ms,
        "opening_of_sample": posted.opening_of_sample, "stable": is_stable(numbers["cv"]), "conditions": conditions,
    }, "post")  # fmt: skip


def web_runtime_conditions(
    version: str, artifact: Artifact | None = None, provider: str = "wasm", nodes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The part of a measurement's conditions that depends on onnxruntime-web and the file that it runs."""
    more: dict[str, Any] = {} if nodes is None else {"provider_nodes": dict(nodes)}
    if artifact is None:
        return runtime_conditions("onnxruntime-web", version, provider=provider, **more)
    return runtime_conditions(
        "onnxruntime-web", version, provider=provider, opset=artifact.opset, metadata=artifact.description, **more
    )


def _believe_provider(posted: Posted) -> None:
    if (posted.provider == "webgpu") != (_GPU in (posted.provider_nodes or {})):
        got = " ".join(posted.provider_nodes or ()) or "no provider"
        raise RecordError(f"post: provider_nodes: got {got} for {posted.provider}, wanted {_GPU} for webgpu alone")
    if posted.provider == "webgpu" and posted.browser.gpu is None:
        raise RecordError("post: browser.gpu: got none for webgpu, wanted an adapter")


def _believe(posted: Posted, model: Served, open_for_s: float) -> None:
    if posted.sha256 != model.artifact.sha256:
        raise RecordError(f"post: sha256: got {posted.sha256[:12]}..., wanted {model.artifact.sha256[:12]}...")
    _believe_provider(posted)
    if posted.golden_error > model.tolerance:
        raise RecordError(f"post: golden_error: got {posted.golden_error:.2g}, wanted {model.tolerance:g} at most")
    if posted.method.threads > 1 and not posted.browser.cross_origin_isolated:
        raise RecordError(f"post: threads: got {posted.method.threads} in a page without isolation, wanted 1")
    if posted.method.threads > posted.browser.cores:
        raise RecordError(f"post: threads: got {posted.method.threads} on {posted.browser.cores} cores")
    samples = len(posted.samples_ms) * posted.method.runs_per_sample
    if samples < posted.method.runs:
        raise RecordError(f"post: samples_ms: got {samples} runs, wanted {posted.method.runs} or more")
    if posted.load_ms + posted.first_ms > 1e3 * (open_for_s + _SLACK_S):
        spent = (posted.load_ms + posted.first_ms) / 1e3
        raise RecordError(f"post: load_ms: got {spent:.3g} s with the first run, wanted at most the {open_for_s:.1f} s "
                          "since the page asked")  # fmt: skip
    least = model.size / _BYTES_PER_MS
    fastest, slowest = min(posted.samples_ms), max(posted.samples_ms)
    if fastest < least or slowest > _LONGEST_MS:
        raise RecordError(
            f"post: samples_ms: got {fastest:.3g} to {slowest:.3g}, wanted {least:.2g} to {_LONGEST_MS:g}"
        )
    spent = float(np.sum(posted.samples_ms)) * posted.method.runs_per_sample / 1e3
    if spent > open_for_s + _SLACK_S:
        raise RecordError(
            f"post: samples_ms: got {spent:.1f} s in all, wanted at most the {open_for_s:.1f} s since the page asked"
        )
