"""The verb verify: compare a file with its source, or with its own golden outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, table
from scarlet_zoo.cli.options import InChans, Json, NumClasses, SourceWeights
from scarlet_zoo.errors import CheckFailedError

if TYPE_CHECKING:
    from scarlet_zoo.graph.artifact import Artifact


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("verify")(verify_file)


def verify_file(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    name: Annotated[
        str | None,
        typer.Argument(help="Network that the file was made from; taken from the file's metadata when left out."),
    ] = None,
    as_json: Json = False,
    weights: SourceWeights = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
) -> None:
    """Compare a file's outputs with those of its source network.

    An int8 file is compared with its own golden outputs, unless NAME or --weights is given. Exit code 1 if outputs
    differ.
    """
    from scarlet_zoo.deployment.parity import ParityError
    from scarlet_zoo.deployment.source import source_network
    from scarlet_zoo.deployment.verify import verify
    from scarlet_zoo.graph.artifact import read_artifact

    artifact = read_artifact(file)
    if {name, weights, num_classes, in_chans} == {None} and "golden" in artifact.metadata:
        _verify_golden(artifact, as_json)
        return
    network = source_network(artifact, name, weights, num_classes=num_classes, in_chans=in_chans)
    try:
        parity, failure = verify(network.model, artifact, preprocessing=network.preprocessing), None
    except ParityError as error:
        parity, failure = error.parity, error
    value = {"file": str(file), "name": network.name, "weights": network.weights, **parity.to_dict()}

    def render(console: Console) -> None:
        facts = [("source", network.name), ("weights", network.weights), ("verified", "yes" if parity.passed else "NO")]
        console.print(pairs(facts, title=str(file)))
        rows = [
            (case.case, f"{case.max_abs_err:.1e}", f"{case.max_rel_err:.1e}", f"{case.limit_rel_err:.1e}",
             f"{case.sqnr_db:.0f}", f"{case.top1_agreement:.1%}")
            for case in parity.cases
        ]  # fmt: skip
        console.print(
            table(("images", "absolute error", "relative error", "limit", "SQNR dB", "top-1 agreement"), rows)
        )

    emit(as_json, value, render)
    if failure is not None:
        raise failure


def _verify_golden(artifact: Artifact, as_json: bool) -> None:
    """Check a file against the golden outputs in it."""
    from scarlet_zoo.graph.quantization.golden import check_golden

    check = check_golden(artifact)
    exact = {True: "yes", False: "NO", None: "not guaranteed on this processor"}[check.exact]
    facts = [("golden outputs", "yes" if check.passed else "NO"), ("bit-exact", exact), ("processor", check.isa),
             ("same top-5 classes", "yes" if check.top5 else "NO"),
             ("largest difference", f"{check.max_steps:.1f} steps")]  # fmt: skip
    value = {"file": str(artifact.path), **check.to_dict()}
    emit(as_json, value, lambda console: console.print(pairs(facts, title=str(artifact.path))))
    if not check.passed:
        raise CheckFailedError(f"{artifact.path}: its outputs differ from its golden outputs")
