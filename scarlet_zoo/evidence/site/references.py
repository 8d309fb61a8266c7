"""Pages of targets, strategies, verbs and public names, from what defines them."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.deployment.recipes import TargetRecipe
from scarlet_zoo.evidence.manifest import Manifest
from scarlet_zoo.evidence.site.plots import targets_svg
from scarlet_zoo.utils.markdown import markdown_table

# The packages of the public names, in the order of the journey, with the titles of their pages.
TITLES = {
    "arch": "Architectures", "data": "Images", "models": "Networks", "folding": "Folding", "deployment": "Files",
    "graph": "Graphs and int8", "inference": "Predicting", "latency": "Timing", "measurement": "Measuring",
    "training": "Training", "nas": "Search", "errors": "Errors",
}  # fmt: skip

_EXAMPLE = "scarlet_c"
_SPEED_WORDS = (
    f"`{_EXAMPLE}` with random weights for every target that was measured, interleaved, one image on one thread of a "
    "desktop processor (`runtimes.json`); this target is red. A phone may order them otherwise. UNSTABLE marks what "
    "varied by more than 5 %."
)


def target_page(name: str, recipe: TargetRecipe, manifest: Manifest, results: Path) -> str:
    """Return the page of a target: its recipe, its speed beside others, and what every network of the zoo became.

    Args:
        name: name of the target.
        recipe: its recipe.
        manifest: the files of the zoo.
        results: folder of the committed records.
    """
    processors = [f"{processor} ({' or '.join(of.instruction_sets)})" if of.instruction_sets else processor
                  for processor, of in recipe.processors.items()]  # fmt: skip
    facts = [("runtime", f"`{recipe.runtime}`"), ("precision", recipe.precision), ("file", f"`NAME{recipe.suffix}`"),
             ("graph variant", recipe.graph_variant), ("processors", ", ".join(processors)),
             ("evidence", f"`{recipe.evidence}`" if recipe.evidence else "none measured")]  # fmt: skip
    rows = [(f"[`{row.network}`](../networks/{row.network}.md)", f"{row.bytes / 1e6:.2f}",
             f"{row.parity.sqnr_db:.0f} dB" if row.parity and row.parity.sqnr_db is not None else "not run",
             f"{row.seconds:.1f}", row.conditions.date[:10])
            for row in manifest.rows if row.target == name]  # fmt: skip
    left = next((entry.reason for entry in manifest.left_out if entry.target == name), None)
    made = markdown_table(("network", "MB", "SQNR against the network", "seconds to make", "date"), rows)
    drawn = targets_svg(results, _EXAMPLE, name)
    fast = ["## How fast", "", drawn, "", _SPEED_WORDS, ""] if drawn is not None else []
    return "\n".join([
        f"# Target `{name}`", "", recipe.why, "", markdown_table(("what", "is"), facts).replace("---:", "---"), "",
        "```sh", f"scarlet-zoo export scarlet_mini_s --target {name} --out out", "```", "",
        "[Targets](../targets.md) compares them, and says which extra this one needs.", "",
        *fast, "## What the zoo became", "", made if rows else f"Left out: {left}.", "",
    ])  # fmt: skip


def strategies(folder: Path) -> dict[str, str]:
    """Return the class of each strategy, as a dotted name, by the strategy's name; nothing is imported.

    Args:
        folder: the package ``scarlet_zoo/nas/strategies``.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found |= dict.fromkeys(_own_name(node), f"scarlet_zoo.nas.strategies.{file.stem}.{node.name}")
    return found


def _own_name(node: ast.ClassDef) -> Iterator[str]:
    for line in node.body:
        if (isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == "name"
                and isinstance(line.value, ast.Constant)):  # fmt: skip
            yield str(line.value.value)


def strategy_page(name: str, dotted: str, results: Path) -> str:
    """Return the page of a strategy: what it is, what a step of it costs and how it ranked in our records.

    Args:
        name: the strategy's name on the command line.
        dotted: its class.
        results: folder of the committed records.
    """
    cost = {row["strategy"]: row for row in _rows(results / "strategies.json")}.get(name)
    ranked = [row for row in _rows(results / "rank.json") if row.get("strategy") == name]
    parts = [f"# Strategy `{name}`", "", "```sh",
             f"scarlet-zoo supernet train --strategy {name} --data fashion-mnist --max-steps 4 --out out/supernet",
             "```", "", f"::: {dotted}", "    options:", "      members: false", "      heading_level: 2",
             ""]  # fmt: skip
    if cost:
        ratio = cost["ratio"]["p50"]
        parts += [f"A step costs {ratio:.1f} times that of `spos` (median; `benchmarks/results/strategies.json`).", ""]
    if ranked:
        rows = [(f"`{row['recipe']}`", row["seeds"], *(_interval(row[key]) for key in ("tau", "beyond_macs", "regret")))
                for row in ranked]  # fmt: skip
        header = ("recipe", "seeds", "tau-b", "partial tau-b beyond MACs", "regret, points")
        parts += ["How its scores ranked a hundred trained networks (`benchmarks/results/rank.json`):", "",
                  markdown_table(header, rows), ""]  # fmt: skip
    last = "[Strategies](../strategies.md) describes all of them, [Ranking](../ranking.md) the benchmark."
    return "\n".join([*parts, last, ""])


def _rows(path: Path) -> list[dict[str, Any]]:
    content: dict[str, Any] = json.loads(path.read_text())
    return list(content["rows"])


def _interval(value: Mapping[str, float] | None) -> str:
    return "" if value is None else f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each verb of the command line with its words, such as ``("lut", "build")``.

    Args:
        command: typer's command of the whole command line.
        path: the words before it.
    """
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from verbs(inner, (*path, name))


def verb_page(path: tuple[str, ...], command: Any) -> str:
    """Return the page of a verb: its help, and a table of its arguments and flags."""
    context = command.make_context(" ".join(path), [], resilient_parsing=True)
    pieces = command.collect_usage_pieces(context)
    head, _, rest = inspect.cleandoc(command.help or "").partition("\n")
    parts = [f"# `{' '.join(path)}`", "", head, "", "```text", " ".join(["scarlet-zoo", *path, *pieces]), "```", "",
             rest.strip(), ""]  # fmt: skip
    for kind in ("argument", "option"):
        told = [option.get_help_record(context) for option in command.params if option.param_type_name == kind]
        rows = [(f"`{_cell(record[0])}`", _cell(record[1])) for record in told if record and "--help" not in record[0]]
        if rows:
            parts += [markdown_table((kind, "is"), rows).replace("---:", "---"), ""]
    return "\n".join([*parts, "[The command line](../cli.md) has the JSON fields and exit codes.", ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def api_pages(home: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the pages of the public names, by file name.

    Args:
        home: the public names of each module, below the package's root.
    """
    parts: dict[str, list[str]] = {}
    for module, names in home.items():
        parts.setdefault(module.partition(".")[0], []).extend(names)
    unknown = parts.keys() - TITLES
    assert not unknown, f"no title for {unknown}"
    return {package: "\n".join([f"# {TITLES[package]}", "", *map(_entry, parts[package])])
            for package in TITLES if package in parts}  # fmt: skip


def _entry(name: str) -> str:
    return f"::: scarlet_zoo.{name}\n    options:\n      heading_level: 2\n"
