"""Sections on latency, from the records of the benchmarks alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from scarlet_zoo.evidence.report.drawings import Point, blocks, pareto
from scarlet_zoo.evidence.report.structure import Cell, Section, Table
from scarlet_zoo.latency import is_stable
from scarlet_zoo.utils.markdown import conditions_line

# Our float32 graph variants; the latency of a network is that of the fastest one.
FLOAT_FORMS = ("native", "blocked", "friendly")
BUDGETS_MS = (3, 4, 5, 6, 8, 10, 15)


_COLUMNS = "'Ours' is the fastest of our exact float32 graph variants, 'timm's' is the file of timm's own exporter."
LATENCY_EVIDENCE = ("peers", "published", "runtimes", "profiles", "lut", "trust")


def latency_sections(evidence: Mapping[str, Any]) -> list[Section]:
    """Create the sections on latency: choices, comparisons, profiles, latency tables and their reliability.

    Args:
        evidence: contents of files of ``results/`` and of ``peers.toml``, by name, see :data:`LATENCY_EVIDENCE`.
    """
    peers = Peers(evidence["peers"], evidence["published"])
    profiles = evidence["profiles"]
    sources = tuple(f"{name}: {peers.source[name]}." for name in peers.networks)
    failed = tuple(f"Could not be exported: {network['name']} {variant}: {reason}."
                   for network in evidence["peers"]["networks"]
                   for variant, reason in network["failed"].items())  # fmt: skip
    return [
        Section("What to choose", (), (peers.choices(),), {"pareto": partial(pareto, peers.points())}),
        Section("Where SCARLET loses", tuple(peers.losses())),
        Section("Side by side", (_COLUMNS, *failed),
                (peers.beside(), peers.forms())),
        Section("Other runtimes", (), (runtimes_table(evidence["runtimes"]),)),
        Section("Where the time goes", (), (profile_table(profiles),), {"blocks": partial(blocks, profiles)}),
        Section("Latency tables", tuple(table_words(evidence["lut"])), (table_errors(evidence["lut"]),)),
        Section("How far to trust it", tuple(trust_words(evidence["trust"]))),
        Section("Sources of the accuracies", sources),
    ]  # fmt: skip


class Peers:
    """Networks side by side: measurements of ``peers.json`` and the accuracies that authors publish."""

    def __init__(self, measured: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> None:
        self.networks = {row["name"]: row for row in measured["networks"]}
        self.top1 = {row["name"]: float(row["top1"]) for row in published}
        self.source = {row["name"]: str(row["source"]) for row in published}
        self.p50 = {(row["name"], row["variant"], row["threads"]): float(row["record"]["p50_ms"])
                    for row in measured["rows"]}  # fmt: skip
        self.conditions = {row["threads"]: row["record"]["conditions"] for row in measured["rows"]}
        self.records = [row["record"] for row in measured["rows"]]

    def float_ms(self, name: str, threads: int = 1) -> float:
        """Return the latency of the fastest of our float32 graph variants, in milliseconds."""
        return min(self.p50[name, form, threads] for form in FLOAT_FORMS if (name, form, threads) in self.p50)

    def points(self) -> list[Point]:
        """Return the networks as points, float32 on one thread, sorted by latency."""
        rows = sorted((self.float_ms(name), -self.top1[name], name) for name in self.networks)
        found, most = [], 0.0
        for ms, minus_top1, name in rows:
            found.append(Point(name, ms, -minus_top1, _ours(name), -minus_top1 > most))
            most = max(most, -minus_top1)
        return found

    def beside(self) -> Table:
        """Create the table with a row for each network."""
        header = ("network", "input px", "params M", "MACs M", "top-1 %, published", "ours ms", "timm's ms",
                  "timm / ours", "int8 ms", "ours ms, 2 threads", "timm's ms, 2", "int8 ms, 2")  # fmt: skip
        rows = []
        for point in self.points():
            name, network = point.name, self.networks[point.name]
            timms = self.p50.get((name, "timm", 1))
            rows.append((name, str(network["side"]), network["params"] / 1e6, network["macs"] / 1e6, point.top1,
                         point.ms, timms, timms / point.ms if timms else None, self.p50.get((name, "int8", 1)),
                         self.float_ms(name, 2), self.p50.get((name, "timm", 2)),
                         self.p50.get((name, "int8", 2))))  # fmt: skip
        return Table("Networks side by side", header, (0, 0, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2), tuple(rows),
                     _where(self.conditions, self.records))  # fmt: skip

    def forms(self) -> Table:
        """Create the table of SCARLET in every graph variant."""
        variants = ("released", "timm", "native", "blocked", "friendly", "int8")
        rows = [(f"{name}, {threads} thread{'s' * (threads > 1)}",
                 *(self.p50.get((name, variant, threads)) for variant in variants))
                for name in self.networks if _ours(name) for threads in (1, 2)]  # fmt: skip
        return Table("SCARLET in every graph variant, p50 in ms", ("network", *variants),
                     (0, *[2] * len(variants)), tuple(rows), _where(self.conditions, self.records))  # fmt: skip

    def choices(self) -> Table:
        """Create the table of the most accurate network for each latency budget, by published accuracy."""
        rows = []
        for budget in BUDGETS_MS:
            within = [point for point in self.points() if point.ms <= budget]
            best = max(within, key=lambda point: point.top1, default=None)
            ours = max((point for point in within if point.ours), key=lambda point: point.top1, default=None)
            rows.append((float(budget), *_named(best), *_named(ours)))
        header = ("at most ms", "choose", "top-1 %, published", "its ms", "of SCARLET", "top-1 %, published", "its ms")
        return Table("What to choose for a latency budget (float32, one thread)", header, (0, 0, 1, 2, 0, 1, 2),
                     tuple(rows))  # fmt: skip

    def losses(self) -> list[str]:
        """Return a sentence for each of SCARLET's networks on the peers that are faster."""
        sentences = []
        for mine in (point for point in self.points() if point.ours):
            faster = [point for point in self.points() if not point.ours and point.ms < mine.ms]
            above = [point for point in faster if point.top1 >= mine.top1]
            beaten = (f"faster and at least as accurate, by their authors' numbers: {_list(above)}" if above
                      else "none of these is faster and at least as accurate")  # fmt: skip
            rest = [point for point in faster if point not in above]
            sentences.append(f"{mine.name} ({mine.ms:.2f} ms, {mine.top1:.1f} %): {beaten}; faster and less accurate: "
                        f"{_list(rest) or 'none'}.")  # fmt: skip
        return sentences


def _ours(name: str) -> bool:
    return name.startswith("scarlet")


def _named(point: Point | None) -> tuple[Cell, Cell, Cell]:
    return (point.name, point.top1, point.ms) if point else ("none", None, None)


def _list(points: Iterable[Point]) -> str:
    return ", ".join(f"{point.name} ({point.ms:.2f} ms, {point.top1:.1f} %)" for point in points)


def _where(conditions: Mapping[int, Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> str:
    first = min(conditions)
    load = conditions[first]["before"]["load_average"]
    line = conditions_line(conditions[first]).replace("1 thread, ", "")
    return (f"{line}; one thread and two, all files interleaved in one process, random weights, load before {load:.1f}"
            f"{unstable_share(records)}")  # fmt: skip


def unstable_share(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the end of a line that counts the unstable records, or an empty text if there are none."""
    count = sum(not is_stable(float(record["cv"])) for record in records)
    return f"; UNSTABLE: {count} of {len(records)} measurements varied by more than 5 %" if count else ""


def runtimes_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Create the table of ``runtimes.json``: each network on every runtime, fastest first."""
    p50 = {(row["name"], row["target"], row["threads"]): float(row["record"]["p50_ms"]) for row in rows}
    names = list(dict.fromkeys(row["name"] for row in rows))
    targets = sorted({row["target"] for row in rows}, key=lambda target: p50[names[0], target, 1])
    conditions = {row["target"]: row["record"]["conditions"] for row in rows}
    versions = {target: own["runtime_version"] if own["runtime_version"].startswith(own["runtime"])
                else f"{own['runtime']} {own['runtime_version']}" for target, own in conditions.items()}  # fmt: skip
    header = ("target", "runtime", *(f"{name} ms, {threads} thread{'s' * (threads > 1)}" for threads in (1, 2)
                                     for name in names))  # fmt: skip
    cells = [(target, versions[target], *(p50.get((name, target, threads)) for threads in (1, 2) for name in names))
             for target in targets]  # fmt: skip
    return Table("Other runtimes", header, (0, 0, *[2] * 2 * len(names)), tuple(cells),
                 conditions_line(rows[0]["record"]["conditions"])
                 + unstable_share([row["record"] for row in rows]))  # fmt: skip


def table_errors(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Create the table of ``lut.json``: errors of latency tables on networks that they have not seen."""
    kinds = (("predictor", "the table"), ("block_sum", "plain sum of blocks"), ("macs", "multiply-adds"),
             ("repeat", "one half of the measurements by the other"))  # fmt: skip
    cells = [(row["precision"], label, 100 * row[kind]["mean"], 100 * row[kind]["p95"], 100 * row[kind]["largest"],
              row[kind]["spearman"]) for row in rows for kind, label in kinds]  # fmt: skip
    count = len(rows[0]["networks"])
    header = ("precision", "predicted by", "mean error %", "95 % within %", "largest %", "Spearman")
    return Table(f"Predicting {count} networks that the table has not seen", header, (0, 0, 2, 2, 2, 3), tuple(cells),
                 conditions_line(rows[0]["conditions"]))  # fmt: skip


def table_words(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each latency table: time to build, coverage and speed."""
    return [
        f"{row['precision']}: built in {row['build_minutes']:.1f} minutes; {row['within_4_percent']:.0%} of the "
        f"networks are predicted within 4 %; the {row['promised_coverage']:.0%} interval contained "
        f"{row['covered']:.0%} of them; predicting 100,000 architectures takes {row['seconds_for_100000']:.2f} s."
        for row in rows
    ]


def trust_words(trust: Mapping[str, Any]) -> list[str]:
    """Return the sentence of ``trust.json`` on how reliable a comparison is."""
    trials = {kind: [row for row in trust["trials"] if row["slowed"] == kind] for kind in (False, True)}
    variation = sorted(cv for row in trust["trials"] for cv in row["cv"])
    wrong, found = trust["same_called_different"], trust["slower_found"]
    return [
        f"{trust['name']} against itself, {trust['confidence']:.0%} intervals: a difference was reported in "
        f"{wrong} of {len(trials[False])} trials; a slowdown by {trust['planted_slowdown']:.0%} "
        f"was found in {found} of {len(trials[True])}. Single runs varied by "
        f"{variation[len(variation) // 2]:.1%} (median over trials)."
    ]


def profile_table(profiles: Sequence[Mapping[str, Any]]) -> Table:
    """Create the table of ``profiles.json``: the time of each network as a multiple of its physical limit."""
    rows = [(row["file"], row["p50_us"] / 1e3, row["macs"] / 1e6, row["gflops"], row["limit_us"] / 1e3, row["of_limit"])
            for row in profiles]  # fmt: skip
    machine = profiles[0]["machine"]
    rates = ", ".join(f"{rate:.0f} GB/s at {size / 2**20:g} MiB" for size, rate in machine["bandwidth_gbs"])
    header = ("network", "ms in operators", "MACs M", "GFLOP/s", "limit ms", "times the limit")
    where = (f"{machine['device']}, threads {machine['threads']}; measured peak {machine['peak_gflops']:.0f} GFLOP/s, "
             f"{rates}")  # fmt: skip
    return Table("How far from the machine's limits", header, (0, 2, 1, 1, 2, 1), tuple(rows), where)
