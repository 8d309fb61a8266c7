"""Verbs that show networks: list, show."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import bar, emit, pairs, table
from scarlet_zoo.cli.options import InChans, InputSize, Json, Name, NumClasses, SpaceOrNone, apply_only

if TYPE_CHECKING:
    from scarlet_zoo.arch.architecture import Arch
    from scarlet_zoo.arch.cost import Cost

# Largest and smallest width of a bar, and the width of the columns beside it, in terminal cells.
_BAR, _LEAST_BAR, _BESIDE = 24, 6, 74


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("list")(list_networks)
    app.command("show")(show)


def list_networks(as_json: Json = False) -> None:
    """List the networks of the zoo with their published figures."""
    from scarlet_zoo.arch.cost import arch_cost
    from scarlet_zoo.arch.zoo import ZOO, get_arch
    from scarlet_zoo.models.weights.cards import cards_of

    rows: list[dict[str, Any]] = []
    for entry in ZOO.values():
        cost = arch_cost(get_arch(entry.name))
        measured = [card.measured for card in cards_of(entry.name) if card.measured is not None]
        rows.append({"name": entry.name, "arch": entry.arch, "params": cost.params, "macs": cost.macs,
                     "published": asdict(entry.published) if entry.published else None,
                     "measured": measured[0].model_dump() if measured else None})  # fmt: skip

    def render(console: Console) -> None:
        header = ("name", "parameters", "MACs (M)", "published MACs (M)", "published top-1 %", "our top-1 %", "skips")
        cells = []
        for row in rows:
            published, own = row["published"] or {}, row["measured"] or {}
            figures = (published.get("macs_m", ""), published.get("top1_percent", ""), own.get("test_top1_percent", ""))
            skips = len(get_arch(row["name"]).skipped)
            cells.append((row["name"], f"{row['params']:,}", f"{row['macs'] / 1e6:.1f}", *figures, skips))
        console.print(table(header, cells))
        console.print("Published figures are the authors' (arXiv 1908.06022, ImageNet) and were not measured here.")
        console.print("Our figures are measured on the test images of the data set that the weights card names.")

    emit(as_json, rows, render)


def show(
    name: Name,
    as_json: Json = False,
    input_size: InputSize = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    space: SpaceOrNone = None,
) -> None:
    """Draw a network layer by layer, with the cost of each layer.

    Each layer is shown with its choice, resolution, channels, parameters and multiply-adds. --space gives the search
    space of an identity string, if it is not a registered one.
    """
    arch, cost = _look_up(name, input_size, space, num_classes=num_classes, in_chans=in_chans)
    value = {
        "name": name,
        "arch": str(arch) if arch is not None else None,
        "params": cost.params,
        "macs": cost.macs,
        "layers": [asdict(layer) for layer in cost.layers],
    }
    emit(as_json, value, lambda console: _draw(console, value, cost))


def _look_up(
    name: str, input_size: int | tuple[int, int] | None, space: str | None, **counts: Any
) -> tuple[Arch | None, Cost]:
    """Look up architecture and cost: in closed form for our architectures, else by building and running the model."""
    from scarlet_zoo.arch.architecture import is_identity_string
    from scarlet_zoo.arch.cost import arch_cost
    from scarlet_zoo.arch.zoo import ZOO, get_arch

    own = name not in ZOO and is_identity_string(name)
    apply_only(own, "an identity string", space=space)
    if name.lower().endswith(".safetensors"):
        from scarlet_zoo.models.cost import network_cost
        from scarlet_zoo.models.loading import load_network

        network = load_network(name, input_size=input_size, **counts)
        return network.arch, network_cost(network)
    arch: Arch | None = None
    if name in ZOO:
        arch = get_arch(name)
    elif own:
        arch = _parsed(name, space)
    # The closed form is for square images.
    if arch is None or isinstance(input_size, tuple):
        from scarlet_zoo.models.cost import model_cost
        from scarlet_zoo.models.loading import preprocessing_of
        from scarlet_zoo.models.scarlet import create_model

        model = create_model(name if arch is None else arch, **counts).eval()
        feed = preprocessing_of(model, input_size)
        return getattr(model, "arch", None), model_cost(model, (feed.channels, *feed.size))
    return arch, arch_cost(arch, input_size=input_size, **counts)


def _parsed(name: str, space: str | None) -> Arch:
    """Parse an identity string; only for a space that is not built in the store is asked, which loads torch."""
    from scarlet_zoo.arch.architecture import Arch
    from scarlet_zoo.arch.space_files import find_space
    from scarlet_zoo.errors import UnknownNameError

    if space is not None:
        return Arch.parse(name, find_space(space))
    try:
        return Arch.parse(name)
    except UnknownNameError:
        from scarlet_zoo.models.weights.stated import arch_named

        try:
            return arch_named(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{error}; or --space FILE.toml with the space") from error


def _draw(console: Console, value: dict[str, Any], cost: Cost) -> None:
    facts = [("parameters", f"{cost.params:,}"), ("multiply-adds", f"{cost.macs:,}")]
    if value["arch"]:
        facts.insert(0, ("architecture", value["arch"]))
    console.print(pairs(facts, title=value["name"]))
    largest = max(layer.macs for layer in cost.layers) or 1
    rows = [
        (
            layer.name,
            layer.token,
            f"{layer.in_size} > {layer.out_size}" if layer.stride > 1 else str(layer.out_size),
            f"{layer.in_chs} > {layer.out_chs}",
            f"{layer.params:,}",
            f"{layer.macs / 1e6:.2f}",
            f"{layer.macs / max(cost.macs, 1):.1%}",
            bar(layer.macs / largest, min(_BAR, max(_LEAST_BAR, console.width - _BESIDE))),
        )
        for layer in cost.layers
    ]
    header = ("layer", "choice", "pixels", "channels", "parameters", "MACs (M)", "share", "")
    console.print(table(header, rows, left=(7,)))
