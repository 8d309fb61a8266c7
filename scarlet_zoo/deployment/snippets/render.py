"""Fill a language's template with a file's metadata, to get a snippet that loads the file in an app."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import onnx

from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.stated import stated_labels
from scarlet_zoo.deployment.runtimes.registry import runtime_of
from scarlet_zoo.deployment.runtimes.runner import read_description
from scarlet_zoo.deployment.snippets.literals import comment, literal
from scarlet_zoo.errors import ArtifactError, ScarletError
from scarlet_zoo.graph.artifact import Artifact, read_artifact
from scarlet_zoo.graph.load import read_onnx
from scarlet_zoo.graph.strange import of_strange_file

_NHWC = "NHWC uint8"


@dataclass(frozen=True, slots=True)
class Language:
    """A programming language that snippets are written in.

    Attributes:
        template: name of its template in this package, for ONNX Runtime.
        executed: whether this project's tests run the snippet on a photograph with ONNX Runtime.
        suffix: suffix of a float32 literal.
        sine: name of its sine function; empty where the snippet uses the platform's own resize.
        others: names of its templates for other runtimes, by the runtime.
    """

    template: str
    executed: bool
    suffix: str = ""
    sine: str = ""
    others: Mapping[str, str] = field(default_factory=dict)


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "kotlin": Language("kotlin.kt.txt", executed=False, suffix="f", others={"litert": "litert.kt.txt"}),
        "swift": Language("swift.swift.txt", executed=False, others={"coreml": "coreml.swift.txt"}),
        "cpp": Language("cpp.cpp.txt", executed=False, suffix="f", sine="std::sin"),
        "js": Language("js.mjs.txt", executed=True, sine="Math.sin"),
        "python": Language("python.py.txt", executed=True),
    }
)
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
_KERNELS = {
    "bilinear": "x < 1 ? 1 - x : 0",
    "bicubic": "x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0",
    "lanczos": "x < 1e-9 ? 1 : x < 3 ? 3 * {sine}({pi} * x) * {sine}({pi} * x / 3) / ({pi} * {pi} * x * x) : 0",
}
_MARKS = re.compile(r"@([A-Z_]+)@")
_CONDITION = re.compile(r"@(\w+) ")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a snippet says of a file."""

    path: Path
    weights: str
    preprocessing: Preprocessing
    labels: Sequence[str]


def snippet_of_file(path: Path, lang: str) -> str:
    """The source text of a program that loads a file of any runtime, as :func:`snippet`.

    Raises:
        ArtifactError: as for :func:`snippet`; or the file lacks the description that belongs beside it.
        ScarletError: as for :func:`snippet`; or the language has no template for the file's runtime.
    """
    runtime = runtime_of(path)
    if runtime is None:
        return snippet(read_artifact(path), lang)
    language = _language(lang)
    if runtime not in language.others:
        known = [name for name, one in LANGUAGES.items() if runtime in one.others]
        wanted = f"--lang {' or '.join(known)}" if known else "a file of ort, litert or coreml"
        raise ScarletError(f"{path}: got no {lang} snippet for {runtime}, wanted {wanted}")
    described = read_description(path)
    feed = _usable(path, described.preprocessing)
    if described.shape != (1, 3, *feed.size) or list(described.outputs) != ["logits"]:
        got = f"{described.shape} to {' '.join(described.outputs)}"
        raise ArtifactError(f"{path}: takes {got}, wanted a classifier of one image: {(1, 3, *feed.size)} to logits")
    metadata = described.metadata
    facts = _Facts(path, metadata.get("weights", "unknown"), feed, stated_labels(metadata, path) or ())
    return _filled(language.others[runtime], facts, lang, uint8=False)


@of_strange_file("described")
def snippet(artifact: Artifact, lang: str) -> str:
    """The source text of a program that loads an ONNX file, prepares one image and names its five likeliest labels.

    Args:
        artifact: a classifier that describes its preprocessing.
        lang: one of :data:`LANGUAGES`.

    Raises:
        ArtifactError: the file is not a classifier of RGB images, or does not describe its preprocessing.
        ScarletError: no such language, or its template has no resize with the file's interpolation.
    """
    language = _language(lang)
    preprocessing = _preprocessing(artifact)
    if language.sine and preprocessing.interpolation not in _KERNELS:
        raise ScarletError(
            f"{artifact.path}: interpolation: got no {preprocessing.interpolation} resize for {lang}, "
            f"wanted {' '.join(_KERNELS)}"
        )
    uint8 = artifact.metadata.get("input_layout") == _NHWC
    _check_graph(artifact, preprocessing, uint8)
    facts = _Facts(artifact.path, artifact.weights, preprocessing, _labels(artifact))
    return _filled(language.template, facts, lang, uint8=uint8)


def _language(lang: str) -> Language:
    if lang not in LANGUAGES:
        raise ScarletError(f"language {lang!r}: unknown, wanted one of {' '.join(LANGUAGES)}")
    return LANGUAGES[lang]


def _filled(name: str, facts: _Facts, lang: str, *, uint8: bool) -> str:
    """A template with the facts of a file in it."""
    height, width = facts.preprocessing.size
    flags = {
        "uint8" if uint8 else "float",
        "square" if height == width else "oblong",
        *({"random"} if facts.weights.startswith("random") else ()),
    }
    values = _values(facts, lang)
    template = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    # In one pass, so that a mark in the file's metadata is not replaced.
    return _MARKS.sub(lambda mark: values[mark[1]], _select(template, flags))


def _select(template: str, flags: set[str]) -> str:
    """Select a template's lines: those without a condition, and those whose condition is one of the flags."""
    selected = []
    for line in template.splitlines(keepends=True):
        condition = _CONDITION.match(line)
        if condition is None:
            selected.append(line)
        elif condition[1] in flags:
            selected.append(line[condition.end() :])
    return "".join(selected)


def _values(facts: _Facts, lang: str) -> dict[str, str]:
    """The text that replaces each mark of a template."""
    language, preprocessing = LANGUAGES[lang], facts.preprocessing
    name = facts.path.name
    resized = [math.floor(side / preprocessing.crop) for side in preprocessing.size]
    kernel = _KERNELS.get(preprocessing.interpolation, "")
    return {
        "FILE": literal(name, lang),
        "STEM": literal(facts.path.stem, lang),
        "FILE_TEXT": comment(name),
        "WEIGHTS_TEXT": comment(facts.weights),
        "HEIGHT": str(preprocessing.size[0]),
        "WIDTH": str(preprocessing.size[1]),
        "SHORT": str(resized[0]),
        "RESIZED_HEIGHT": str(resized[0]),
        "RESIZED_WIDTH": str(resized[1]),
        "MEAN": ", ".join(f"{value!r}{language.suffix}" for value in preprocessing.mean),
        "STD": ", ".join(f"{value!r}{language.suffix}" for value in preprocessing.std),
        "INTERPOLATION": preprocessing.interpolation,
        "FILTER": preprocessing.interpolation.upper(),
        "REACH": str(_REACH.get(preprocessing.interpolation, "")),
        "KERNEL": kernel.format(sine=language.sine, pi=repr(math.pi)),
        "LABELS": ", ".join(literal(label, lang) for label in facts.labels),
    }


def _preprocessing(artifact: Artifact) -> Preprocessing:
    described = artifact.preprocessing
    if described is None:
        raise ArtifactError(f"{artifact.path}: does not describe its preprocessing, wanted a file that export wrote")
    return _usable(artifact.path, described)


def _usable(path: Path, described: Preprocessing) -> Preprocessing:
    """The preprocessing of a file, where a template can be filled with it."""
    if described.channels != 3:
        raise ArtifactError(f"{path}: takes {described.channels} channels, wanted 3, a network for RGB images")
    numbers = (*described.mean, *described.std, max(described.size) / described.crop)
    if not all(map(math.isfinite, numbers)) or not all(described.std) or min(described.size) < 1:
        raise ArtifactError(f"{path}: preprocessing: got {described.to_json()}, wanted usable numbers")
    return described


def _labels(artifact: Artifact) -> list[str]:
    """The file's labels; an empty list if it has none."""
    try:
        labels = artifact.labels or []
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{artifact.path}: labels: got no JSON list ({error}), wanted one") from error
    return [str(label) for label in labels]


def _check_graph(artifact: Artifact, preprocessing: Preprocessing, uint8: bool) -> None:
    """Refuse a file whose input or output is not what the templates are written for."""
    graph = read_onnx(artifact.path).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    if [value.name for value in inputs] != ["input"] or outputs != ["logits"]:
        names = " ".join(value.name for value in inputs), " ".join(outputs)
        raise ArtifactError(
            f"{artifact.path}: takes {names[0]!r} and gives {names[1]!r}, wanted a classifier: 'input' to 'logits'"
        )
    tensor = inputs[0].type.tensor_type
    wanted = onnx.TensorProto.UINT8 if uint8 else onnx.TensorProto.FLOAT
    if tensor.elem_type != wanted:
        got = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ArtifactError(f"{artifact.path}: takes {got}, wanted {onnx.TensorProto.DataType.Name(wanted)}")
    # A dynamic dimension fits every size.
    height, width = preprocessing.size
    shape = (1, height, width, 3) if uint8 else (1, 3, height, width)
    got_shape = tuple(dim.dim_value or size for dim, size in zip(tensor.shape.dim, shape, strict=False))
    if got_shape != shape:
        raise ArtifactError(
            f"{artifact.path}: takes {got_shape}, wanted {shape}, one image as its metadata describe it"
        )
