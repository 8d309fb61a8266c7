"""Read ONNX files of any origin safely: everything a graph declares is checked before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper

from scarlet_zoo.errors import ArtifactError

_OLDEST_OPSET = 7
_LARGEST_BYTES = 2 * 1024**3 - 1  # largest size of a protobuf message


def open_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with all its tensors, and check that its graph is valid.

    Raises:
        ArtifactError: the file cannot be parsed; its opset is not supported; a tensor does not hold the bytes
            that it declares; external data is missing, truncated or outside the file's folder; the graph is not
            sorted or has a cycle; or the ONNX checker refuses it.
    """
    model = read_onnx(path)
    _check_opsets(model, path)
    tensors = list(_tensors(model.graph))
    for tensor in tensors:
        if external_data_helper.uses_external_data(tensor):
            _check_external(tensor, path)
        else:
            _check_embedded(tensor, path)
    if any(external_data_helper.uses_external_data(tensor) for tensor in tensors):
        onnx.load_external_data_for_model(model, str(path.parent))
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ArtifactError(f"{path}: not a valid ONNX graph: {str(error).strip().splitlines()[0]}") from error
    return model


def _check_opsets(model: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not _OLDEST_OPSET <= entry.version <= newest:
            raise ArtifactError(f"{path}: got opset {entry.version}, wanted {_OLDEST_OPSET} to {newest}")


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yield all constant tensors of a graph and its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)


def _declared_bytes(tensor: TensorProto, path: Path) -> int:
    """Size in bytes that a tensor declares, computed without allocating it."""
    if any(side < 0 for side in tensor.dims):
        raise ArtifactError(
            f"{path}: tensor {tensor.name!r} declares the shape {list(tensor.dims)}, wanted sides of 0 or more"
        )
    try:
        bits = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: tensor {tensor.name!r} has the unknown type {tensor.data_type}") from error
    return int(math.prod(tensor.dims) * bits // 8)


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


def _check_external(tensor: TensorProto, path: Path) -> None:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{path}: tensor {tensor.name!r}"
    location = fields.get("location", "")
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
        raise ArtifactError(f"{where} has its data in {location!r}, wanted a file in the model's own folder")
    if not file.is_file():
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


def check_size(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model that is too large for one ONNX file.

    Raises:
        ArtifactError: the model has 2 GiB or more.
    """
    if model.ByteSize() > _LARGEST_BYTES:
        raise ArtifactError(
            f"{path}: would be {model.ByteSize()} bytes, wanted less than 2 GiB, the limit of one ONNX file"
        )


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, without its external data.

    Raises:
        ArtifactError: the file is missing, a folder, or not an ONNX model.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}, wanted an ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise ArtifactError(f"{path}: not an ONNX file (it cannot be parsed as one)") from error
    if not model.graph.node or not model.opset_import:
        raise ArtifactError(f"{path}: not an ONNX file (it has no graph)")
    return model


def input_shapes(path: Path) -> dict[str, list[int]]:
    """Shape of each input of a file by name, with 1 for dynamic sides."""
    graph = read_onnx(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    return {value.name: [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
            for value in graph.input if value.name not in constants}  # fmt: skip
