"""What authors publish of networks that are measured side by side."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

_FILE = Path(__file__).parent / "peers.toml"


class PublishedPeer(BaseModel):
    """One network.

    Attributes:
        name: timm's.
        top1: ImageNet accuracy in percent as published, not measured by us.
        source: where the number stands.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    top1: Annotated[FiniteFloat, Field(gt=0, lt=100)]
    source: str


@cache
def published_peers() -> tuple[PublishedPeer, ...]:
    """All of ``peers.toml``, in its order."""
    rows = tomllib.loads(_FILE.read_text(encoding="utf-8"))["network"]
    return tuple(TypeAdapter(list[PublishedPeer]).validate_python(rows))
