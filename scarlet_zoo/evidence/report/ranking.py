"""Which recipe ranks best: a section from ``rank.json``, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scarlet_zoo.evidence.report.drawings import svg
from scarlet_zoo.evidence.report.structure import Section, Table
from scarlet_zoo.nas.ranking.plots import draw_verdict
from scarlet_zoo.nas.strategies.registry import DEFAULT, DEFAULT_SKIP

Row = Mapping[str, Any]


def verdict_section(rank: Row) -> Section:
    """The verdict, with its tables and its drawing.

    Args:
        rank: contents of ``rank.json``.
    """
    return Section("Which recipe ranks best", tuple(verdict_words(rank)), (verdict_table(rank), cost_table(rank)),
                   {"taus": lambda: svg(draw_verdict(rank))})  # fmt: skip


def verdict_table(rank: Row) -> Table:
    """``rank.json``: how each ranker ranks, best first."""
    header = ("ranker", "tau-b", "from", "to", "behind the first supernet", "from", "to", "beyond multiply-adds",
              "from", "to", "regret of its ten", "at most")  # fmt: skip
    rows = []
    for row in rank["rows"]:
        told = (row[key] or {} for key in ("tau", "behind", "beyond_macs"))
        estimates = [one.get(bound) for one in told for bound in ("value", "low", "high")]
        rows.append((row["recipe"], *estimates, row["regret"]["value"], row["regret"]["high"]))
    where = (f"{rank['architectures']} architectures, {rank['truth_seeds']} trainings of each as the truth, "
             f"{len(rank['seeds'])} supernets of each recipe; 95 % bootstrap intervals over architectures and seeds; "
             "beyond multiply-adds: Kendall's partial tau-b; regret in points")  # fmt: skip
    return Table("Kendall tau-b against the ground truth", header, (0, *(3,) * 9, 2, 2), tuple(rows), where)


def cost_table(rank: Row) -> Table:
    """``rank.json``: what each recipe costs, and how far its supernet has come."""
    header = ("recipe", "k pictures", "core s training", "core s scoring", "one-shot %", "spread",
              "tau-b of the worst seed", "of the best")  # fmt: skip
    rows = [(row["recipe"], row["images"] / 1e3, row["train_core_seconds"], row["score_core_seconds"], row["accuracy"],
             row["spread"], min(row["tau_each"]), max(row["tau_each"])) for row in _made(rank)]  # fmt: skip
    where = ("means over the supernets of a recipe; pictures as often as they are run through a path, processor "
             f"time ({rank['device']}), accuracy with inherited weights, its deviation in points")  # fmt: skip
    return Table("What it costs", header, (0, 0, 0, 0, 1, 2, 3, 3), tuple(rows), where)


def verdict_words(rank: Row) -> list[str]:
    """What the tables say: who is first, who cannot be told from it, and what costs nothing."""
    made, free, ceiling = _made(rank), [row for row in rank["rows"] if not row["strategy"]], rank["ceiling"]
    near = [row["recipe"] for row in made[1:] if row["behind"]["low"] <= 0]
    more = [row["recipe"] for row in made if row["beyond_macs"]["low"] > 0]
    ahead = [tau_text(row) for row in free if row["behind"]["high"] < 0]
    return [
        f"The truth: accuracies spread by {rank['spread']:.2f} points (standard deviation), one training's by "
        f"{rank['seed_noise']:.2f} from seed to seed; one training ranks another with tau-b "
        f"{ceiling['one_another']['value']:.3f}, the mean of the other two with "
        f"{ceiling['mean_of_the_others']['value']:.3f}. A ranker that knew the accuracies to be expected would reach "
        f"about {ceiling['perfect_ranker']['value']:.2f}: a mean of {rank['truth_seeds']} trainings has noise, too.",
        f"First of the supernets: {tau_text(made[0])}. Not told from it at 95 %: {_listed(near)}.",
        f"Rankers that cost nothing: {', '.join(map(tau_text, free))}. Ahead of every supernet, beyond chance: "
        f"{_listed(ahead)}.",
        "Supernets that know something of accuracy beyond multiply-adds (partial tau-b above 0 at 95 %): "
        f"{_listed(more)}.",
        *_default_words(made, near),
    ]  # fmt: skip


def _default_words(made: Sequence[Row], near: Sequence[str]) -> list[str]:
    ours = f"{DEFAULT} skip={DEFAULT_SKIP}"
    default = next((row for row in made if row["recipe"] == ours), None)
    if default is None:
        return []
    if default is made[0]:
        return [f"Our default, {ours}, is the first of the supernets."]
    gap = "is not told from it" if ours in near else "is worse than the first, beyond chance"
    return [f"Our default, {tau_text(default)}, is number {made.index(default) + 1} of the supernets and {gap}."]


def _made(rank: Row) -> list[Row]:
    return [row for row in rank["rows"] if row["strategy"]]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def tau_text(row: Row) -> str:
    """A ranker with its tau-b and interval."""
    return f"{row['recipe']} {row['tau']['value']:.3f} [{row['tau']['low']:.3f}, {row['tau']['high']:.3f}]"
