"""A page for each network of the zoo, from its card, its exports and its measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.cost import Cost, arch_cost
from scarlet_zoo.arch.drawing import architecture_svg
from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.evidence.manifest import Manifest
from scarlet_zoo.evidence.site.plots import scatter_of, targets_svg
from scarlet_zoo.latency import is_stable
from scarlet_zoo.models.weights.cards import WeightsCard, cards_of
from scarlet_zoo.utils.markdown import markdown_table, unstable_mark

# Records with rows of latencies, each beside the name of its network.
TIMED = ("peers", "runtimes", "cifar10", "baselines")


def network_page(name: str, manifest: Manifest, results: Path) -> str:
    """Return the page of a network, in markdown.

    Args:
        name: name of the network in the zoo.
        manifest: the files that it became for each target.
        results: folder of the committed records.
    """
    cost, cards = arch_cost(get_arch(name)), cards_of(name)
    parts = [f"# {name}", "", _summary(name, cost, cards), "", "## Use it", "", _use(name, cards), "",
             "## Architecture", "", f"`{ZOO[name].arch}`", "", architecture_svg(cost, f"{name}, layer by layer"), "",
             _DRAWING_WORDS, "", _layers(cost), ""]  # fmt: skip
    for card in cards:
        parts += [f"## Weights: `{card.name}.{card.tag}`", "", _card(card), ""]
    parts += ["## Files", "", *_files(name, manifest), ""]
    by_target = targets_svg(results, name)
    if by_target is not None:
        parts += ["## Latency by target", "", by_target, "", _TARGET_WORDS, ""]
    timed = list(_latencies(name, results))
    if timed:
        header = ("record", "file", "threads", "p50 ms", "p90 ms", "processor", "runtime", "date")
        parts += ["## Latency", "", _LATENCY_WORDS, "", markdown_table(header, timed), ""]
    return "\n".join(parts)


_DRAWING_WORDS = (
    "A bar is as long as the square root of a layer's multiply-adds. Blue is a kernel of 3 pixels, violet of 5, red of "
    "7."
)
_TARGET_WORDS = (
    "Our own measurement of all targets interleaved, one image on one thread (`runtimes.json`). UNSTABLE marks what "
    "varied by more than 5 %."
)
_PLOT_WORDS = (
    "Bars are 95 % intervals. Red are networks of the zoo; grey are timm's networks that were trained by the same "
    "recipe. The latencies of one plot were measured interleaved; those of two plots were not."
)
_LATENCY_WORDS = (
    "Our own measurements of one image, each in the record that is named. Compare numbers of one record only. UNSTABLE "
    "marks what varied by more than 5 %."
)


def networks_overview(results: Path) -> str:
    """Return the page of all networks, in markdown: their table, and their accuracies against their latencies.

    Args:
        results: folder of the committed records.
    """
    return "\n".join([
        "# Networks of the zoo", "", networks_table(), "", "## On CIFAR-10 as JPEG files, test images", "",
        scatter_of(results / "cifar10.json", 5_000), "", "## On Fashion-MNIST, test images", "",
        scatter_of(results / "baselines.json", 10_000), "", _PLOT_WORDS, "", "## On ImageNet, as published", "",
        "![accuracy against latency, SCARLET beside twelve other networks](../evidence/figures/pareto.svg)", "",
        "Accuracies are their authors' and were not measured here; latencies are ours, of random weights "
        "([report](../evidence/report.md)).", "",
    ])  # fmt: skip


def networks_table() -> str:
    """Return the overview of all networks, in markdown, with links to their pages."""
    rows = []
    for entry in ZOO.values():
        cost, cards = arch_cost(get_arch(entry.name)), cards_of(entry.name)
        measured = [(card, card.measured) for card in cards if card.measured]
        top1 = f"{entry.published.top1_percent} %, ImageNet, published" if entry.published else ""
        if measured:
            top1 = f"{measured[0][1].test_top1_percent} %, {measured[0][0].dataset}, ours"
        shipped = "yes" if any(card.redistributed for card in cards) else "no"
        rows.append((f"[`{entry.name}`]({entry.name}.md)", f"{cost.params:,}", f"{cost.macs / 1e6:.1f}", top1, shipped))
    return markdown_table(("network", "parameters", "MACs (M)", "top-1", "weights in the package"), rows)


def _summary(name: str, cost: Cost, cards: list[WeightsCard]) -> str:
    space = get_arch(name).space
    colours = "grey" if space.in_chans == 1 else "colour"
    words = [f"{cost.params:,} parameters, {cost.macs / 1e6:.1f} million multiply-adds, {colours} images of "
             f"{space.input_size} pixels."]  # fmt: skip
    published = ZOO[name].published
    if published:
        words.append(f"Its authors publish {published.top1_percent} % top-1 on ImageNet ({published.source}); "
                     "nobody has measured that here. Its weights are not ours to give away, so what is measured here "
                     "has random weights: structure and latency only.")  # fmt: skip
    for card, got in ((card, card.measured) for card in cards if card.measured):
        words.append(f"Found and trained here: right on {got.test_top1_percent} % of the {got.test_images:,} test "
                     f"images of {card.dataset}, read once ({got.test_date}).")  # fmt: skip
    return " ".join(words)


def _use(name: str, cards: list[WeightsCard]) -> str:
    shipped = next((card for card in cards if card.redistributed), None)
    given = "" if shipped else " --weights random"
    torch = f'timm.create_model("{name}.{shipped.tag}", pretrained=True)' if shipped else f'timm.create_model("{name}")'
    # The code of snippets is for colour images.
    app = [f"scarlet-zoo snippet out/{name}.onnx --lang kotlin"] if get_arch(name).space.in_chans == 3 else []
    return "\n".join([
        "```sh", f"scarlet-zoo export {name} --target ort{given} --out out", f"scarlet-zoo verify out/{name}.onnx",
        f"scarlet-zoo bench out/{name}.onnx", *app, "```", "", "```python",
        "import scarlet_zoo", "import timm", "", f"network = {torch}.eval()", "```",
    ])  # fmt: skip


def _layers(cost: Cost) -> str:
    rows = [(layer.name, layer.token, f"{layer.in_chs} to {layer.out_chs}", f"{layer.in_size} to {layer.out_size}",
             layer.stride, f"{layer.params:,}", f"{layer.macs / 1e6:.2f}") for layer in cost.layers]  # fmt: skip
    return markdown_table(("layer", "choice", "channels", "pixels", "stride", "parameters", "MACs (M)"), rows)


def _card(card: WeightsCard) -> str:
    rows: list[tuple[str, object]] = [
        ("source", card.source), ("licence", card.licence), ("data", card.dataset), ("classes", card.num_classes),
        ("in the package", "yes" if card.redistributed else "no"), ("how to get them", card.how_to_get),
        ("SHA-256", f"`{card.sha256}`" if card.sha256 else "not known"),
    ]  # fmt: skip
    if card.published:
        rows.append(("published top-1", f"{card.published.top1_percent} %, top-5 {card.published.top5_percent} % "
                                        f"({card.published.source}); not measured here"))  # fmt: skip
    if card.measured:
        got = card.measured
        rows += [("our top-1, test images",
                  f"{got.test_top1_percent} % of {got.test_images:,}, read on {got.test_date}"),
                 ("our top-1, validation images", f"{got.validation_top1_percent} %"),
                 ("trained on", f"{got.hardware}, {got.minutes:g} minutes, seed {got.seed}")]  # fmt: skip
    feed = card.preprocessing
    if feed:
        rows.append(("images", f"shorter side to {feed.resize}, centre of {feed.crop} pixels, {feed.interpolation}"))
    table = markdown_table(("what", "is"), rows).replace("---:", "---")
    made = card.measured.commands if card.measured else ()
    return "\n".join([table, *(["", "These commands made them:", "", "```text", *made, "```"] if made else [])])


def _files(name: str, manifest: Manifest) -> Iterator[str]:
    """The table of what the network became for each target, from the manifest."""
    rows = []
    for row in (row for row in manifest.rows if row.network == name):
        parity = row.parity
        sqnr = f"{parity.sqnr_db:.0f} dB" if parity and parity.sqnr_db is not None else "not run"
        digest = row.files.get(row.file, next(iter(row.files.values())))
        same = f"{100 * parity.top1_agreement:.0f} %" if parity else ""
        rows.append((f"[`{row.target}`](../targets/{row.target}.md)", f"`{row.file}`", f"{row.bytes / 1e6:.2f}",
                     row.precision, sqnr, same, f"`{digest[:12]}`"))  # fmt: skip
    header = ("target", "file", "MB", "precision", "SQNR", "same top class", "SHA-256")
    yield "What `export` wrote and how far its outputs are from the network's (`export/manifest.json`)."
    yield ""
    yield markdown_table(header, rows)


def _latencies(name: str, results: Path) -> Iterator[tuple[object, ...]]:
    for record in TIMED:
        content = _read(results / f"{record}.json")
        rows = content["rows"] if isinstance(content, dict) else content
        for row in rows:
            if row["name"] == name and "record" in row:
                yield _timing(record, row)


def _timing(record: str, row: Mapping[str, Any]) -> tuple[object, ...]:
    timed, where = row["record"], row["record"]["conditions"]
    file = row.get("variant") or row.get("target") or "exported"
    p50 = f"{timed['p50_ms']:.3g}{unstable_mark(is_stable(timed['cv']))}"
    return (f"`{record}.json`", f"`{file}`", where["threads"], p50, f"{timed['p90_ms']:.3g}", where["device"],
            f"{where['runtime']} {where['runtime_version']}", where["date"][:10])  # fmt: skip


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else []
