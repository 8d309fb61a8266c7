"""How the architectures of a search are scored: by which data, weights, strategy and latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.arch.space_files import find_space
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.weights.checkpoint import read_metadata
from scarlet_zoo.nas.search.evaluator import Evaluation


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the architectures of a search are scored.

    Attributes:
        data: data set that accuracy is measured on; the one that the supernet was trained on when None.
        data_dir: folder of that data; it is downloaded there if needed.
        held_out: number of validation images split off the training images; as for the supernet when None.
        validation: number of validation images that are used; all when None.
        calibration: number of training images that batch norm statistics are computed from.
        threads: intra-op threads of ONNX Runtime, for latency, and threads of torch.
        lut: file of a latency table that predicts latency; latency is measured here when None.
        strategy: name of the strategy that scores; the one that trained the supernet when None.
        validation_data: folder of one's own validation images; the one that the supernet was trained with when None.
    """

    data: str | None = None
    data_dir: Path | None = None
    held_out: int | None = None
    validation: int | None = None
    calibration: int = 2000
    threads: int = 1
    lut: Path | None = None
    strategy: str | None = None
    validation_data: Path | None = None

    def evaluation(
        self, supernet: Path | None, space: str | SearchSpace | None, metrics: tuple[str, ...]
    ) -> Evaluation:
        """Create the evaluation of architectures of a supernet, or of a space alone.

        Args:
            supernet: file of the supernet, or None.
            space: the space, or its name or file; the supernet's own when None.
            metrics: names of the metrics to evaluate.

        Raises:
            TrainingError: neither a supernet nor a space is given, the file is no supernet, or the supernet is of
                another space.
        """
        described = read_metadata(supernet) if supernet is not None else {}
        if supernet is not None and "space" not in described:
            raise TrainingError(
                f"{supernet}: not a supernet, wanted the supernet.safetensors that supernet train writes"
            )
        if not described and space is None:
            raise TrainingError("search: got neither --supernet nor --space, wanted one of them")
        searched = _space_of(supernet, space, described)
        own = str(self.validation_data) if self.validation_data is not None else described.get("validation_data")
        held = self.held_out or (int(described["validation"]) if "validation" in described and own is None else None)
        name = self.data or described.get("data")
        data = (name, self.data_dir, held) if name else None
        return Evaluation(searched, metrics, supernet, data, self.calibration, self.validation, self.threads,
                          lut=self.lut, strategy=self.strategy, validation_data=own)  # fmt: skip


def _space_of(supernet: Path | None, space: str | SearchSpace | None, described: Mapping[str, str]) -> SearchSpace:
    asked = space if space is None or isinstance(space, SearchSpace) else find_space(space)
    if not described:
        assert asked is not None
        return asked
    whole = SearchSpace.from_json(described["space"])
    if asked is None:
        return whole
    asked = replace(asked, num_classes=whole.num_classes)
    if asked not in (whole, whole.chain):
        raise TrainingError(f"{supernet}: got a supernet of the space {whole.name!r}, wanted one of {asked.name!r}")
    return asked


def habits_of(strategy: str | None, supernet: Path | None) -> tuple[str, str]:
    """Return the metric that a strategy scores by, and its search method.

    Args:
        strategy: name of the strategy; the one that trained the supernet when None.
        supernet: file of the supernet, or None.

    Raises:
        UnknownNameError: there is no such strategy.
    """
    name = strategy or (read_metadata(supernet).get("strategy") if supernet is not None else None)
    if name is None:
        return "accuracy", "nsga2"
    from scarlet_zoo.nas.strategies.registry import find_strategy

    kind = find_strategy(name)
    return kind.metric, kind.method
