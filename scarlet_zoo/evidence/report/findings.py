"""Sections on the findings behind the papers, from ``findings.json`` and ``rank.json`` alone."""

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
# A supernet with less than this many times the accuracy of guessing counts as having learned nothing.
_LEARNED = 1.5


def findings_sections(found: Row, rank: Row) -> list[Section]:
    """Create the sections on what happens inside supernets, and how it affects ranking.

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
    """Create the table with a row for each supernet; a supernet that diverged has only its name."""
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
    where = ("means over the layers that may be skipped, 8 paths and 500 validation images; one-shot accuracy of 32 "
             "random paths; in a row without numbers the training diverged")  # fmt: skip
    return Table("Inside supernets", header, (0, 0, 3, 3, 2, 3, 3, 1, 2), tuple(cells), where)


def steadiness_words(rows: Sequence[Row]) -> list[str]:
    """Describe how each kind of skip trains: which trainings fail, and how steady the loss is where none fails."""
    by_skip: dict[str, list[Row]] = {}
    for row in rows:
        by_skip.setdefault(row["asked"]["skip"], []).append(row)
    good = {skip: {row["asked"]["name"]: row for row in _learned(same)} for skip, same in by_skip.items()}
    failed = {skip: [row["asked"]["name"] for row in same if row["asked"]["name"] not in good[skip]]
              for skip, same in by_skip.items()}  # fmt: skip
    failures = [f"{skip} {len(names)}" + (f" ({', '.join(names)})" if names else "") for skip, names in failed.items()]
    shared = set.intersection(*map(set, good.values()))
    words = [f"Trainings without clipping that diverged or ended near chance, of {len(rows) // len(by_skip)}: "
             f"{'; '.join(failures)}."]  # fmt: skip
    if shared:
        means = [f"{skip} {_trained_text([named[name] for name in shared])}" for skip, named in good.items()]
        words.append(f"Means over the {len(shared)} conditions in which all have learned: {'; '.join(means)}.")
    return words


def _trained_text(rows: Sequence[Row]) -> str:
    loss, jumps = (fmean(row[key] for row in rows) for key in ("loss", "loss_deviation"))
    accuracy, spread = (fmean(how(row["one_shot"]) for row in rows) for how in (fmean, stdev))
    return (f"loss {loss:.3f}, with a deviation of {jumps:.3f} from step to step, one-shot accuracy "
            f"{accuracy:.1f} % with a spread of {spread:.2f}")  # fmt: skip


def outlier_words(rows: Sequence[Row]) -> list[str]:
    """Describe whether the skip is the outlier among the choices, and in which conditions."""
    words = []
    for skip, same in groupby(sorted(rows, key=lambda row: row["asked"]["skip"]), lambda row: row["asked"]["skip"]):
        cosines = [(row["asked"]["name"], *(fmean(layer[key] for layer in row["layers"]) for key in ("skip", "blocks")))
                for row in same]  # fmt: skip
        outlying = [name for name, own, others in cosines if own < others]
        own, others = (fmean(values) for values in list(zip(*cosines, strict=True))[1:])
        words.append(f"{skip}: the cosine of the skip to the blocks is {own:.2f}, that of the blocks to each other "
                     f"{others:.2f} (means over conditions); the skip is the outlier in {len(outlying)} of "
                     f"{len(cosines)} conditions"
                     f"{': ' + ', '.join(outlying) if 0 < len(outlying) < len(cosines) else ''}.")  # fmt: skip
    return words


def place_words(base: Mapping[str, Row]) -> list[str]:
    """Describe the cosine of the skip to the blocks by layer, in the base condition."""
    return [f"Cosines by layer, {skip} in the base condition: " + ", ".join(
            f"layer {layer['layer'] + 1} {layer['skip']:.2f} (blocks {layer['blocks']:.2f})" for layer in row["layers"])
            + "." for skip, row in base.items()]  # fmt: skip


def ranking_words(rank: Row) -> list[str]:
    """Describe ranking and one-shot spread of the strategies that were ranked with several kinds of skip."""
    by_strategy: dict[str, list[Row]] = {}
    for row in rank["rows"]:
        by_strategy.setdefault(row["strategy"], []).append(row)
    return ["Ranking and one-shot spread of the same training with different skips: "
            + "; ".join(f"{tau_text(row)}, spread {row['spread']:.2f} points" for row in kinds) + "."
            for strategy, kinds in by_strategy.items() if strategy and len(kinds) > 1]  # fmt: skip


def shift_words(base: Mapping[str, Row]) -> list[str]:
    """Describe the two shifts of Pi-NAS by kind of skip, at the first layer that can differ and at the last."""
    return [f"{skip}: 1 - cosine of the inputs that two paths give a layer is {row['feature_shift'][1]:.2f} at the "
            f"second layer and {row['feature_shift'][-1]:.2f} at the last; 1 - cosine of the gradients that two paths "
            f"give the same block is {row['parameter_shift'][0]:.2f} in the first layer and "
            f"{row['parameter_shift'][-1]:.2f} in the last."
            for skip, row in base.items()]  # fmt: skip


def stability_words(rows: Sequence[Row]) -> list[str]:
    """Describe how well draws of the weights agree and rank, by temperature of the posterior."""
    words = []
    for heat in sorted({row["asked"]["temperature"] for row in rows}):
        same = [row["stability"] for row in rows if row["asked"]["temperature"] == heat]
        one, most = ([fmean(own[at][key] for own in same) for key in ("each_other", "truth")] for at in (0, -1))
        words.append(f"Temperature {heat:g}: the rankings of two single draws agree with tau-b {one[0]:.3f}, those of "
                     f"two means of {same[0][-1]['averaged']} draws with {most[0]:.3f}; against the truth a single "
                     f"draw has tau-b {one[1]:.3f}, a mean {most[1]:.3f}.")  # fmt: skip
    return words


def update_words(rows: Sequence[Row]) -> list[str]:
    """Describe how the number of updates of each architecture affects the ranking, at the same cost."""
    pools = []
    for size in dict.fromkeys(row["asked"]["size"] for row in rows):
        same = [row for row in rows if row["asked"]["size"] == size]
        pool = f"{size} architectures" if size else "the whole space"
        pools.append(f"{pool} ({same[0]['updates']:.2g} updates each): tau-b {fmean(row['tau'] for row in same):.3f}, "
                    f"one-shot {fmean(row['accuracy'] for row in same):.1f} %")  # fmt: skip
    return [f"At the same number of steps, paths drawn from {'; '.join(pools)}."]


def _learned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "diverged" not in row and fmean(row["one_shot"]) > _LEARNED * row["chance"]]
