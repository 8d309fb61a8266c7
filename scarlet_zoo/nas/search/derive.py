"""Choose networks from the front of a search and write their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.data.held_out import stated_training
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.weights.checkpoint import read_metadata, save_state
from scarlet_zoo.nas.search.front import Front, choose_from, load_front
from scarlet_zoo.nas.search.objectives import Limit, Values
from scarlet_zoo.nas.search.scoring import Scoring
from scarlet_zoo.utils.files import file_sha256, json_text, write_text
from scarlet_zoo.utils.names import check_file_name, folded
from scarlet_zoo.utils.ownership import own_folder, with_locks

ARCHS_FILE = "archs.json"


@dataclass(frozen=True, kw_only=True)
class DerivedNetwork:
    """A network that was chosen from a front.

    Attributes:
        name: name of its file, without the suffix.
        arch: its architecture.
        values: its metrics, as the search found them.
        path, sha256: file of its weights, copied from the supernet, and the file's digest; None without a supernet.
    """

    name: str
    arch: Arch
    values: Values
    path: Path | None = None
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``archs.json``: ``name arch values``, and ``path sha256`` where there are weights."""
        row: dict[str, Any] = {"name": self.name, "arch": str(self.arch), "values": dict(self.values)}
        return row if self.path is None else {**row, "path": str(self.path), "sha256": self.sha256}


@with_locks
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
    """Choose architectures from a front and write ``archs.json`` and, given a supernet, the weights of each.

    Args:
        front: front of a search, or the path of its ``front.json``.
        out: folder to write into.
        choose: positions on the front from 0 (``0,4,7``), ``spread:N`` for N evenly along it, or ``best:METRIC``.
        limits: further limits that the chosen networks must satisfy, such as ``macs<=5e6``.
        supernet: file of the supernet whose weights the networks get, each with batch norm statistics of its own.
        names: names of the files, one for each network; by default the registered name of the architecture, or the
            space's name with a digest.
        data: data set for the batch norm statistics; by default the one that was searched on, else the one that the
            supernet was trained on.
        data_dir: folder of that data; it is downloaded there if needed.

    Raises:
        TrainingError: the file is no front, or one of other weights than the supernet's; nothing on it satisfies the
            limits; or the number of names differs from the number of networks, or two are equal.
        ScarletError: a name is none for a file.
        ArchError: the supernet's space has another definition.
    """
    bounds = tuple(Limit.parse(limit) if isinstance(limit, str) else limit for limit in limits)
    found = front if isinstance(front, Front) else load_front(Path(front))
    chosen, folder = choose_from(found.keeping(bounds), choose), Path(out)
    if names is not None and len(names) != len(chosen):
        raise TrainingError(f"names: got {len(names)}, wanted {len(chosen)}, one for each architecture")
    labels = names if names is not None else [safe_name(str(row.arch)) for row in chosen]
    _check_names(labels)
    if supernet is not None:
        found.check_weights(Path(supernet), read_metadata(Path(supernet)).get("sha256"))
    own_folder(folder)
    networks = [DerivedNetwork(name=name, arch=row.arch, values=row.values)
                for name, row in zip(labels, chosen, strict=True)]  # fmt: skip
    if supernet is not None:
        networks = _with_weights(networks, folder, Path(supernet), _scoring_of(found, data, data_dir))
    write_text(folder / ARCHS_FILE, json_text([network.to_dict() for network in networks], indent=1) + "\n")
    return tuple(networks)


def _check_names(names: Sequence[str]) -> None:
    """Refuse names that are no files' names, or that a file system may take for one another."""
    seen: dict[str, str] = {}
    for name in names:
        check_file_name(name, "names")
        if folded(name) in seen:
            raise TrainingError(f"names: got {seen[folded(name)]!r} and {name!r}, wanted names of different files")
        seen[folded(name)] = name


def _scoring_of(front: Front, data: str | None, data_dir: Path | None) -> Scoring:
    """The images for batch norm statistics: none of those that the search has validated on are among them."""
    conditions = front.conditions
    held_out = conditions.get("held_out") if data in (None, conditions.get("data")) else None
    return Scoring(data=data or conditions.get("data"), data_dir=data_dir, held_out=held_out)


def _with_weights(
    networks: Sequence[DerivedNetwork], out: Path, supernet: Path, scoring: Scoring
) -> list[DerivedNetwork]:
    from scarlet_zoo.nas.one_shot import OneShot

    scored = scoring.evaluation(supernet, None, ("accuracy",))
    assert scored.data is not None
    bench = OneShot(supernet, scored.data, validation_data=scored.validation_data)
    described = read_metadata(supernet)
    written = []
    for network in networks:
        path = out / f"{network.name}.safetensors"
        metadata = {"name": network.name, "arch": str(network.arch), "space": network.arch.space.to_json(),
                    "labels": described["labels"], **stated_training(described),
                    "stabilized": str(bench.supernet.skip != "plain"),
                    "supernet_sha256": described["sha256"]}  # fmt: skip
        save_state(bench.network(network.arch).state_dict(), path, metadata)
        written.append(replace(network, path=path, sha256=file_sha256(path)))
    return written
