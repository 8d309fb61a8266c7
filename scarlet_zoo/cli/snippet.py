"""The verb snippet: source code that loads a file in an app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit
from scarlet_zoo.cli.options import Json

Lang = Annotated[str, typer.Option("--lang", help="Language of the code: kotlin, swift, cpp, js or python.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("snippet")(print_snippet)


def print_snippet(
    file: Annotated[
        Path, typer.Argument(help="A file for ONNX Runtime, LiteRT or Core ML that 'export' or 'deploy' wrote.")
    ],
    lang: Lang,
    as_json: Json = False,
) -> None:
    """Print source code that loads a file in an app.

    The code contains the preprocessing and the labels of this file. LiteRT files have Kotlin, Core ML files Swift, and
    ONNX files all languages.
    """
    from scarlet_zoo.deployment.snippets.render import LANGUAGES, snippet_of_file

    code = snippet_of_file(file, lang)
    value = {"lang": lang, "file": str(file), "code": code, "executed": LANGUAGES[lang].executed}

    def render(console: Console) -> None:
        # Written as it is: console.print would wrap lines and read brackets as colours.
        console.file.write(code)

    emit(as_json, value, render)
