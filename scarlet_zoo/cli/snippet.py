"""Verbs for the app: snippet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit
from scarlet_zoo.cli.options import Json

Lang = Annotated[str, typer.Option("--lang", help="kotlin, swift, cpp, js or python.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("snippet")(print_snippet)


def print_snippet(
    file: Annotated[Path, typer.Argument(help="An ONNX file of export or deploy.")],
    lang: Lang,
    as_json: Json = False,
) -> None:
    """Print the lines that load this very file in an app, with its own preprocessing and labels."""
    from scarlet_zoo.deployment.snippets.render import LANGUAGES, snippet
    from scarlet_zoo.graph.artifact import read_artifact

    code = snippet(read_artifact(file), lang)
    value = {"lang": lang, "file": str(file), "code": code, "executed": LANGUAGES[lang].executed}

    def render(console: Console) -> None:
        # As it is: the table printer would wrap lines and read brackets as colours.
        console.file.write(code)

    emit(as_json, value, render)
