"""Early stopping: which epoch was the best on the validation images, and when it is time to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class BestEpoch:
    """The best epoch so far and its weights; of equally good ones the first.

    Args:
        patience: number of epochs without a better one after which training stops; 0 keeps no weights and never stops.

    Attributes:
        epoch: number of the best epoch, from 1; 0 before the first.
        state: its weights.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.epoch = patience, 0
        self.state: dict[str, Tensor] = {}
        self._top1 = -1.0

    def see(self, top1: Sequence[float], state: Mapping[str, Tensor]) -> None:
        """Take note of an epoch that has ended.

        Args:
            top1: validation accuracies of all epochs so far, in percent.
            state: the weights that the last one was measured with.
        """
        if self.patience and top1[-1] > self._top1:
            self.epoch, self._top1 = len(top1), top1[-1]
            self.state = {key: value.detach().clone() for key, value in state.items()}

    def is_over(self, top1: Sequence[float]) -> bool:
        """Whether so many epochs without a better one have passed that training stops."""
        return bool(self.patience) and len(top1) - self.epoch >= self.patience

    def chosen(self, top1: Sequence[float], last: dict[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
        """Return the number of the epoch whose weights are the result, and these weights.

        Args:
            top1: validation accuracies of all epochs, with a last one that ``max_steps`` cut short.
            last: the last weights.
        """
        if not self.state or max(top1) > self._top1:
            return len(top1), last
        return self.epoch, self.state

    def load(self, content: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint; empty content is a training that has no best epoch yet."""
        if content:
            self.epoch, self._top1, self.state = int(content["epoch"]), float(content["top1"]), dict(content["state"])

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`load` reads."""
        return {"epoch": self.epoch, "top1": self._top1, "state": self.state} if self.state else {}
