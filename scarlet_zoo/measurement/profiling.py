"""Where a network's time goes: ONNX Runtime's own profile, assigned to the blocks of the architecture.

The runtime renames and merges operators. Most running operators still carry the name of the module that they came from;
one that does not belongs to the operator before it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_zoo.arch.architecture import Arch, block_names
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.fusion import WITH_SUBGRAPHS
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.latency import Runner, Settings, is_stable, statistics
from scarlet_zoo.measurement.onnx_layers import Layers
from scarlet_zoo.measurement.roofline import Machine
from scarlet_zoo.utils.reading import parse_json

_RUNS, _WARMUP = 50, 10
_KERNEL = "_kernel_time"
# A module's name with numbers: blocks.3.1, layer2.0, stages.0.
_PLACE = re.compile(r"[A-Za-z_]+\d*(\.\d+)+$")
_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A running operator, or all operators of a block together.

    Attributes:
        name: the runtime's name of an operator, or the module's name of a block; ``stem`` and ``head`` are the parts
            before and after the blocks.
        kind: type of the operator; for a block of one of our spaces its token.
        block: name of the block that the operator belongs to.
        p50_us: mean of the middle half of its durations, in microseconds.
        macs: multiply-adds of the convolutions and matrix products that became part of it.
        weight_bytes: bytes of weights read.
        activation_bytes: bytes of activations read and written.
        limit_us: least time by the roofline, in microseconds.
    """

    name: str
    kind: str
    block: str
    p50_us: float
    macs: int
    weight_bytes: int
    activation_bytes: int
    limit_us: float

    @property
    def gflops(self) -> float:
        """Attained 10^9 floating point operations a second; a multiply-add counts as two."""
        return 2e-3 * self.macs / self.p50_us if self.p50_us else 0.0

    @property
    def of_limit(self) -> float | None:
        """Time as a multiple of the limit; None where nothing is computed or moved."""
        return self.p50_us / self.limit_us if self.limit_us else None

    def to_dict(self) -> dict[str, Any]:
        """All fields and both rates as JSON values."""
        return {**asdict(self), "gflops": self.gflops, "of_limit": self.of_limit}


@dataclass(frozen=True)
class Profile:
    """A network's time, by block and by operator.

    Attributes:
        file: as it was named.
        total: of all operators.
        blocks, operators: in the order in which they run.
        machine: the measured limits of this machine.
        left_macs: multiply-adds of layers that match no running operator.
        cv: standard deviation over mean of the counted runs' total times.
    """

    file: str
    total: Part
    blocks: tuple[Part, ...]
    operators: tuple[Part, ...]
    machine: Machine
    left_macs: int
    cv: float

    @property
    def stable(self) -> bool:
        """Whether the runs varied by at most 5 %."""
        return is_stable(self.cv)

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON values."""
        parts = {key: [part.to_dict() for part in getattr(self, key)] for key in ("blocks", "operators")}
        return {"file": self.file, **self.total.to_dict(), **parts, "machine": self.machine.to_dict(),
                "left_macs": self.left_macs, "cv": self.cv, "stable": self.stable}  # fmt: skip


def profile(
    path: Path, machine: Machine, runs: int = _RUNS, label: str | None = None, shapes: Sequence[str] = ()
) -> Profile:
    """Profile a file on ONNX Runtime with one image and as many threads as the machine was measured with.

    Args:
        path: path of the ONNX file.
        machine: limits from :func:`scarlet_zoo.measurement.roofline.measure_machine`.
        runs: number of runs that count, after the warmup.
        label: name of the file in the profile; its path when left out.
        shapes: shapes of inputs with dynamic sides, as for :class:`scarlet_zoo.latency.Settings`.

    Raises:
        ArtifactError: the file is not an ONNX file, or has no operator that takes time.
        MeasurementError: the runtime does not load or run the file, or a dynamic side is not given.
    """
    model = open_graph(path)
    events, cv, fed = _events(path, Settings(threads=machine.threads, shapes=tuple(shapes)), runs)
    layers = Layers(model, fed)
    if not events:
        raise ArtifactError(f"{path}: the runtime's profile lists no operators, wanted a network")
    taken = [layers.take(event.name) for event in events]
    weights = [max(event.parameter_bytes, layer.weight_bytes if layer else 0)
               for event, layer in zip(events, taken, strict=True)]  # fmt: skip
    footprint = sum(weights) + max(event.activation_bytes for event in events)
    operators, block = [], "stem"
    for event, layer, weight_bytes in zip(events, taken, weights, strict=True):
        block, macs = block_of(event.name, block), layer.macs if layer else 0
        least = 1e3 * machine.limit_ms(macs, weight_bytes, event.activation_bytes, footprint)
        operators.append(Part(event.name, event.kind, block, event.p50_us, macs, weight_bytes,
                              event.activation_bytes, least))  # fmt: skip
    tokens = tokens_of(read_artifact(path).arch)
    names = dict.fromkeys(part.block for part in operators)
    blocks = [_sum(name, tokens.get(name, ""), (part for part in operators if part.block == name)) for name in names]
    left = sum(layer.macs for layer in layers.left)
    total = _sum("network", "", operators)
    return Profile(label or str(path), total, tuple(blocks), tuple(operators), machine, left, cv)


def _sum(name: str, kind: str, parts: Iterable[Part]) -> Part:
    rows = list(parts)
    keys = ("p50_us", "macs", "weight_bytes", "activation_bytes", "limit_us")
    return Part(name, kind, name, **{key: sum(getattr(row, key) for row in rows) for key in keys})


def block_of(name: str, before: str) -> str:
    """The block of a running operator; ``before`` is the block of the operator before it."""
    if not name.startswith("/"):
        return before  # the runtime added this operator; it has no module
    places = [place for place in name.split("/")[1 : 1 + _DEEPEST] if _PLACE.match(place)]
    return places[-1] if places else "stem" if before == "stem" else "head"


def tokens_of(arch: Arch | None) -> dict[str, str]:
    """Tokens of an architecture by the name of each one's module; skipped layers have no module."""
    if arch is None:
        return {}
    layers = {name: arch.tokens[index] for index, name in block_names(arch, stabilized=False).items()}
    return layers | {f"branches.{plan.name}": f"branch {plan.token}" for plan in arch.branch_plans}


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    kind: str
    p50_us: float
    parameter_bytes: int
    activation_bytes: int


def _events(path: Path, settings: Settings, runs: int) -> tuple[list[_Event], float, dict[str, tuple[int, ...]]]:
    """Each operator's durations over many runs, the variation (cv) of whole runs, and the shapes of the inputs."""
    with tempfile.TemporaryDirectory() as temporary:
        runner = Runner(path, settings, profile_to=Path(temporary) / "profile")
        for _ in range(_WARMUP + runs):
            runner.time_ms()
        profiled = parse_json(Path(runner.session.end_profiling()).read_text(encoding="utf-8"))
    # An operator with a subgraph is left out, because the operators of the subgraph are rows of their own.
    rows = [row for row in profiled if row.get("cat") == "Node" and row["name"].endswith(_KERNEL)
            and row["args"]["op_name"] not in WITH_SUBGRAPHS]  # fmt: skip
    fed = {name: value.shape for name, value in runner.feeds.items()}
    each = len(rows) // (_WARMUP + runs)
    events = [_event(rows[place + _WARMUP * each :: each]) for place in range(each)]
    # (runs, operators), in microseconds
    durations = np.array([row["dur"] for row in rows[_WARMUP * each : (_WARMUP + runs) * each]]).reshape(runs, each)
    return events, float(statistics(durations.sum(axis=1).tolist())["cv"]) if each else 0.0, fed


def _event(rows: list[Mapping[str, Any]]) -> _Event:
    first, arguments = rows[0], rows[0]["args"]
    moved = int(arguments.get("activation_size") or 0) + int(arguments.get("output_size") or 0)
    return _Event(
        first["name"].removesuffix(_KERNEL),
        arguments["op_name"],
        # Whole microseconds, so the mean of the middle half is finer than the median.
        float(np.mean(np.sort([row["dur"] for row in rows])[len(rows) // 4 : -(len(rows) // 4) or None])),
        int(arguments.get("parameter_size") or 0),
        moved,
    )
