"""Find the tensors of a network in the content of a checkpoint, as timm does: averaged weights come first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

# The keys under which training programs write averaged weights (exponential moving averages), and the others. The
# first of timm's names comes first, as in timm.
_AVERAGED = ("state_dict_ema", "model_ema", "model_state_dict_ema", "model_ema_state_dict", "ema_state_dict",
             "ema_model_state_dict", "ema_model", "params_ema", "averaged_model", "ema")  # fmt: skip
_PLAIN = ("state_dict", "model", "model_state", "model_state_dict", "net", "network", "net_state_dict", "params",
          "weights", "module")  # fmt: skip
# Checkpoints nest: a trainer's state in a program's state, a state dict in that.
_DEEPEST = 4


@dataclass(frozen=True)
class Tensors:
    """The tensors that were found in a checkpoint.

    Attributes:
        state: tensors by name, as the file names them.
        taken: what was taken, where a file holds averaged weights; empty where there was nothing to choose.
    """

    state: dict[str, Tensor]
    taken: str = ""


def find_tensors(content: object) -> Tensors | None:
    """Return the tensors in a checkpoint's content, or None if it holds no state dict.

    Args:
        content: what the file holds: a state dict, or dictionaries around one or several.
    """
    return _search(content, "", _DEEPEST)


def _search(content: object, path: str, depth: int) -> Tensors | None:
    if not isinstance(content, Mapping) or not content or depth == 0:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return Tensors({str(key): value for key, value in content.items()})
    unread = ""
    for key in _AVERAGED:
        where = f"{path}{key}"
        found = _search(content.get(key), f"{where}.", depth - 1)
        if found is not None:
            return Tensors(found.state, found.taken or averaged(where))
        if isinstance(content.get(key), (Mapping, list, tuple)) and not unread:
            unread = where
    for key in _PLAIN:
        found = _search(content.get(key), f"{path}{key}.", depth - 1)
        if found is not None:
            note = f"the plain weights {path}{key}, because {unread} holds no state dict" if unread else ""
            return Tensors(found.state, found.taken or note)
    return _bare(content)


def averaged(where: str) -> str:
    """The words that say that averaged weights were taken, and where they stand."""
    return f"the averaged weights {where}"


def _bare(content: Mapping[object, object]) -> Tensors | None:
    """The tensors of a state dict that other values stand beside, such as the version of a module's state."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    named = sum("." in key for key in tensors)
    return Tensors(tensors) if named > len(content) // 2 else None
