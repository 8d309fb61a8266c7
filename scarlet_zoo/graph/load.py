"""Read ONNX files of any origin safely: everything a graph declares is checked before it is used."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
from onnx import TensorProto, external_data_helper, helper

from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.budget import MOST_FILE_BYTES, check_budget
from scarlet_zoo.graph.inferred import subgraphs_of, with_inner
from scarlet_zoo.latency import MeasurementError, reason_of, shapes_of_inputs
from scarlet_zoo.utils.files import is_text, replacing
from scarlet_zoo.utils.names import in_utf8

_OLDEST_OPSET = 7
_LONG_DOMAIN = "ai.onnx"
_FOUR_BITS = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1}
# Files that were found sound, with their time of change and size.
_sound: set[tuple[Path, int, int]] = set()


def open_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with all its tensors, and check that its graph is valid.

    Raises:
        ArtifactError: the file cannot be parsed; its opset is not supported; a tensor does not hold the bytes
            that it declares; external data is missing, truncated or outside the file's folder; the graph is not
            sorted or has a cycle; the ONNX checker refuses it; or it has 2 GiB or more.
    """
    model = read_onnx(path)
    _check_opsets(model, path)
    declared = sum(_declared_bytes(tensor, path) for tensor in _tensors(model))
    if declared > MOST_FILE_BYTES:
        raise ArtifactError(f"{path}: its tensors are {declared:,} bytes, wanted less than 2 GiB, the limit of a file")
    for tensor in _tensors(model):
        if external_data_helper.uses_external_data(tensor):
            _embed(tensor, path)
    check_size(model, path)
    try:
        _complete(model)
        onnx.checker.check_model(model)
    except Exception as error:  # onnx and protobuf raise many kinds
        raise ArtifactError(f"{path}: not a valid ONNX graph: {reason_of(error)}") from error
    return model


def _complete(model: onnx.ModelProto) -> None:
    """Write what runtimes do without: the short name of the standard operators' domain, and the shapes of outputs."""
    for entry in (*model.opset_import, *(entry for function in model.functions for entry in function.opset_import)):
        if entry.domain == _LONG_DOMAIN:
            entry.domain = ""
    for node in nodes_of(model):
        if node.domain == _LONG_DOMAIN:
            node.domain = ""
    lacking = [value for value in model.graph.output
               if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")]  # fmt: skip
    if lacking:
        inferred = {value.name: value.type for value in onnx.shape_inference.infer_shapes(model).graph.output}
        for value in lacking:
            value.type.CopyFrom(inferred[value.name])


def _check_opsets(model: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", _LONG_DOMAIN) and not _OLDEST_OPSET <= entry.version <= newest:
            raise ArtifactError(f"{path}: got opset {entry.version}, wanted {_OLDEST_OPSET} to {newest}")


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes of a model: of its graph, of subgraphs and of functions."""
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from with_inner(nodes)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield all constant tensors of a model, those in subgraphs and functions included."""
    nodes = list(nodes_of(model))
    for graph in (model.graph, *(inner for node in nodes for inner in subgraphs_of(node))):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        yield from attribute.tensors


def _declared_bytes(tensor: TensorProto, path: Path) -> int:
    """Size in bytes that a tensor declares, computed without allocating it."""
    if any(side < 0 for side in tensor.dims):
        raise ArtifactError(
            f"{path}: tensor {tensor.name!r} declares the shape {list(tensor.dims)}, wanted sides of 0 or more"
        )
    try:
        bits = 4 if tensor.data_type in _FOUR_BITS else 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: tensor {tensor.name!r} has the unknown type {tensor.data_type}") from error
    return int((math.prod(tensor.dims) * bits + 7) // 8)


def _check_embedded(tensor: TensorProto, path: Path) -> None:
    declared = _declared_bytes(tensor, path)
    if tensor.HasField("raw_data"):
        actual = len(tensor.raw_data)
    else:
        # Narrow types are packed into wider fields, so their number only shows when far too few are there.
        fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
        count = sum(len(getattr(tensor, field)) for field in fields)
        if count >= math.prod(tensor.dims) // 2:
            return
        actual = count
    # Four-bit types hold two values in each byte.
    if actual not in (declared, (declared + 1) // 2):
        raise ArtifactError(f"{path}: tensor {tensor.name!r} declares {declared} bytes, holds {actual}")


def _embed(tensor: TensorProto, path: Path) -> None:
    """Read a tensor's external data into it, after checks.

    The data must be named by a plain path inside the model's folder. A link that lies there is followed, because
    caches of Hugging Face, DVC and Nix keep a folder of links to the real files.
    """
    fields = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{path}: tensor {tensor.name!r}"
    location = fields.get("location", "")
    file = path.parent / location
    flavours = (PurePosixPath(location), PureWindowsPath(location))
    if not location or any(one.is_absolute() or one.anchor or ".." in one.parts for one in flavours):
        raise ArtifactError(f"{where} has its data in {location!r}, wanted a file in the model's own folder")
    try:
        found = file.is_file()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{where} has its data in {location[:60]!r}, which is no file's name") from error
    if not found:
        raise ArtifactError(f"{where} has its data in {location!r}, which is missing: no such file")
    try:
        offset = int(fields.get("offset", "0"))
        length = int(fields.get("length", str(_declared_bytes(tensor, path))))
    except ValueError as error:
        raise ArtifactError(f"{where} has an offset or a length that is not a whole number") from error
    size = file.stat().st_size
    if offset < 0 or length != _declared_bytes(tensor, path) or offset + length > size:
        raise ArtifactError(
            f"{where} declares {_declared_bytes(tensor, path)} bytes, but its data is {length} bytes from byte "
            f"{offset} of {location!r}, which has {size} bytes"
        )
    with file.open("rb") as data:
        data.seek(offset)
        tensor.raw_data = data.read(length)
    tensor.data_location = TensorProto.DEFAULT
    tensor.ClearField("external_data")


def check_size(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model that is too large for one ONNX file.

    Raises:
        ArtifactError: the model has 2 GiB or more.
    """
    if model.ByteSize() > MOST_FILE_BYTES:
        raise ArtifactError(
            f"{path}: would be {model.ByteSize()} bytes, wanted less than 2 GiB, the limit of one ONNX file"
        )


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, without its external data, and check what its graph asks for.

    Raises:
        ArtifactError: the file is missing, a folder, not an ONNX model, has 2 GiB or more, or asks for more than
            :func:`scarlet_zoo.graph.budget.check_budget` allows.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}, wanted an ONNX file")
    status = path.stat()
    if status.st_size > MOST_FILE_BYTES:
        raise ArtifactError(f"{path}: got {status.st_size:,} bytes, wanted less than 2 GiB, the limit of one ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # by the file's ending onnx parses text and JSON, too, with exceptions of their own
        raise ArtifactError(f"{path}: not an ONNX file (it cannot be parsed as one)") from error
    if not model.graph.node or not model.opset_import:
        raise ArtifactError(f"{path}: not an ONNX file (it has no graph)")
    seen = (path.absolute(), status.st_mtime_ns, status.st_size)
    if seen not in _sound:
        _check_texts(model, path)
        for tensor in _tensors(model):
            if not external_data_helper.uses_external_data(tensor):
                _check_embedded(tensor, path)
        check_budget(model, path)
        _sound.add(seen)
    return model


def _check_texts(message: Any, path: Path) -> None:
    """Check that every name and text of a message is UTF-8; protobuf gives the bytes of others as they are."""
    for field, value in message.ListFields():
        values = [value] if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") else value
        if field.type == field.TYPE_STRING:
            wrong = next((text for text in values if isinstance(text, bytes)), None)
            if wrong is not None:
                raise ArtifactError(f"{path}: a {field.name} is not UTF-8: {wrong[:40]!r}, wanted a text")
        elif field.type == field.TYPE_MESSAGE:
            for inner in values:
                _check_texts(inner, path)


def data_files(path: Path) -> list[Path]:
    """The files beside a model that hold its external data, in order of their names; empty if it holds its own."""
    locations = {entry.value for tensor in _tensors(read_onnx(path))
                 if external_data_helper.uses_external_data(tensor)
                 for entry in tensor.external_data if entry.key == "location"}  # fmt: skip
    return [path.parent / location for location in sorted(locations)]


def behind_links(path: Path) -> bool:
    """Whether a model or its data lie where ONNX Runtime does not read.

    That is behind links out of the model's folder, and under a name that is no text.
    """
    if not is_text(path):
        return True
    allowed = {path.parent.resolve(), path.resolve().parent}
    return any(not any(file.resolve().is_relative_to(folder) for folder in allowed) for file in data_files(path))


def copy_with_data(path: Path, folder: Path) -> Path:
    """Copy a model and its data files into a folder, links as the files behind them, and return the copy's path.

    The copy has the model's name, as far as that is text.

    Raises:
        ArtifactError: a data file is missing, or outside the model's folder.
    """
    open_graph(path)
    for file in (path, *data_files(path)):
        place = folder / file.relative_to(path.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    named = folder / in_utf8(path.name)
    return (folder / path.name).rename(named)


@contextmanager
def loadable(path: Path) -> Iterator[Path]:
    """The path of a model that ONNX Runtime loads: the model itself, or a copy for as long as the ``with`` block."""
    if path.suffix == ".ort" or not behind_links(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as folder:
        yield copy_with_data(path, Path(folder))


def write_whole(source: Path, path: Path) -> None:
    """Write a copy of a model that holds its external data itself.

    Raises:
        ArtifactError: the source is not a valid graph, or its data cannot be read.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(open_graph(source).SerializeToString())


def declared_inputs(model: onnx.ModelProto) -> list[tuple[str, list[int | str | None]]]:
    """Name and sides of each input that is no constant; a dynamic side is its name, or None without one."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [(value.name, [side.dim_value or side.dim_param or None for side in value.type.tensor_type.shape.dim])
            for value in model.graph.input if value.name not in constants]  # fmt: skip


def input_shapes(path: Path, given: Sequence[str] = ()) -> dict[str, list[int]]:
    """Shape of each input of a file by name: fixed sides as they are, a dynamic batch of 1, and what is given.

    Args:
        path: the file.
        given: shapes of inputs with other dynamic sides, as for :class:`scarlet_zoo.latency.Settings`.

    Raises:
        ArtifactError: the file is not an ONNX file, a shape does not fit it, or a dynamic side is not given.
    """
    try:
        shapes = shapes_of_inputs(path, declared_inputs(read_onnx(path)), given)
    except MeasurementError as error:
        raise ArtifactError(str(error)) from error
    return {name: list(shape) for name, shape in shapes.items()}


def with_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy of a model whose inputs of these names have these fixed shapes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for side, length in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            side.dim_value = length
    return copy
