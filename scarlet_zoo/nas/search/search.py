"""Run a search in a folder: from a supernet's file, or a space, to its front."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.nas.search.by_predictor import PredictorSettings, search_by_predictor
from scarlet_zoo.nas.search.explore import explore
from scarlet_zoo.nas.search.front import Front
from scarlet_zoo.nas.search.scoring import Scoring, habits_of
from scarlet_zoo.nas.search.settings import Progress, SearchSettings, metrics_of
from scarlet_zoo.nas.search.writing import FRONT_FILE as FRONT_FILE
from scarlet_zoo.nas.search.writing import JOURNAL_FILE, write_front
from scarlet_zoo.utils.ownership import own_folder, with_locks


@with_locks
def search(
    supernet: str | Path | None = None,
    *,
    out: str | Path,
    settings: SearchSettings | None = None,
    scoring: Scoring | None = None,
    space: str | SearchSpace | None = None,
    predictor: PredictorSettings | None = None,
    progress: Progress | None = None,
    stage: Callable[[str], None] | None = None,
) -> Front:
    """Search for architectures and write the front, its plot, and the journal of evaluations.

    The files are ``front.json``, ``front.png``, ``front.svg`` and ``evaluations.jsonl``. The same call continues a
    search that was stopped; no architecture is evaluated twice.

    Args:
        supernet: file of the supernet that accuracy is measured with; for closed-form metrics and latency a space
            suffices.
        out: folder of the search.
        settings: objectives, limits and search method; those of :func:`default_settings` when left out.
        scoring: how architectures are scored; by default a :class:`Scoring` with its defaults.
        space: space to search; by default the supernet's.
        predictor: what the predictor of the method ``predictor`` is made of; the defaults when left out.
        progress: called with (evaluations done, evaluations in all); for ``predictor``, within each part.
        stage: called with the name of each part of the method ``predictor`` when it begins.

    Raises:
        TrainingError: neither a supernet nor a space is given, the supernet is of another space, no architecture
            satisfies the limits, or ``out`` holds another search.
    """
    folder = Path(out)
    source = Path(supernet) if supernet is not None else None
    scoring = scoring or Scoring()
    settings = settings or default_settings(scoring.strategy, source)
    if settings.method == "predictor":
        return search_by_predictor(source, folder, settings, scoring, predictor, space, progress, stage)
    evaluation = scoring.evaluation(source, space, metrics_of(settings.goals, settings.bounds))
    grey = evaluation.tell_grey()
    own_folder(folder)
    result = explore(evaluation, settings, folder / JOURNAL_FILE, progress)
    return write_front(folder, evaluation, settings, result, {"turned_grey": grey})


def default_settings(strategy: str | None, supernet: Path | None, method: str | None = None) -> SearchSettings:
    """Return settings with the metric that a strategy ranks by, against latency, and its own search method.

    A predictor predicts the loss. Else, without a supernet, the most multiply-adds are searched for, since nothing
    tells of accuracy then.
    """
    if method == "predictor":
        return SearchSettings(objectives=("loss", "latency"), method=method)
    if supernet is None:
        return SearchSettings(objectives=("macs:max", "latency"))
    metric, method = habits_of(strategy, supernet)
    return SearchSettings(objectives=(metric, "latency"), method=method)
