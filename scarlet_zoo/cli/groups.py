"""Groups of verbs, as ``scarlet-zoo --help`` lists them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Networks": ("list", "show", "fold", "export", "deploy", "weights", "predict", "validate", "pictures"),
    "Files of any exporter": ("verify", "optimize", "inspect", "sensitivity", "snippet", "doctor"),
    "Measuring": ("bench", "compare", "replay", "profile", "lut"),
    "Training and search": ("data", "supernet", "search", "derive", "train", "rank", "tour"),
    "Phones and browsers": ("serve", "gallery", "web", "device", "recommend"),
}

# What the command line says when it is given nothing.
NEXT = """scarlet-zoo {version}: mobile vision networks to a verified, measured file.

  scarlet-zoo deploy scarlet_cifar_s --out out
      a network that comes with its weights: its file, verified and measured
  scarlet-zoo predict out/scarlet_cifar_s.onnx PHOTO.jpg
      what it sees in a photo of yours
  scarlet-zoo deploy NAME --weights best.pth --labels labels.txt --out out
      the same for your own checkpoint of one of timm's networks
  scarlet-zoo inspect FILE.onnx
      what ONNX Runtime really runs of any file
  scarlet-zoo serve scarlet_c --lan --https
      measure on your phone, in its browser
  scarlet-zoo data check IMAGES
      your own images, before a training or a search on them
  scarlet-zoo doctor
      what this machine can export and run

All verbs: scarlet-zoo --help. One verb: scarlet-zoo VERB --help.
"""

QUIET = "--quiet"


class GroupedVerbs(TyperGroup):
    """The top-level command group; its help lists the verbs under the titles of ``GROUPS``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; ``--quiet`` may also stand behind the verb, but not behind ``--``."""
        end = args.index("--") if "--" in args else len(args)
        own = [QUIET] if QUIET in args[:end] else []
        return super().parse_args(ctx, [*own, *(text for text in args[:end] if text != QUIET), *args[end:]])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group, in the order of ``GROUPS``."""
        for title, names in GROUPS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            width = formatter.width - 6 - max(len(name) for name, _ in commands)
            rows = [(name, command.get_short_help_str(width)) for name, command in commands if command is not None]
            with formatter.section(title):
                formatter.write_dl(rows)
