"""Groups of verbs, as ``scarlet-zoo --help`` lists them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Networks": ("list", "show", "fold", "export", "deploy", "weights", "predict", "validate", "pictures"),
    "Files of any exporter": ("verify", "optimize", "inspect", "sensitivity", "snippet", "doctor"),
    "Measuring": ("bench", "compare", "replay", "profile", "lut"),
    "Training and search": ("data", "supernet", "search", "derive", "train", "rank", "tour"),
    "Phones and browsers": ("serve", "web", "device", "recommend"),
}


class GroupedVerbs(TyperGroup):
    """The top-level command group; its help lists the verbs under the titles of ``GROUPS``."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group, in the order of ``GROUPS``."""
        for title, names in GROUPS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            width = formatter.width - 6 - max(len(name) for name, _ in commands)
            rows = [(name, command.get_short_help_str(width)) for name, command in commands if command is not None]
            with formatter.section(title):
                formatter.write_dl(rows)
