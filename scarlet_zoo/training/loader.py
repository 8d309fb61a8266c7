"""Load batches, here or in processes of their own, so that an error there is an error here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader

from scarlet_zoo.data.batches import Batch, Batches, Views
from scarlet_zoo.errors import ScarletError

Loaded = tuple[tuple[Tensor, ...], Tensor]


def batches_of(views: Views, batches: Batches, workers: int) -> Iterator[Loaded]:
    """Yield the views and targets of each batch, loaded by so many processes, or in this one.

    Raises:
        ScarletError: an image cannot be read.
    """
    loader: Any = DataLoader(cast(Any, _ErrorsAsValues(views)), batch_sampler=cast(Any, batches), num_workers=workers,
                             collate_fn=_as_it_is)  # fmt: skip
    for batch in loader:
        if isinstance(batch, ScarletError):
            raise batch
        yield batch


class _ErrorsAsValues:
    """Batches, or the error in place of one: the loader would put a process's traceback into the error's message."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def __len__(self) -> int:
        return len(self._views)

    def __getitems__(self, batch: Batch) -> Loaded | ScarletError:
        try:
            return self._views.__getitems__(batch)
        except ScarletError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    """Return the batch unchanged: the split has collated it already."""
    return batch
