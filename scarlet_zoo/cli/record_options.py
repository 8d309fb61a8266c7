"""Options of the verbs that read measurements: records of devices, and accuracies on images of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Accuracies = Annotated[
    list[Path] | None,
    typer.Option(
        "--accuracy",
        help="File of accuracies on your own images, which are never compared with published ones: the output "
        "of validate --json, JSON {name: {top1, images}}, or CSV with the columns name, top1 (in percent) and "
        "images; a name is a network's or a file's. It may be given several times.",
        metavar="FILE",
    ),
]

RecordFiles = Annotated[
    list[Path],
    typer.Option(
        "--records",
        help="Records of devices: a file of bench, serve or device run, or a folder of such files. It may be given "
        "several times.",
        metavar="FILE|FOLDER",
    ),
]
