"""The section on which recipe ranks best, from ``rank.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scarlet_zoo.evidence.report.drawings import svg
from scarlet_zoo.evidence.report.structure import Section, Table
from scarlet_zoo.nas.ranking.plots import draw_verdict
from scarlet_zoo.nas.strategies.registry import DEFAULT, DEFAULT_SKIP

Row = Mapping[str, Any]


def verdict_section(rank: Row) -> Section:
    """Create the section of the verdict, with its tables and its plot.

    Args:
        rank: contents of ``rank.json``.
    """
    return Section("Which recipe ranks best", tuple(verdict_words(rank)), (verdict_table(rank), cost_table(rank)),
                   {"taus": lambda: svg(draw_verdict(rank))})  # fmt: skip


def verdict_table(rank: Row) -> Table:
    """Create the table of how well each ranker ranks, best first."""
    header = ("ranker", "tau-b", "from", "to", "behind the first supernet", "from", "to", "beyond multiply-adds",
              "from", "to", "regret of its first ten", "at most")  # fmt: skip
    rows = []
    for row in rank["rows"]:
        columns = (row[key] or {} for key in ("tau", "behind", "beyond_macs"))
        estimates = [one.get(bound) for one in columns for bound in ("value", "low", "high")]
        rows.append((row["recipe"], *estimates, row["regret"]["value"], row["regret"]["high"]))
    where = (f"{rank['architectures']} architectures, {rank['truth_seeds']} trainings of each as the truth, "
             f"{len(rank['seeds'])} supernets of each recipe; 95 % bootstrap intervals over architectures and seeds; "
             "beyond multiply-adds: Kendall's partial tau-b; regret in points")  # fmt: skip
    return Table("Kendall tau-b against the ground truth", header, (0, *(3,) * 9, 2, 2), tuple(rows), where)


def cost_table(rank: Row) -> Table:
    """Create the table of what each recipe costs, and of the accuracy of its supernets."""
    header = ("recipe", "thousand images", "core s training", "core s scoring", "one-shot %", "spread",
              "tau-b of the worst seed", "of the best")  # fmt: skip
    rows = [(row["recipe"], row["images"] / 1e3, row["train_core_seconds"], row["score_core_seconds"], row["accuracy"],
             row["spread"], min(row["tau_each"]), max(row["tau_each"])) for row in _made(rank)]  # fmt: skip
    where = ("means over the supernets of a recipe; an image counts once for each path that it runs through; "
             f"processor time ({rank['device']}); accuracy with inherited weights, and its deviation in "
             "points")  # fmt: skip
    return Table("What it costs", header, (0, 0, 0, 0, 1, 2, 3, 3), tuple(rows), where)


def verdict_words(rank: Row) -> list[str]:
    """Summarise the tables: the first recipe, those that are not distinguishable from it, and the baselines."""
    supernets, free, ceiling = _made(rank), [row for row in rank["rows"] if not row["strategy"]], rank["ceiling"]
    near = [row["recipe"] for row in supernets[1:] if row["behind"]["low"] <= 0]
    more = [row["recipe"] for row in supernets if row["beyond_macs"]["low"] > 0]
    ahead = [tau_text(row) for row in free if row["behind"]["high"] < 0]
    return [
        f"The truth: the standard deviation of accuracy is {rank['spread']:.2f} points over architectures and "
        f"{rank['seed_noise']:.2f} points from seed to seed; one training ranks another with tau-b "
        f"{ceiling['one_another']['value']:.3f}, the mean of the other two with "
        f"{ceiling['mean_of_the_others']['value']:.3f}. A ranker that knew the expected accuracies would "
        f"reach about {ceiling['perfect_ranker']['value']:.2f}, because the mean of {rank['truth_seeds']} "
        "trainings is noisy.",
        f"First of the supernets: {tau_text(supernets[0])}. Not distinguishable from it at 95 %: {_listed(near)}.",
        f"Baselines without training: {', '.join(map(tau_text, free))}. Better than every supernet at 95 %: "
        f"{_listed(ahead)}.",
        "Supernets that predict accuracy beyond multiply-adds (partial tau-b above 0 at 95 %): "
        f"{_listed(more)}.",
        *_default_words(supernets, near),
    ]  # fmt: skip


def _default_words(supernets: Sequence[Row], near: Sequence[str]) -> list[str]:
    ours = f"{DEFAULT} skip={DEFAULT_SKIP}"
    default = next((row for row in supernets if row["recipe"] == ours), None)
    if default is None:
        return []
    if default is supernets[0]:
        return [f"Our default, {ours}, is the first of the supernets."]
    gap = "is not distinguishable from the first" if ours in near else "is worse than the first at 95 %"
    return [f"Our default, {tau_text(default)}, is number {supernets.index(default) + 1} of the supernets and {gap}."]


def _made(rank: Row) -> list[Row]:
    return [row for row in rank["rows"] if row["strategy"]]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def tau_text(row: Row) -> str:
    """Return the name of a ranker with its tau-b and interval."""
    return f"{row['recipe']} {row['tau']['value']:.3f} [{row['tau']['low']:.3f}, {row['tau']['high']:.3f}]"
