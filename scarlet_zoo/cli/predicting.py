"""Verbs that answer: predict, validate."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
