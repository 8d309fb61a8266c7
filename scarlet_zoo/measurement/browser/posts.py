"""What a page sends back, read strictly: a number that cannot be is not let in."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveInt, ValidationError

from scarlet_zoo.errors import RecordError
from scarlet_zoo.graph.artifact import Artifact
from scarlet_zoo.latency import is_stable, machine_conditions, make_conditions, runtime_conditions, statistics
from scarlet_zoo.measurement.browser.catalog import Served
from scarlet_zoo.measurement.records import Milliseconds, Record, check_record

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f/\\]+$")]
Client = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_LONGEST_MS = 60_000.0
# No processor reads a network's weights faster than this, so none runs it in less.
_BYTES_PER_MS = 1e9
_SLACK_S = 2.0


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Browser(_Strict):
    """Where the page runs, as it says itself.

    Attributes:
        user_agent, platform: names.
        cores: that it offers.
        secure_context, cross_origin_isolated: what it was allowed; threads and fine timers need both.
        timer_ms: smallest step of its clock.
        hash: ``subtle`` (the browser's own) or ``script``.
    """

    user_agent: Annotated[str, Field(min_length=1, max_length=400)]
    platform: Annotated[str, Field(min_length=1, max_length=80)]
    cores: PositiveInt
    secure_context: bool
    cross_origin_isolated: bool
    timer_ms: Annotated[FiniteFloat, Field(ge=0, le=100)]
    hash: Annotated[str, Field(pattern="^(subtle|script)$")]

    def machine(self, device: str) -> dict[str, Any]:
        """The part of a measurement's conditions that the machine decides, under a device's name."""
        return machine_conditions(device, self.platform, self.user_agent, self.cores)


class Method(_Strict):
    """How the page measured.

    Attributes:
        runs_per_sample: runs that a sample is the mean of: several where the clock is too coarse for one.
    """

    threads: Annotated[PositiveInt, Field(le=64)]
    warmup: PositiveInt
    burst: PositiveInt
    runs: PositiveInt
    seconds: Milliseconds
    runs_per_sample: PositiveInt
    openings: PositiveInt


class Asker(_Strict):
    """A page.

    Attributes:
        client: hexadecimal, drawn by the page; the same one after a reload.
        device: what a person calls it.
    """

    client: Client
    device: Name


class Posted(Asker):
    """A measurement of one network.

    Attributes:
        model, sha256: id of the network, and the hash of what the page got.
        golden_error: largest difference from the host's answers, over their range.
        samples_ms, opening_of_sample: as in :class:`scarlet_zoo.latency.Timing`.
    """

    model: Annotated[str, Field(max_length=8)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    golden_error: NonNegativeFloat
    load_ms: Milliseconds
    first_ms: Milliseconds
    samples_ms: Annotated[list[Milliseconds], Field(min_length=10, max_length=20_000)]
    opening_of_sample: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=20_000)]
    browser: Browser
    method: Method


Post = TypeVar("Post", bound=BaseModel)


def read_post(kind: type[Post], body: bytes) -> Post:
    """What a page sent, of the kind that is wanted.

    Raises:
        RecordError: the first thing that is wrong with it.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecordError(f"post: {'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from error


def record_of_post(posted: Posted, model: Served, runtime_version: str, open_for_s: float, device: str) -> Record:
    """The record of a measurement, beside the host's own.

    Args:
        posted: what the page says.
        model: what it measured.
        runtime_version: of the onnxruntime-web that it was handed.
        open_for_s: how long ago it began to ask for this network.
        device: name under which its records are kept.

    Raises:
        RecordError: another file, answers that are wrong, or times that cannot be.
    """
    _believe(posted, model, open_for_s)
    numbers = statistics(posted.samples_ms)
    conditions = make_conditions(
        posted.browser.machine(device),
        {"mode": "hot", "spin": True, "affinity": None, **posted.method.model_dump()},
        web_runtime_conditions(runtime_version, model.artifact),
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


def web_runtime_conditions(version: str, artifact: Artifact | None = None) -> dict[str, Any]:
    """The part of a measurement's conditions that onnxruntime-web, and a file that it runs, decide."""
    if artifact is None:
        return runtime_conditions("onnxruntime-web", version, provider="wasm")
    return runtime_conditions(
        "onnxruntime-web", version, provider="wasm", opset=artifact.opset, metadata=artifact.description
    )


def _believe(posted: Posted, model: Served, open_for_s: float) -> None:
    if posted.sha256 != model.artifact.sha256:
        raise RecordError(f"post: sha256: got {posted.sha256[:12]}..., wanted {model.artifact.sha256[:12]}...")
    if posted.golden_error > model.tolerance:
        raise RecordError(f"post: golden_error: got {posted.golden_error:.2g}, wanted {model.tolerance:g} at most")
    if posted.method.threads > 1 and not posted.browser.cross_origin_isolated:
        raise RecordError(f"post: threads: got {posted.method.threads} in a page without isolation, wanted 1")
    least = model.size / _BYTES_PER_MS
    fastest, slowest = min(posted.samples_ms), max(posted.samples_ms)
    if fastest < least or slowest > _LONGEST_MS:
        raise RecordError(
            f"post: samples_ms: got {fastest:.3g} to {slowest:.3g}, wanted {least:.2g} to {_LONGEST_MS:g}"
        )
    spent = float(np.sum(posted.samples_ms)) * posted.method.runs_per_sample / 1e3
    if spent > open_for_s + _SLACK_S:
        raise RecordError(
            f"post: samples_ms: {spent:.1f} s in all, the page has had the network for {open_for_s:.1f} s"
        )
