"""The options of the verbs that train about how images are altered, mixed, drawn and kept."""

from __future__ import annotations

from typing import Annotated

import typer

_AUGMENTATION = (
    "Augmentation of the training images: usual, none, small (shift, flip), photo (random resized crop, flip) or "
    "inception (smaller crops, colour jitter); with randaugment, trivialaugment or autoaugment added; and settings "
    "such as crop=0.2,color-jitter=0.4,erase=0.25,vflip=1 or auto=POLICY (timm's --aa), all separated by commas. "
    "docs/training.md lists them."
)
Augmentation = Annotated[
    list[str] | None,
    typer.Option("--augment", help=_AUGMENTATION, metavar="NAME|NAME=VALUE,...", show_default=False),
]
Erase = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Share of training images with a random rectangle blanked out; 0 when left out.",
        show_default=False,
    ),
]
Crop = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        help="Smallest share of a training image's area that a random crop covers; when left out, 1 (no crop) for "
        "inputs of up to 64 pixels and 0.35 for larger ones.",
        show_default=False,
    ),
]
Mixup = Annotated[
    float, typer.Option("--mixup", min=0, help="Alpha of mixup, which blends pairs of images; 0 turns it off.")
]
CutMix = Annotated[
    float,
    typer.Option(
        "--cutmix",
        min=0,
        help="Alpha of CutMix, which puts a part of one image into another; 0 turns it off. With "
        "--mixup too, each step draws one of the two.",
    ),
]
MixupProb = Annotated[
    float | None,
    typer.Option(
        "--mixup-prob",
        min=0,
        max=1,
        help="Probability that a step's images are mixed; 1 when left out.",
        show_default=False,
    ),
]
Balance = Annotated[
    str,
    typer.Option(
        "--balance",
        help="What is done for classes of uneven size: none, loss (weights the loss by class) or sampling (draws all "
        "classes equally often).",
    ),
]
CacheLimit = Annotated[
    float | None,
    typer.Option(
        "--cache-limit",
        min=0,
        help="Largest size in GB of the files in the cache folder that hold decoded images; with 0 images are decoded "
        "whenever they are needed; 8 when left out.",
        metavar="GB",
        show_default=False,
    ),
]
