"""Which recipe ranks best, and the findings behind the papers: sections from the records, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from statistics import fmean
from typing import Any

from scarlet_zoo.reporting.ranking_drawings import alike, shifts, stability, taus, updates
from scarlet_zoo.reporting.structure import Section, Table
from scarlet_zoo.strategies import DEFAULT

RANK, FINDINGS = "rank", "findings"
Row = Mapping[str, Any]


def ranking_sections(evidence: Mapping[str, Any]) -> list[Section]:
    """The verdict, and what goes on inside supernets.

    Args:
        evidence: contents of ``rank.json`` and ``findings.json`` by name, as far as they are there.
    """
    rank, found = evidence.get(RANK), evidence.get(FINDINGS)
    if rank is None:
        return []
    first = Section("Which recipe ranks best", tuple(verdict_words(rank)), (verdict_table(rank),),
                    {"taus": partial(taus, rank)})  # fmt: skip
    return [first] if found is None else [first, *_findings(found, rank)]


def _findings(found: Row, rank: Row) -> list[Section]:
    base = {row["asked"]["skip"]: row for row in found["inside"] if row["asked"]["name"] == "base"}
    return [
        Section("What a stabilizer does to a supernet", tuple(stabilizer_words(found["inside"], rank)),
                (inside_table(found["inside"]),), {"alike": partial(alike, found["inside"])}),
        Section("What shifts from path to path", tuple(shift_words(base)), (), {"shifts": partial(shifts, base)}),
        Section("Rank stability under Langevin draws", tuple(stability_words(found["stability"])), (),
                {"stability": partial(stability, found["stability"])}),
        Section("Ranking against updates of an architecture", tuple(update_words(found["updates"])), (),
                {"updates": partial(updates, found["updates"])}),
    ]  # fmt: skip


def verdict_table(rank: Row) -> Table:
    """``rank.json``: a row for each ranker, best first."""
    header = ("ranker", "tau-b", "from", "to", "behind the first", "from", "to", "regret of its ten", "at most",
              "one-shot %", "spread", "k pictures", "core s training", "core s scoring")  # fmt: skip
    rows = []
    for row in rank["rows"]:
        tau, behind, regret = row["tau"], row["behind"] or {}, row["regret"]
        cost = (row[key] for key in ("accuracy", "spread", "images", "train_core_seconds", "score_core_seconds"))
        accuracy, spread, images, *seconds = cost
        rows.append((row["recipe"], tau["value"], tau["low"], tau["high"], behind.get("value"), behind.get("low"),
                     behind.get("high"), regret["value"], regret["high"], accuracy, spread,
                     images / 1e3 if images else None, *seconds))  # fmt: skip
    where = (f"{rank['architectures']} architectures, {rank['truth_seeds']} trainings of each as the truth, "
             f"{len(rank['seeds'])} supernets of each recipe; 95 % bootstrap intervals over architectures and seeds; "
             "regret and spread in points")  # fmt: skip
    return Table("Kendall tau-b against the ground truth", header, (0, 3, 3, 3, 3, 3, 3, 2, 2, 1, 2, 0, 0, 0),
                 tuple(rows), where)  # fmt: skip


def verdict_words(rank: Row) -> list[str]:
    """What the table says: who is first, who cannot be told from it, and what costs nothing."""
    rows = rank["rows"]
    made, free = ([row for row in rows if bool(row["strategy"]) == kind] for kind in (True, False))
    near = [row["recipe"] for row in made if row["behind"] is None or row["behind"]["low"] <= 0]
    ceiling = rank["ceiling"]
    default = next((row for row in made if row["recipe"] == DEFAULT), None)
    words = [
        f"The truth: accuracies spread by {rank['spread']:.2f} points (standard deviation), one training's by "
        f"{rank['seed_noise']:.2f} from seed to seed; one training ranks another with tau-b "
        f"{ceiling['one_another']['value']:.3f}, the mean of the other two with "
        f"{ceiling['mean_of_the_others']['value']:.3f}. A ranker that knew the accuracies to be expected would reach "
        f"about {ceiling['perfect_ranker']['value']:.2f}: a mean of {rank['truth_seeds']} trainings has noise, too.",
        f"First of all: {_tau(rows[0])}. Not told from it at 95 %: {', '.join(near) or 'none of the supernets'}.",
        f"Rankers that cost nothing: {', '.join(map(_tau, free))}.",
    ]
    if default is not None and default is not made[0]:
        gap = "is not told from it" if default["recipe"] in near else "is worse than the first, beyond chance"
        words.append(f"Our default, {_tau(default)}, is number {made.index(default) + 1} of the supernets and {gap}.")
    elif default is not None:
        words.append(f"Our default, {DEFAULT}, is the first of the supernets.")
    return words


def inside_table(rows: Sequence[Row]) -> Table:
    """A row for each supernet that was looked into."""
    header = ("condition", "skip", "cosine, skip to blocks", "block to block", "norm, skip / blocks", "loss",
              "its deviation", "one-shot %", "spread")  # fmt: skip
    cells = []
    for row in rows:
        similar = [fmean(layer[key] for layer in row["layers"]) for key in ("skip", "blocks", "skip_norm")]
        cells.append((row["asked"]["name"], row["asked"]["skip"], *similar, row["loss"], row["loss_deviation"],
                      fmean(row["one_shot"]), _deviation(row["one_shot"])))  # fmt: skip
    where = "means over the layers that may be skipped, 8 paths and 500 held-out pictures; one-shot of 32 random paths"
    return Table("Inside supernets", header, (0, 0, 3, 3, 2, 3, 3, 1, 2), tuple(cells), where)


def stabilizer_words(rows: Sequence[Row], rank: Row) -> list[str]:
    """Whether the skip is the outlier, in which conditions, and what a stabilizer changes."""
    words = []
    for skip, same in groupby(sorted(rows, key=lambda row: row["asked"]["skip"]), lambda row: row["asked"]["skip"]):
        told = [(row["asked"]["name"], *(fmean(layer[key] for layer in row["layers"]) for key in ("skip", "blocks")))
                for row in same]  # fmt: skip
        outlying = [name for name, own, others in told if own < others]
        own, others = (fmean(values) for values in list(zip(*told, strict=True))[1:])
        words.append(f"{skip}: the skip is as alike to the blocks as {own:.2f}, they to each other as {others:.2f} "
                     f"(means over conditions); it is the odd one out in {len(outlying)} of {len(told)} conditions"
                     f"{': ' + ', '.join(outlying) if 0 < len(outlying) < len(told) else ''}.")  # fmt: skip
    kinds = [row for row in rank["rows"] if row["strategy"] == DEFAULT]
    if len(kinds) > 1:
        words.append("Ranking and one-shot spread of the same training: " + "; ".join(
            f"{_tau(row)}, spread {row['spread']:.2f} points" for row in kinds) + ".")  # fmt: skip
    return words


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


def _tau(row: Row) -> str:
    return f"{row['recipe']} {row['tau']['value']:.3f} [{row['tau']['low']:.3f}, {row['tau']['high']:.3f}]"


def _deviation(values: Sequence[float]) -> float:
    mean = fmean(values)
    return float((sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5)
