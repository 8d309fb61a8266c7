"""Verbs that run a classifier on images: predict, validate, pictures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, provider_facts, remark, table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    BatchSize,
    DataDir,
    Held,
    InChans,
    Json,
    Labels,
    MaxImages,
    MaxImagesOrAll,
    NumClasses,
    Out,
    PreprocessingOrOwn,
    ProviderOrCpu,
    SourceWeights,
    Split,
    SplitOrWhole,
    apply_only,
    labels_in,
)
from scarlet_zoo.errors import ArtifactError

if TYPE_CHECKING:
    from scarlet_zoo.inference.answers import Prediction
    from scarlet_zoo.inference.classifier import Classifier

# Value of --weights when it is left out; an ONNX file has its own weights.
_DEFAULT_WEIGHTS = "auto"

ClassFolders = Annotated[
    str,
    typer.Option(
        help="How the names of class folders are read: auto, label, index, wordnet, index-wordnet, or sorted, which "
        "numbers them in their order.",
        metavar="RULE",
    ),
]
Source = Annotated[str, typer.Argument(help="Name of a network, or an ONNX file.", metavar="NAME|FILE.onnx")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("predict")(predict_images)
    former = {"--batch": "--batch-size", "--limit": "--max-images"}
    app.command("validate", cls=taking(former))(validate_network)
    app.command("pictures", cls=taking({"--limit": "--max-images"}))(write_images)


def predict_images(
    source: Source,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE")],
    as_json: Json = False,
    weights: SourceWeights = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    labels: Labels = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to list for each image.")] = 5,
    preprocessing: PreprocessingOrOwn = None,
    provider: ProviderOrCpu = None,
) -> None:
    """Classify images with a trained network.

    A file of another exporter says neither how images are prepared nor what its classes are called: give it
    --preprocessing and --labels. Scores are softmax probabilities; outputs that are probabilities already stay as they
    are.
    """
    from scarlet_zoo.data.image_io import check_image_path
    from scarlet_zoo.inference.predict import predict

    for image in images:
        check_image_path(image)
    classifier = _open(source, weights, preprocessing, labels, provider, trained_only=True, num_classes=num_classes,
                       in_chans=in_chans)  # fmt: skip
    with progress_bar("predict") as progress:
        predictions = predict(classifier, images, top, progress)
    if classifier.labels is None and not as_json:
        remark(f"{source}: has no class names, so only the indices of the classes are known; --labels FILE names them")
    value = [_row(prediction, classifier) for prediction in predictions]

    def render(console: Console) -> None:
        facts = [("weights", classifier.weights), *provider_facts(classifier.provider, classifier.provider_nodes)]
        console.print(pairs(facts, title=source))
        for row in value:
            cells = [(guess["label"] or "?", guess["index"], f"{guess['score']:.2%}") for guess in row["predictions"]]
            console.print(row["file"], highlight=False, soft_wrap=True)
            console.print(table(("class", "index", "score"), cells))

    emit(as_json, value, render)


def _row(prediction: Prediction, classifier: Classifier) -> dict[str, Any]:
    from scarlet_zoo.data.image_io import printable

    guesses = [asdict(guess) for guess in prediction.guesses]
    assert prediction.file is not None  # images are given as files here
    return {
        "file": printable(prediction.file),
        "weights": classifier.weights,
        "outputs": "probabilities" if classifier.gives_probabilities else "logits",
        "turned_grey": prediction.turned_grey,
        "provider": classifier.provider,
        "provider_nodes": dict(classifier.provider_nodes),
        "predictions": guesses,
    }


def validate_network(
    source: Source,
    data: Annotated[
        str,
        typer.Argument(
            help="Data set: fashion-mnist, torchvision:NAME, hf:NAME, a folder with one subfolder for each class, a "
            "folder with such folders named train and val or test, or a list of images (CSV or JSON).",
            metavar="DATA",
        ),
    ],
    as_json: Json = False,
    weights: SourceWeights = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    labels: Labels = None,
    batch_size: BatchSize = 64,
    max_images: MaxImagesOrAll = None,
    split: SplitOrWhole = None,
    data_dir: DataDir = None,
    validation: Held = None,
    preprocessing: PreprocessingOrOwn = None,
    class_folders: ClassFolders = "auto",
    provider: ProviderOrCpu = None,
) -> None:
    """Measure accuracy on an image folder or a data set.

    A folder may hold some of the classes, named by label, index or WordNet id. All images of a folder without parts
    count, unless --split or --validation is given. Of a data set with parts, the validation part counts, unless
    --split is given.
    """
    from scarlet_zoo.data.class_folders import AUTO, SORTED
    from scarlet_zoo.inference.accuracy import validate

    classifier = _open(source, weights, preprocessing, labels, provider, num_classes=num_classes, in_chans=in_chans)
    with progress_bar("validate") as progress:
        result = validate(classifier, data, split=split, data_dir=data_dir, validation=validation, limit=max_images,
                          batch=batch_size, progress=progress, class_folders=class_folders)  # fmt: skip

    guessed = result.matched_by == SORTED and class_folders == AUTO
    if guessed and result.trained and not as_json:
        remark(f"{source}: has no class names, so the class folders are taken in the order of their names, which is a "
               "guess; --labels FILE says which class each output is")  # fmt: skip

    taken = "in the order of their names" if result.matched_by == SORTED else f"by {result.matched_by}"

    def render(console: Console) -> None:
        facts: list[tuple[str, object]] = [
            ("weights", result.weights),
            *provider_facts(result.provider, result.provider_nodes),
            ("preprocessing", result.preprocessing.to_json()),
            ("images", f"{result.images:,} in {result.classes_seen:,} of {result.classes:,} classes"),
            *([("class folders", f"taken {taken}")] if result.matched_by else []),
            *([("skipped", f"{len(result.skipped):,} files")] if result.skipped else []),
            ("top-1", str(result.accuracy)),
            *([("top-5", f"{result.top5:.2f} %")] if result.classes > 5 else []),
        ]
        if not result.trained:
            facts.append(("", "these percentages are meaningless: the weights are random"))
        console.print(pairs(facts, title=source))

    emit(as_json, result.to_dict(), render)


def _open(source: str, weights: str | None, preprocessing: str | None, labels: Path | None, provider: str | None, *,
          trained_only: bool = False, **counts: Any) -> Classifier:  # fmt: skip
    from scarlet_zoo.deployment.image_feed import settings_of
    from scarlet_zoo.inference.load import is_onnx, is_other_file, load

    if weights is not None and is_onnx(source):
        raise ArtifactError(f"{source}: an ONNX file holds its own weights, got --weights {weights}")
    apply_only(not is_onnx(source) and not is_other_file(source), "networks given by name", **counts)
    apply_only(is_onnx(source), "ONNX files", provider=provider)
    for note in settings_of(preprocessing).notes if preprocessing is not None else ():
        remark(f"{source}: {note}")
    return load(source, weights or _DEFAULT_WEIGHTS, preprocessing=preprocessing, labels=labels_in(labels),
                trained_only=trained_only, provider=provider, **counts)  # fmt: skip


def write_images(
    data: Annotated[str, typer.Argument(help="Data set: fashion-mnist, torchvision:NAME or hf:NAME.", metavar="DATA")],
    out: Out,
    as_json: Json = False,
    split: Split = "validation",
    max_images: MaxImages = 8,
    data_dir: DataDir = None,
) -> None:
    """Save images of a data set as PNG files named by class."""
    from scarlet_zoo.data.plain_images import save_images

    files = save_images(data, split, max_images, out, data_dir)
    emit(as_json, [str(file) for file in files], lambda console: console.print("\n".join(map(str, files))))
