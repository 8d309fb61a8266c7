"""From a front on disk to the networks that one wants of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.weights.checkpoint import read_metadata, save_state
from scarlet_zoo.nas.search.front import Front, choose_from, read_front
from scarlet_zoo.nas.search.objectives import Limit, Values
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.utils.files import file_sha256, json_text, make_folder, write_text

ARCHS_FILE = "archs.json"


@dataclass(frozen=True, kw_only=True)
class DerivedNetwork:
    """A network that was chosen from a front.

    Attributes:
        name: of its file.
        arch: its architecture.
        values: its metrics, as the search found them.
        path, sha256: of its weights, copied from the supernet; None where no supernet was given.
    """

    name: str
    arch: Arch
    values: Values
    path: Path | None = None
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """An entry of ``archs.json``: ``name arch values``, and ``path`` and ``sha256`` of the weights."""
        row: dict[str, Any] = {"name": self.name, "arch": str(self.arch), "values": dict(self.values)}
        return row if self.path is None else {**row, "path": str(self.path), "sha256": self.sha256}


def derive(
    front: Front | str | Path,
    *,
    out: str | Path,
    choose: str = "spread:3",
    limits: Sequence[Limit | str] = (),
    supernet: str | Path | None = None,
    names: Sequence[str] | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
) -> tuple[DerivedNetwork, ...]:
    """Choose architectures of a front; ``out`` gets ``archs.json`` and, with a supernet, the weights of each.

    Args:
        front: of a search, or its ``front.json``.
        out: folder of the files.
        choose: positions on the front from 0 (``0,4,7``), ``spread:N`` for N evenly along it, or ``best:METRIC``.
        limits: that the chosen ones keep besides, such as ``macs<=5e6``.
        supernet: file of the supernet whose weights the networks get, each with batch norm statistics of its own.
        names: of the files, one a network; the registered name or the space's with a digest when left out.
        data: for batch norm statistics; what the supernet was trained on when left out.
        data_dir: where that data is, or is to be kept.

    Raises:
        TrainingError: no front, nothing on it that keeps the limits, or as many names as there are networks not given.
    """
    kept = tuple(Limit.parse(limit) if isinstance(limit, str) else limit for limit in limits)
    rows = front.keeping(kept) if isinstance(front, Front) else read_front(Path(front), kept)
    chosen, folder = choose_from(rows, choose), Path(out)
    if names is not None and len(names) != len(chosen):
        raise TrainingError(f"names: got {len(names)}, wanted {len(chosen)}, one for each architecture")
    labels = names if names is not None else [safe_name(str(row.arch)) for row in chosen]
    make_folder(folder)
    networks = [DerivedNetwork(name=name, arch=row.arch, values=row.values)
                for name, row in zip(labels, chosen, strict=True)]  # fmt: skip
    if supernet is not None:
        networks = _with_weights(networks, folder, Path(supernet), data, data_dir)
    write_text(folder / ARCHS_FILE, json_text([network.to_dict() for network in networks], indent=1) + "\n")
    return tuple(networks)


def _with_weights(
    networks: Sequence[DerivedNetwork], out: Path, supernet: Path, data: str | None, data_dir: Path | None
) -> list[DerivedNetwork]:
    from scarlet_zoo.nas.one_shot import OneShot

    images = Scoring(data=data, data_dir=data_dir).evaluation(supernet, None, ("accuracy",)).data
    assert images is not None
    bench, described = OneShot(supernet, images), read_metadata(supernet)
    written = []
    for network in networks:
        path = out / f"{network.name}.safetensors"
        metadata = {"name": network.name, "arch": str(network.arch), "space": network.arch.space.to_json(),
                    "labels": described["labels"], "data": described["data"],
                    "stabilized": str(bench.supernet.skip != "plain"),
                    "supernet_sha256": described["sha256"]}  # fmt: skip
        save_state(bench.network(network.arch).state_dict(), path, metadata)
        written.append(replace(network, path=path, sha256=file_sha256(path)))
    return written
