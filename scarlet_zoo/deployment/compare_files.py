"""Compare two ONNX files of any exporter that should compute the same, with inputs and outputs of any number and shape.

Both run on the same inputs in the same batches, so that an output may depend on its batch or have no axis of one. How
much they may differ is measured: the source runs also without the runtime's optimiser, and on inputs that are moved by
less than anyone could notice. An output behind a saturating operator hides faults, so the tensors before it are
compared as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.file_inputs import InputGroup, input_groups, moved
from scarlet_zoo.deployment.judging import Rounding, case_of, rounding_of, spread_of, sqnr_limit, summarise
from scarlet_zoo.deployment.parity import FLOAT32, CaseParity, Parity, ParityError, Tolerance
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.load import open_graph
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.graph.provider import ON_CPU
from scarlet_zoo.graph.quantization.exact import exact_model, warn_if_inexact
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.latency import Provider

Array = NDArray[Any]
Rows = NDArray[np.float64]
# Operators whose output no saturation hides.
_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"}
_MOST_INNER, _INNER_RUNS = 32, 4
# Share of the elements of a whole-number output that may differ, since rounding decides between close candidates.
_DIFFERENT = 1e-3


@of_strange_file("compared")
def compare_files(
    source: Path,
    file: Path,
    *,
    shapes: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    tolerance: Tolerance = FLOAT32,
    shown: Path | None = None,
    inner: bool = True,
    provider: Provider = ON_CPU,
) -> Parity:
    """Compare an ONNX file with the one that it was made from, or with any other that should compute the same.

    Args:
        source: the file that is right.
        file: the file to compare with it.
        shapes: shapes of inputs with dynamic sides, as for :class:`scarlet_zoo.latency.Settings`.
        preprocessing: how images are prepared; as the source says when left out, else as is usual.
        tolerance: the largest differences allowed where the source's own rounding is smaller.
        shown: the path of ``file`` in messages, if it is another one.
        inner: whether tensors of the same name inside both files hold the same, as they do where one was rewritten.
        provider: the execution provider that the file runs on; the source runs on the CPU.

    Raises:
        ParityError: the file differs by more than the tolerance and the source's own rounding.
        ArtifactError: the files have other inputs or outputs, a dynamic side is not given, or the source does not run.
    """
    shown, ours = shown or file, _opened(source)
    fed = ours.shapes(shapes)
    described = preprocessing or read_artifact(source).preprocessing
    models = open_graph(source), open_graph(file)
    pair = _Pair(ours, OnnxFile(source, optimiser=False), _opened(file, provider))
    if ours.sides.keys() != pair.file.sides.keys() or len(ours.outputs) != len(pair.file.outputs):
        got, wanted = (" ".join((*one.sides, "to", *one.outputs)) for one in (pair.file, ours))
        raise ArtifactError(f"{shown}: got {got}, wanted its source's inputs and outputs: {wanted}")
    groups = list(input_groups(ours, fed, described))
    measured = [_measure(pair, group, shown, needed=group is groups[0]) for group in groups]
    unusual = [found for group, found in zip(groups, measured, strict=True) if not group.usual]
    cases = [case for group, found in zip(groups, measured, strict=True)
             for case in _cases(group, found, [found] if group.usual else unusual, tolerance)]  # fmt: skip
    names = _inner(*models, ours.outputs) if inner else []
    if names:
        few, found = _compare_inner(source, file, models, names, groups[0], shown)
        cases += _cases(few, found, [found], tolerance)
    parity = replace(summarise(cases, tolerance), provider=str(provider), provider_nodes=dict(pair.file.provider_nodes))
    if not parity.passed:
        raise ParityError(shown, parity)
    return parity


def _opened(path: Path, provider: Provider = ON_CPU) -> OnnxFile:
    """A file that computes exactly, with a warning where this processor's own kernels do not."""
    if not provider.is_cpu:
        return OnnxFile(path, provider=provider)
    inexact = warn_if_inexact(path)
    return OnnxFile(path, exact_model(open_graph(path)).SerializeToString() if inexact else None)


@dataclass(frozen=True)
class _Pair:
    """The source, the source without the optimiser, and the file to compare with it."""

    source: OnnxFile
    plain: OnnxFile
    file: OnnxFile


@dataclass(frozen=True)
class _Output:
    """One output of both files for one group of inputs, as rows (N, values), one for each image.

    Attributes:
        name: its name in the source.
        whole: whether it holds whole numbers.
        classes: whether its largest value may name a class.
        spread: how much it varies between images; for whole numbers 1.
        rounding: how much the source differs from itself; for whole numbers as the share of elements that differ.
        batches: for each batch size what the file gives and what is right.
    """

    name: str
    whole: bool
    classes: bool
    spread: float
    rounding: Rounding
    batches: dict[int, tuple[Rows, Rows]]


def _measure(pair: _Pair, group: InputGroup, shown: Path, *, needed: bool = True) -> list[_Output]:
    """Run both files on a group of inputs, and the source on those of the first batch size in other ways, too."""
    first = next(iter(group.runs))
    truths = {size: _run(pair.source, runs, needed=size == first) for size, runs in group.runs.items()}
    answers = {size: _run(pair.file, group.runs[size]) for size, found in truths.items() if found}
    move = moved(pair.source)
    others = _run(pair.plain, group.runs[first]), _run(pair.source, [move(feeds) for feeds in group.runs[first]])
    found = []
    for place, name in enumerate(pair.source.outputs):
        both = {size: ([run[place] for run in answers[size]], [run[place] for run in truths[size]]) for size in answers}
        found.append(_output(name, both, [[run[place] for run in other] for other in others], shown, needed=needed))
    return found


def _run(file: OnnxFile, runs: Sequence[Mapping[str, Array]], *, needed: bool = True) -> list[list[Array]]:
    """Outputs of each run; none if a run that is not needed is refused, as a batch that the source does not take."""
    try:
        return [file.run(feeds) for feeds in runs]
    except ArtifactError:
        if needed:
            raise
        return []


def _output(
    name: str,
    answers: Mapping[int, tuple[list[Array], list[Array]]],
    others: Sequence[list[Array]],
    shown: Path,
    *,
    needed: bool,
) -> _Output:
    """One output from its arrays: for each batch size (got, wanted) in each run, and the source's other answers."""
    size, (_, truth) = next(iter(answers.items()))
    varies = any(_shapes(other) != _shapes(truth) for other in others)
    batches = {}
    for batch, (got, wanted) in answers.items():
        if _shapes(got) == _shapes(wanted):
            batches[batch] = _rows(got, batch), _rows(wanted, batch)
        elif not varies:
            # Where rounding decides how many boxes are found, the source's own number varies.
            raise ArtifactError(
                f"{shown}: output {name!r}: got shapes {_shapes(got)}, wanted its source's: {_shapes(wanted)}"
            )
    rows, whole = _rows(truth, size), truth[0].dtype.kind in "iub"
    if rows.size and not np.isfinite(rows).any():
        if not needed:
            # A network may overflow on inputs that are not meant for it; then there is nothing to compare.
            return _Output(name, whole, False, 1.0, Rounding(0.0, float("inf")), {})
        raise ArtifactError(f"{shown}: its source's output {name!r} holds no finite number, wanted some to compare")
    spread = 1.0 if whole else spread_of(rows)
    if varies:
        rounding = Rounding(float("inf"), float("-inf"))
    elif whole:
        share = max(_share(_rows(other, size), rows) for other in others)
        rounding = Rounding(share, _share_db(share))
    else:
        rounding = rounding_of(rows, [_rows(other, size) for other in others], spread)
    return _Output(name, whole, truth[0].ndim == 2 and rows.shape[1] > 1, spread, rounding, batches)


def _shapes(outputs: Sequence[Array]) -> list[tuple[int, ...]]:
    return [output.shape for output in outputs]


def _rows(outputs: Sequence[Array], batch: int) -> Rows:
    """The outputs of several runs as rows: one for each image where the first axis is the batch, else one for each run.

    Outputs whose number of values differs between runs become one row.
    """
    rows = [output.reshape(batch if output.ndim and len(output) == batch else 1, -1) if output.size
            else np.zeros((1, 0)) for output in outputs]  # fmt: skip
    if len({row.shape[1] for row in rows}) > 1:
        rows = [np.concatenate([row.reshape(1, -1) for row in rows], axis=1)]
    return np.concatenate(rows).astype(np.float64)


def _share(got: Rows, truth: Rows) -> float:
    return float(np.mean(got != truth)) if truth.size else 0.0


def _share_db(share: float) -> float:
    return -10 * float(np.log10(share)) if share else float("inf")


def _cases(
    group: InputGroup, outputs: Sequence[_Output], alike: Sequence[Sequence[_Output]], tolerance: Tolerance
) -> Iterator[CaseParity]:
    """Judge the outputs of a group; each may be as uncertain as it is in any of the groups that are ``alike``.

    On inputs unlike those of its training a network may amplify rounding, and one group gives a poor estimate of it.
    """
    least = tolerance.max_rel_err * (1.0 if group.usual else tolerance.unlike_factor)
    for number, output in enumerate(outputs):
        own = max(found[number].rounding.rel_err for found in alike)
        limit = max(_DIFFERENT if output.whole else least, tolerance.rounding_factor * own)
        for batch, (got, truth) in output.batches.items():
            case = f"{group.name}, batch {batch}" + (f", {output.name}" if len(outputs) > 1 else "")
            if output.whole:
                share, worst = _share(got, truth), float(np.abs(got - truth).max(initial=0.0))
                yield CaseParity(case, len(got), worst, share, _share_db(share), 1.0, limit)
                continue
            classes = output.classes and len(outputs) == 1
            least_db = sqnr_limit(tolerance, output.rounding) if group.usual else None
            yield case_of(case, got, truth, output.spread, limit, logits=classes, rounding=output.rounding,
                          min_sqnr_db=least_db)  # fmt: skip


def _inner(source: onnx.ModelProto, file: onnx.ModelProto, outputs: Sequence[str]) -> list[str]:
    """The tensors of both files by one name that linear operators give last before the source's outputs.

    No rewrite changes what a tensor of a name holds. An output that a linear operator gives needs no other tensor.
    """
    makers = {name: node for node in source.graph.node for name in node.output}
    written = {name for node in file.graph.node for name in node.output}
    waiting, seen, found = list(outputs), set(outputs), list[str]()
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None:
            continue
        before = [makers[value].op_type for value in node.input if value in makers]
        linear = node.op_type in _LINEAR or (node.op_type == "Add" and any(kind in _LINEAR for kind in before))
        if linear and name in outputs:
            continue
        if linear and name in written:
            found.append(name)
            continue
        fresh = [value for value in node.input if value not in seen]
        seen.update(fresh)
        waiting += fresh
    return sorted(found)[:_MOST_INNER]


def _compare_inner(
    source: Path, file: Path, models: Sequence[onnx.ModelProto], names: Sequence[str], group: InputGroup, shown: Path
) -> tuple[InputGroup, list[_Output]]:
    """The first few runs of a group, and the tensors of these names for them."""
    ours, plain, theirs = (
        OnnxFile(path, _with_outputs(model, names), optimiser=optimiser)
        for path, model, optimiser in ((source, models[0], True), (source, models[0], False), (file, models[1], True))
    )
    size, runs = next(iter(group.runs.items()))
    few = InputGroup(f"inner tensors on {group.name}", {size: runs[:_INNER_RUNS]}, usual=True)
    return few, [output for output in _measure(_Pair(ours, plain, theirs), few, shown) if output.name in names]


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """A model that also gives the tensors of these names, serialised."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    content: bytes = copy.SerializeToString()
    return content
