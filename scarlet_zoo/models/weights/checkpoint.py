"""Read and write weights files: safetensors, state dicts, and the released SCARLET checkpoints.

No code from a file is ever executed: pickles are read with ``weights_only=True``.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from scarlet_zoo.errors import CheckpointError
from scarlet_zoo.models.weights.kind import head_of, is_safetensors
from scarlet_zoo.models.weights.pickled import check_parts
from scarlet_zoo.models.weights.unwrap import Tensors, find_tensors
from scarlet_zoo.utils.files import in_text, replacing
from scarlet_zoo.utils.names import in_utf8
from scarlet_zoo.utils.schema_versions import METADATA_KEY, SCHEMAS, refuse_newer

if TYPE_CHECKING:
    from scarlet_zoo.arch.architecture import Arch

_MOST_LETTERS = 500  # of a tensor's name, which errors repeat
# How much larger than the file what it holds may be: half precision may be packed, but not a thousand times.
_LARGER, _HEADROOM = 8, 2**20
# The released modules (left) and timm's (right); inside mb_module the index counts skipped layers.
_RELEASED_MODULES = {
    "stem.0": "conv_stem",
    "stem.1": "bn1",
    "separable_conv.0": "blocks.0.0.conv_dw",
    "separable_conv.1": "blocks.0.0.bn1",
    "separable_conv.3": "blocks.0.0.conv_pw",
    "separable_conv.4": "blocks.0.0.bn2",
    "conv_before_pooling.0": "conv_head",
    "conv_before_pooling.1": "bn2",
    "classifier": "classifier",
}
_RELEASED_BLOCK = {
    "conv1": "conv_pw",
    "bn1": "bn1",
    "conv2": "conv_dw",
    "bn2": "bn2",
    "mid_se.squeeze_conv": "se.conv_reduce",
    "mid_se.excite_conv": "se.conv_expand",
    "conv3": "conv_pwl",
    "bn3": "bn3",
}


def released_module_names(arch: Arch, stabilized: bool = False) -> dict[str, str]:
    """Map the released code's module names to ours, for one architecture.

    A skipped layer keeps its index in the released names (SCARLET-B has no ``mb_module.8``). In our
    names it has a position only if it has a stabilizer.
    """
    names = dict(_RELEASED_MODULES)
    position: dict[int, int] = {}
    for plan in arch.layers:
        place = position.setdefault(plan.stage, 0)
        if plan.choice.is_skip and not stabilized:
            continue
        position[plan.stage] = place + 1
        if not plan.choice.is_skip:
            for theirs, ours in _RELEASED_BLOCK.items():
                names[f"mb_module.{plan.index}.{theirs}"] = f"blocks.{plan.stage + 1}.{place}.{ours}"
    return names


def looks_released(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of the released SCARLET code."""
    return any(key.startswith(("mb_module.", "separable_conv.")) for key in state)


def from_released(state: Mapping[str, Tensor], arch: Arch, path: Path) -> dict[str, Tensor]:
    """Rename the keys of a released state dict to timm's names.

    Args:
        state: the released state dict.
        arch: the architecture that the weights belong to.
        path: path of the weights file, for the error message.

    Raises:
        CheckpointError: the file has a layer that the architecture does not have.
    """
    names = released_module_names(arch)
    renamed = {}
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        if module not in names:
            raise CheckpointError(f"{path}: key {key!r} is not in {arch}, wanted the released weights of that network")
        renamed[f"{names[module]}.{leaf}"] = tensor
    return renamed


def read_tensors(path: Path) -> Tensors:
    """Read the tensors of a weights file in any of the common formats.

    These are safetensors, plain state dicts, and training checkpoints with a state dict in them
    (:func:`scarlet_zoo.models.weights.unwrap.find_tensors`), of which averaged weights are taken where there are any.

    Raises:
        CheckpointError: the file is missing, truncated, not a weights file, or a pickle with code.
    """
    head = head_of(path)
    content = _read_safetensors(path) if is_safetensors(path, head) else _read_pickle(path)
    found = find_tensors(content)
    if found is None:
        raise CheckpointError(f"{path}: got no state dict, wanted tensors by name or a state dict under 'model_state'")
    check_plain(found.state, path)
    return found


def check_plain(state: Mapping[str, Tensor], path: Path) -> None:
    """Check that tensors are dense, real, and not larger than the file that they are from.

    A pickle can describe a tensor of any size whose elements share one place in memory, and tensors without any.

    Raises:
        CheckpointError: one of them is not; the message names it.
    """
    most = _LARGER * path.stat().st_size + _HEADROOM
    for key, tensor in state.items():
        if len(key) > _MOST_LETTERS:
            raise CheckpointError(f"{path}: a tensor's name has {len(key):,} letters, wanted at most {_MOST_LETTERS}")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
            raise CheckpointError(f"{path}: tensor {key!a} is sparse, quantised or without data, wanted others")
        if tensor.is_complex():
            raise CheckpointError(f"{path}: tensor {key!a} is {tensor.dtype}, wanted real numbers")
        if tensor.numel() * tensor.element_size() > most:
            shape = "x".join(map(str, tensor.shape))[:60]
            raise CheckpointError(f"{path}: tensor {key!a} is {shape}, wanted one that fits into the file")


def _read_safetensors(path: Path) -> object:
    try:
        file_metadata(path)
        with _quietly(), in_text(path) as named:
            return safetensors.torch.load_file(named)
    except CheckpointError:
        raise
    except Exception as error:  # the library's exceptions, and torch's for types that it does not know
        raise CheckpointError(f"{path}: broken safetensors file: {_one_line(error)}") from error


def _read_pickle(path: Path) -> object:
    _check_archive(path)
    try:
        with _quietly():
            check_parts(path)
        # timm's training checkpoints hold the command line's arguments as a Namespace, which is safe to load.
        with torch.serialization.safe_globals([argparse.Namespace]), _quietly():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named:
            message = f"{path}: got a pickle that holds code ({named.group(1)}), wanted tensors only"
            raise CheckpointError(message) from error
        raise CheckpointError(f"{path}: not a weights file, wanted a pickle of tensors only") from error
    except Exception as error:  # a damaged pickle gives any exception of what it calls
        raise CheckpointError(f"{path}: truncated or not a weights file: {_one_line(error)}") from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to far more than it is; torch writes its archives without compression."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # zipfile raises many kinds for a damaged directory
        raise CheckpointError(f"{path}: truncated or not a weights file: {_one_line(error)}") from error
    if unpacked > _LARGER * path.stat().st_size + _HEADROOM:
        raise CheckpointError(f"{path}: unpacks to {unpacked:,} bytes, wanted an archive of about its own size")


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _one_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def save_weights(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model's tensors to a safetensors file, atomically, with metadata and a digest of the tensors."""
    arch: Arch | None = getattr(model, "arch", None)
    own = {"arch": str(arch), "space": arch.space.to_json()} if arch is not None else {}
    save_state(model.state_dict(), path, {**metadata, **own})


def save_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors to a safetensors file, atomically, with metadata and a digest of the tensors."""
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    with replacing(path) as temporary:
        described = {"format": "pt", "sha256": state_sha256(plain), **metadata,
                     METADATA_KEY: str(SCHEMAS["weights file"])}  # fmt: skip
        described = {key: in_utf8(value) for key, value in described.items()}
        safetensors.torch.save_file(plain, temporary, metadata=described)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty for other formats and missing files.

    Raises:
        CheckpointError: the file's extension is ``.safetensors``, but it cannot be read as such, or a newer version of
            this package wrote it.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        return file_metadata(path)
    except CheckpointError:
        raise
    except Exception as error:  # SafetensorError, OSError, and torch's own
        raise CheckpointError(f"{path}: broken safetensors file: {_one_line(error)}") from error


def file_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        SafetensorError, OSError: it is no such file, or cannot be read.
        CheckpointError: a newer version of this package wrote it.
    """
    with in_text(path) as named, safe_open(named, framework="pt") as file:
        metadata = dict(file.metadata() or {})
    refuse_newer("weights file", metadata, path, CheckpointError, METADATA_KEY)
    return metadata


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 digest of names, dtypes, shapes and values of a state dict, in order of name."""
    digest = hashlib.sha256()
    for key, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{key} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
