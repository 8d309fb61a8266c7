"""ImageNet accuracies that authors publish for the networks that are measured side by side."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.utils.reading import bounded_text, parse_toml

_FILE = Path(__file__).parent / "peers.toml"


class PublishedPeer(BaseModel):
    """One network and its published accuracy.

    Attributes:
        name: timm's name of the network.
        top1: ImageNet top-1 accuracy in percent as published; we have not measured it.
        source: where the number is published.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    top1: Annotated[FiniteFloat, Field(gt=0, lt=100)]
    source: str


@cache
def published_peers() -> tuple[PublishedPeer, ...]:
    """All networks of ``peers.toml``, in its order; figures of our zoo's networks come from the zoo's entries."""
    rows = parse_toml(bounded_text(_FILE))["network"]
    return tuple(TypeAdapter(list[PublishedPeer]).validate_python([{**_of_zoo(row["name"]), **row} for row in rows]))


def _of_zoo(name: str) -> dict[str, Any]:
    figures = ZOO[name].published if name in ZOO else None
    return {"top1": figures.top1_percent, "source": figures.source} if figures is not None else {}
