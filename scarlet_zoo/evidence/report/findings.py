"""The findings behind the papers: sections from ``findings.json``, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from statistics import fmean, stdev
from typing import Any

from scarlet_zoo.evidence.report.findings_drawings import alike, shifts, stability, updates
from scarlet_zoo.evidence.report.ranking import tau_text
from scarlet_zoo.evidence.report.structure import Section, Table

Row = Mapping[str, Any]
# A supernet with less than this times the accuracy of guessing has learned nothing.
_LEARNED = 1.5


def findings_sections(found: Row, rank: Row) -> list[Section]:
    """What goes on inside supernets, and what it does to ranking.

    Args:
        found: contents of ``findings.json``.
        rank: contents of ``rank.json``.
    """
    rows = found["inside"]
    base = {row["asked"]["skip"]: row for row in _learned(rows) if row["asked"]["name"] == "base"}
    return [
        Section("What a stabilizer does to a supernet",
                (*steadiness_words(rows), *outlier_words(_learned(rows)), *place_words(base), *ranking_words(rank)),
                (inside_table(rows),), {"alike": partial(alike, _learned(rows))}),
        Section("What shifts from path to path", tuple(shift_words(base)), (), {"shifts": partial(shifts, base)}),
        Section("Rank stability under Langevin draws", tuple(stability_words(found["stability"])), (),
                {"stability": partial(stability, found["stability"])}),
        Section("Ranking against updates of an architecture", tuple(update_words(found["updates"])), (),
                {"updates": partial(updates, found["updates"])}),
    ]  # fmt: skip


def inside_table(rows: Sequence[Row]) -> Table:
    """A row for each supernet that was looked into; one that has diverged has its name only."""
    header = ("condition", "skip", "cosine, skip to blocks", "block to block", "norm, skip / blocks", "loss",
              "its deviation", "one-shot %", "spread")  # fmt: skip
    cells: list[tuple[Any, ...]] = []
    for row in rows:
        name = (row["asked"]["name"], row["asked"]["skip"])
        if "diverged" in row:
            cells.append((*name, *(None,) * 7))
            continue
        similar = [fmean(layer[key] for layer in row["layers"]) for key in ("skip", "blocks", "skip_norm")]
        cells.append((*name, *similar, row["loss"], row["loss_deviation"], fmean(row["one_shot"]),
                      stdev(row["one_shot"])))  # fmt: skip
    where = ("means over the layers that may be skipped, 8 paths and 500 held-out pictures; one-shot of 32 random "
             "paths; a row without numbers: the loss was no longer a number")  # fmt: skip
    return Table("Inside supernets", header, (0, 0, 3, 3, 2, 3, 3, 1, 2), tuple(cells), where)


def steadiness_words(rows: Sequence[Row]) -> list[str]:
    """What each kind of skip does to the training: who fails, and how much the loss jumps where none fails."""
    by_skip: dict[str, list[Row]] = {}
    for row in rows:
        by_skip.setdefault(row["asked"]["skip"], []).append(row)
    good = {skip: {row["asked"]["name"]: row for row in _learned(same)} for skip, same in by_skip.items()}
    failed = {skip: [row["asked"]["name"] for row in same if row["asked"]["name"] not in good[skip]]
              for skip, same in by_skip.items()}  # fmt: skip
    told = [f"{skip} {len(names)}" + (f" ({', '.join(names)})" if names else "") for skip, names in failed.items()]
    shared = set.intersection(*map(set, good.values()))
    words = [f"Trainings without clipping that diverged or ended near chance, of {len(rows) // len(by_skip)}: "
             f"{'; '.join(told)}."]  # fmt: skip
    if shared:
        means = [f"{skip} {_trained_text([named[name] for name in shared])}" for skip, named in good.items()]
        words.append(f"Over the {len(shared)} conditions in which all have learned: {'; '.join(means)}.")
    return words


def _trained_text(rows: Sequence[Row]) -> str:
    loss, jumps = (fmean(row[key] for row in rows) for key in ("loss", "loss_deviation"))
    accuracy, spread = (fmean(how(row["one_shot"]) for row in rows) for how in (fmean, stdev))
    return (f"loss {loss:.3f}, jumping by {jumps:.3f} from step to step, one-shot {accuracy:.1f} % "
            f"with a spread of {spread:.2f}")  # fmt: skip


def outlier_words(rows: Sequence[Row]) -> list[str]:
    """Whether the skip is the outlier, and in which conditions."""
    words = []
    for skip, same in groupby(sorted(rows, key=lambda row: row["asked"]["skip"]), lambda row: row["asked"]["skip"]):
        told = [(row["asked"]["name"], *(fmean(layer[key] for layer in row["layers"]) for key in ("skip", "blocks")))
                for row in same]  # fmt: skip
        outlying = [name for name, own, others in told if own < others]
        own, others = (fmean(values) for values in list(zip(*told, strict=True))[1:])
        words.append(f"{skip}: the skip is as alike to the blocks as {own:.2f}, they to each other as {others:.2f} "
                     f"(means over conditions); it is the odd one out in {len(outlying)} of {len(told)} conditions"
                     f"{': ' + ', '.join(outlying) if 0 < len(outlying) < len(told) else ''}.")  # fmt: skip
    return words


def place_words(base: Mapping[str, Row]) -> list[str]:
    """Where the skip sits: the same by layer, in the base."""
    return [f"By place, {skip} in the base: " + ", ".join(
            f"layer {layer['layer'] + 1} {layer['skip']:.2f} (blocks {layer['blocks']:.2f})" for layer in row["layers"])
            + "." for skip, row in base.items()]  # fmt: skip


def ranking_words(rank: Row) -> list[str]:
    """Ranking and one-shot spread of a strategy that was judged with several skips."""
    by_strategy: dict[str, list[Row]] = {}
    for row in rank["rows"]:
        by_strategy.setdefault(row["strategy"], []).append(row)
    return ["Ranking and one-shot spread of the same training: "
            + "; ".join(f"{tau_text(row)}, spread {row['spread']:.2f} points" for row in kinds) + "."
            for strategy, kinds in by_strategy.items() if strategy and len(kinds) > 1]  # fmt: skip


def shift_words(base: Mapping[str, Row]) -> list[str]:
    """The two shifts of Pi-NAS by kind of skip, first layer that can differ and last."""
    return [f"{skip}: 1 - cosine of what two paths feed a layer is {row['feature_shift'][1]:.2f} at the second and "
            f"{row['feature_shift'][-1]:.2f} at the last; of the gradients that two paths give the same block it is "
            f"{row['parameter_shift'][0]:.2f} in the first and {row['parameter_shift'][-1]:.2f} in the last."
            for skip, row in base.items()]  # fmt: skip


def stability_words(rows: Sequence[Row]) -> list[str]:
    """How well draws agree, with the posterior's noise and without."""
    words = []
    for heat in sorted({row["asked"]["temperature"] for row in rows}):
        same = [row["stability"] for row in rows if row["asked"]["temperature"] == heat]
        one, most = ([fmean(own[at][key] for own in same) for key in ("each_other", "truth")] for at in (0, -1))
        words.append(f"Temperature {heat:g}: two single draws agree with tau-b {one[0]:.3f}, two means of "
                     f"{same[0][-1]['averaged']} with {most[0]:.3f}; a single one ranks with {one[1]:.3f}, a mean with "
                     f"{most[1]:.3f}.")  # fmt: skip
    return words


def update_words(rows: Sequence[Row]) -> list[str]:
    """What updates for each architecture do to the ranking at the same cost."""
    told = []
    for size in dict.fromkeys(row["asked"]["size"] for row in rows):
        same = [row for row in rows if row["asked"]["size"] == size]
        pool = f"{size} architectures" if size else "the whole space"
        told.append(f"{pool} ({same[0]['updates']:.2g} updates each): tau-b {fmean(row['tau'] for row in same):.3f}, "
                    f"one-shot {fmean(row['accuracy'] for row in same):.1f} %")  # fmt: skip
    return [f"At the same number of steps, paths drawn from {'; '.join(told)}."]


def _learned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "diverged" not in row and fmean(row["one_shot"]) > _LEARNED * row["chance"]]
