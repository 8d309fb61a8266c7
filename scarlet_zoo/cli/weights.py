"""Verbs that manage stored weights: weights import, list, show, verify, save-for-hub, push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, table
from scarlet_zoo.cli.options import InChans, Json, Name, NumClasses, Weights
from scarlet_zoo.errors import CheckpointError, UnknownNameError


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    weights = typer.Typer(help="Import, list, check and share weights.", no_args_is_help=True, rich_markup_mode=None)
    weights.command("import")(import_file)
    weights.command("list")(list_all)
    weights.command("show")(show_card)
    weights.command("verify")(verify_stored)
    weights.command("save-for-hub")(save_folder)
    weights.command("push")(push)
    app.add_typer(weights, name="weights")


def import_file(
    name: Name,
    file: Annotated[
        Path, typer.Argument(help="Weights file: safetensors, a state dict, or a checkpoint of the released code.")
    ],
    as_json: Json = False,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
) -> None:
    """Check a weights file and store it for a network.

    The file is converted to safetensors and kept in your cache, with the space, class names and preprocessing that it
    states. Every verb then uses it for NAME.
    """
    from scarlet_zoo.models.origins import from_file
    from scarlet_zoo.models.weights.store import import_weights

    counts = {"num_classes": num_classes, "in_chans": in_chans}
    model, _ = from_file(name, file, {key: count for key, count in counts.items() if count is not None})
    stored = import_weights(name, model, file)
    value = {"name": name, "path": str(stored.path), "sha256": stored.sha256, "metadata": stored.metadata}
    emit(
        as_json, value, lambda console: console.print(pairs([("stored", stored.path), ("sha256", stored.sha256)], name))
    )


def list_all(as_json: Json = False) -> None:
    """List known weights, and which of them this machine has."""
    from scarlet_zoo.models.weights.cards import all_cards
    from scarlet_zoo.models.weights.store import find_weights, list_weights

    rows = [
        {"name": card.name, "tag": card.tag, "dataset": card.dataset, "licence": card.licence,
         "here": card.redistributed or find_weights(card.name) is not None}
        for card in all_cards().values()
    ]  # fmt: skip
    known = {row["name"] for row in rows}
    rows += [
        {"name": stored.name, "tag": None, "dataset": None, "licence": None, "here": True}
        for stored in (replaced for replaced in list_weights() if replaced.metadata.get("name") not in known)
    ]

    def render(console: Console) -> None:
        cells = [(row["name"], row["tag"] or "", row["dataset"] or "", row["licence"] or "",
                  "here" if row["here"] else "not here") for row in rows]  # fmt: skip
        console.print(table(("name", "tag", "dataset", "licence", "on this machine"), cells))

    emit(as_json, rows, render)


def show_card(name: Name, as_json: Json = False) -> None:
    """Show the weights cards of a network.

    A card says what the weights are and how to get them. Also shows the weights that are stored on this machine.
    """
    from scarlet_zoo.models.weights.cards import all_cards, cards_of
    from scarlet_zoo.models.weights.store import find_weights

    stored = find_weights(name)
    cards = cards_of(name)
    if not cards and stored is None:
        raise UnknownNameError(f"weights of {name!r}: no card and none imported, wanted one of {' '.join(all_cards())}")
    fields = {"path": str(stored.path), "sha256": stored.sha256, **stored.metadata} if stored else None
    value: dict[str, Any] = {"cards": [card.model_dump() for card in cards], "stored": fields}

    def render(console: Console) -> None:
        for card in cards:
            console.print(pairs(card.model_dump().items(), title=f"{card.name}.{card.tag}"))
        console.print(pairs(fields.items(), title="on this machine") if fields else "not on this machine")

    emit(as_json, value, render)


def verify_stored(name: Name, as_json: Json = False) -> None:
    """Check that stored weights still match their digest."""
    from scarlet_zoo.models.weights.store import check_weights, require_weights

    stored = require_weights(name)
    check_weights(stored)
    value = {"name": name, "path": str(stored.path), "sha256": stored.sha256, "passed": True}
    emit(as_json, value, lambda console: console.print(f"{stored.path}: matches sha256 {stored.sha256}"))


def save_folder(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Folder to write into; created if it is missing.")],
    as_json: Json = False,
    weights: Weights = "auto",
    num_classes: NumClasses = None,
    in_chans: InChans = None,
) -> None:
    """Write a network as a folder that timm and the hub can read.

    The folder gets config.json, model.safetensors and README.md.
    """
    from scarlet_zoo.models.hub import save_for_hub

    files = save_for_hub(_trained(name, weights, num_classes=num_classes, in_chans=in_chans), folder)
    value = {"name": name, "files": [str(file) for file in files]}
    emit(as_json, value, lambda console: console.print("\n".join(value["files"])))


def push(
    name: Name,
    repository: Annotated[str, typer.Argument(help="Repository on the hub, as owner/name.")],
    as_json: Json = False,
    weights: Weights = "auto",
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    private: bool = typer.Option(False, help="Make the repository private, if it is new."),
) -> None:
    """Upload a network to the Hugging Face hub.

    Log in first with 'hf auth login'.
    """
    from scarlet_zoo.models.hub import push_to_hub

    network = _trained(name, weights, num_classes=num_classes, in_chans=in_chans)
    commit = push_to_hub(network, repository, private=private)
    emit(as_json, {"name": name, "repository": repository, "commit": commit}, lambda console: console.print(commit))


def _trained(name: str, weights: str, **counts: Any) -> Any:
    """Load a network with trained weights; random ones only for ``--weights random``."""
    from scarlet_zoo.models.loading import load_network
    from scarlet_zoo.models.weights.cards import cards_of
    from scarlet_zoo.models.weights.store import require_weights

    network = load_network(name, weights, **counts)
    if not network.trained and weights != "random":
        if cards_of(name):
            require_weights(name)
        raise CheckpointError(f"weights of {name!r}: got only random ones, wanted --weights FILE (or --weights random)")
    return network
