"""Verbs that prepare a network for deployment: fold, deploy."""

from __future__ import annotations

import json

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, say
from scarlet_zoo.cli.options import (
    FileName,
    InChans,
    Json,
    Name,
    NumClasses,
    Out,
    OutOrNone,
    Threads,
    Weights,
    apply_only,
    labels_in,
    levels_of,
    path_of,
    probe_folder,
)
from scarlet_zoo.cli.shared import ExportOptions, with_shared_options


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("fold")(fold_network)
    app.command("deploy")(deploy_network)


def fold_network(
    name: Name,
    as_json: Json = False,
    weights: Weights = "auto",
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    stabilized: bool = typer.Option(False, help="Insert stabilizers at the skipped layers before folding."),
    out: OutOrNone = None,
    file_name: FileName = None,
) -> None:
    """Merge batch norms and stabilizers into the convolutions.

    Prints the certificate, which lists every merge. With --out, the folded weights and the certificate are also
    written.
    """
    from scarlet_zoo.arch.zoo import safe_name
    from scarlet_zoo.folding.fold import fold
    from scarlet_zoo.models.loading import load_network
    from scarlet_zoo.models.weights.checkpoint import save_weights
    from scarlet_zoo.utils.files import make_folder, write_text

    apply_only(out is not None, "--out", name=file_name)
    named = None if out is None else path_of(out, file_name, ".folded.safetensors")
    network = load_network(name, weights, stabilized=stabilized or None, num_classes=num_classes, in_chans=in_chans)
    result = fold(network.model)
    value = {"name": name, "arch": str(network.arch) if network.arch else None, "weights": network.weights,
             "summary": result.summary(), **json.loads(result.certificate())}  # fmt: skip
    if out is not None:
        make_folder(out)
        path = named or out / f"{safe_name(name)}.folded.safetensors"
        save_weights(result.model, path, {"weights": network.weights})
        certificate = f"{path.name.removesuffix('.folded.safetensors')}.certificate.json"
        write_text(path.with_name(certificate), result.certificate() + "\n")
        value["path"] = str(path)

    def render(console: Console) -> None:
        console.print(pairs([("weights", network.weights), ("fold", result.summary())], title=name))
        for step in result.steps:
            if step.kind != "batch_norm":
                inverted = "" if step.condition is None else f", condition number {step.condition:.1f}"
                console.print(f"{step.kind}: {step.site} into {', '.join(step.absorbed_by)}{inverted}")
        for site in result.skipped:
            console.print(f"left as it is: {site.site}, {site.reason}")

    emit(as_json, value, render)


@with_shared_options
def deploy_network(
    name: Name,
    out: Out,
    what: ExportOptions,
    as_json: Json = False,
    threads: Threads = 1,
) -> None:
    """Create, fold, export, verify and measure a network.

    Writes the ONNX file and a report.
    """
    from scarlet_zoo.deployment.deploy import deploy
    from scarlet_zoo.deployment.deploy_report import deployment_rows, deployment_title
    from scarlet_zoo.deployment.targets import float_variant
    from scarlet_zoo.latency import Settings

    size = (what.input_size, what.input_size) if isinstance(what.input_size, int) else what.input_size
    recipe = what.recipe(float_variant(what.target_in_precision), input_size=size)
    probe_folder(out)
    path_of(out, what.file_name, ".onnx")
    with progress_bar("measure") as progress:
        result = deploy(
            name,
            out,
            weights=what.weights,
            recipe=recipe,
            settings=Settings(threads=threads),
            stage=say,
            progress=progress,
            features=levels_of(what.features),
            file_name=what.file_name,
            labels=labels_in(what.labels),
            num_classes=what.num_classes,
            in_chans=what.in_chans,
            preprocessing=what.preprocessing,
        )
    report = result.to_dict()

    def render(console: Console) -> None:
        console.print(pairs(deployment_rows(report), title=deployment_title(report)))
        console.print(f"report: {out / 'report.md'}, {out / 'report.json'}")

    emit(as_json, report, render)
