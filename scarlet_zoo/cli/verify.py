"""The verb verify: compare a file with its source, or with its own golden outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, provider_facts, remark, table
from scarlet_zoo.cli.options import (
    InChans,
    Json,
    NumClasses,
    PreprocessingOrOwn,
    ProviderOrCpu,
    Shapes,
    SourceWeights,
    apply_only,
)
from scarlet_zoo.errors import CheckFailedError, DatasetError

if TYPE_CHECKING:
    from PIL import Image

    from scarlet_zoo.deployment.parity import Parity, ParityError
    from scarlet_zoo.graph.artifact import Artifact
    from scarlet_zoo.latency import Provider

_MOST_IMAGES = 48
_NO_LIMIT = 1e300  # of a relative error, where it is not known how much a network amplifies rounding


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("verify")(verify_file)


def verify_file(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    source: Annotated[
        str | None,
        typer.Argument(
            help="What to compare with: the network that the file was made from, or another ONNX file. The network in "
            "the file's metadata when left out.",
            metavar="[NAME|FILE.onnx]",
        ),
    ] = None,
    as_json: Json = False,
    weights: SourceWeights = None,
    preprocessing: PreprocessingOrOwn = None,
    shape: Shapes = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    provider: ProviderOrCpu = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images like those that the network will see, to compare on in place of a dozen "
                     "photographs.", metavar="FOLDER"),
    ] = None,
) -> None:  # fmt: skip
    """Compare a file's outputs with those of its source.

    An int8 file is compared with its own golden outputs, unless a source, --weights or --images is given. Both may be
    files of any exporter, of any precision. Only the file runs on --provider; its source runs on the CPU. Exit code 1
    if outputs differ.
    """
    from scarlet_zoo.deployment.file_pair import is_onnx_path
    from scarlet_zoo.graph.artifact import read_artifact
    from scarlet_zoo.graph.provider import as_provider
    from scarlet_zoo.models.weights.stated import is_weights_file

    artifact, where = read_artifact(file), as_provider(provider)
    if source is not None and is_onnx_path(source) and not is_weights_file(source):
        apply_only(False, "a network's name", weights=weights, num_classes=num_classes, in_chans=in_chans)
        _verify_pair(artifact, Path(source), preprocessing, shape or (), where, as_json, images)
        return
    apply_only(False, "two files", shape=" ".join(shape or ()) or None)
    if {source, weights, num_classes, in_chans, images} == {None} and "golden" in artifact.metadata:
        apply_only(False, "a comparison with a source", preprocessing=preprocessing)
        _verify_golden(artifact, where, as_json)
    else:
        _verify_network(artifact, source, weights, preprocessing, where, as_json, images, num_classes=num_classes,
                        in_chans=in_chans)  # fmt: skip


def _verify_network(
    artifact: Artifact,
    name: str | None,
    weights: str | None,
    preprocessing: str | None,
    provider: Provider,
    as_json: bool,
    images: Path | None,
    **counts: int | None,
) -> None:
    """Compare a file with the network of a name."""
    from scarlet_zoo.deployment.image_feed import settings_of
    from scarlet_zoo.deployment.source import source_network
    from scarlet_zoo.deployment.verify import verify

    network = source_network(artifact, name, weights, **counts)
    feed = network.preprocessing
    if preprocessing is not None:
        feed = settings_of(preprocessing).complete(feed)
    given = _images_of(images)
    parity, failure = _outcome(lambda: verify(network.model, artifact, given, preprocessing=feed, provider=provider))
    value = {"file": str(artifact.path), "source": network.name, "name": network.name, "weights": network.weights}
    _show(value, parity, as_json)
    _raise(failure, images)


def _images_of(folder: Path | None) -> list[Image.Image] | None:
    """Images of a folder and the folders in it, evenly spread where there are more than are compared."""
    if folder is None:
        return None
    from scarlet_zoo.data.folders import list_images
    from scarlet_zoo.data.image_io import open_image

    files, _ = list_images(folder)
    if not files:
        raise DatasetError(f"--images {folder}: holds no images, wanted some like those that the network will see")
    return [open_image(file) for file in files[:: -(-len(files) // _MOST_IMAGES)]]


def _raise(failure: ParityError | None, images: Path | None) -> None:
    """Raise the error of a comparison; of integers on photographs, with a word about the images they are made for."""
    from scarlet_zoo.deployment.parity import INT8

    if failure is not None and images is None and failure.parity.tolerance == INT8:
        remark("an int8 file holds for images like those that it was calibrated on, and the photographs of this "
               "comparison may be unlike them: --images FOLDER compares on yours")  # fmt: skip
    if failure is not None:
        raise failure


def _verify_pair(
    artifact: Artifact,
    source: Path,
    preprocessing: str | None,
    shapes: Sequence[str],
    provider: Provider,
    as_json: bool,
    images: Path | None,
) -> None:
    """Compare a file with another file."""
    from scarlet_zoo.deployment.file_pair import pair_of, takes_images
    from scarlet_zoo.deployment.verify import verify
    from scarlet_zoo.graph.artifact import read_artifact

    weights = read_artifact(source).weights
    value: dict[str, Any] = {"file": str(artifact.path), "source": str(source), "name": str(source), "weights": weights}
    if takes_images(artifact.path, shapes) and takes_images(source, shapes):
        pair = pair_of(artifact, source, preprocessing, provider)
        for line in pair.source_feed.remarks(source):
            remark(line)
        given = _images_of(images)
        parity, failure = _outcome(lambda: verify(pair, artifact, given))
        value |= pair.source_feed.to_dict()
    else:
        apply_only(False, "files of one image without --shape", preprocessing=preprocessing, images=images)
        parity, failure = _outcome(lambda: verify(source, artifact, shapes=shapes, provider=provider))
    _show(value, parity, as_json)
    _raise(failure, images)


def _outcome(compare: Callable[[], Parity]) -> tuple[Parity, ParityError | None]:
    """The differences, and the error where they are too large."""
    from scarlet_zoo.deployment.parity import ParityError

    try:
        return compare(), None
    except ParityError as error:
        return error.parity, error


def _show(value: dict[str, Any], parity: Parity, as_json: bool) -> None:
    from scarlet_zoo.graph.quantization.exact import saturates_here

    value["computes_exactly"] = not saturates_here(Path(value["file"]))

    def render(console: Console) -> None:
        facts = [("source", value["source"]), ("weights", value["weights"]),
                 *provider_facts(parity.provider, parity.provider_nodes),
                 ("verified", "yes" if parity.passed else "NO")]  # fmt: skip
        console.print(pairs(facts, title=value["file"]))
        rows = [
            (case.case, f"{case.max_abs_err:.1e}", f"{case.max_rel_err:.1e}", _limit(case.limit_rel_err),
             f"{case.sqnr_db:.0f}", "none" if case.limit_sqnr_db is None else f"{case.limit_sqnr_db:.0f}",
             f"{case.top1_agreement:.1%}")
            for case in parity.cases
        ]  # fmt: skip
        heads = ("images", "absolute error", "relative error", "at most", "SQNR dB", "at least", "top-1 agreement")
        console.print(table(heads, rows))

    emit(as_json, {**value, **parity.to_dict()}, render)


def _limit(value: float) -> str:
    return "none" if value > _NO_LIMIT else f"{value:.1e}"


def _verify_golden(artifact: Artifact, provider: Provider, as_json: bool) -> None:
    """Check a file against the golden outputs in it."""
    from scarlet_zoo.graph.quantization.golden import check_golden

    check = check_golden(artifact, provider)
    exact = {True: "yes", False: "NO", None: "not guaranteed on this processor or provider"}[check.exact]
    if not check.computes_exactly:
        exact = "no, this processor's kernels saturate; the golden outputs were checked in exact integer arithmetic"
    facts = [("golden outputs", "yes" if check.passed else "NO"), ("bit-exact", exact), ("processor", check.isa),
             *provider_facts(check.provider, check.provider_nodes),
             ("same top-5 classes", "yes" if check.top5 else "NO"),
             ("largest difference", f"{check.max_steps:.1f} steps")]  # fmt: skip
    value = {"file": str(artifact.path), **check.to_dict()}
    emit(as_json, value, lambda console: console.print(pairs(facts, title=str(artifact.path))))
    if not check.passed:
        raise CheckFailedError(f"{artifact.path}: its outputs differ from its golden outputs")
