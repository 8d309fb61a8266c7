"""The verbs serve and web: measuring in a phone's browser."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, progress_bar, records_table, say, tell_random_weights, weights_of
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    HeldOut,
    InChans,
    Json,
    Networks,
    NumClasses,
    Out,
    Rounds,
    Runs,
    Seconds,
    Serial,
    Shapes,
    SpaceOrNone,
    TablePrecision,
    Targets,
    Threads,
    Weights,
)
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.installing import install_command

if TYPE_CHECKING:
    from scarlet_zoo.measurement.browser.app import Desk
    from scarlet_zoo.measurement.lut.bundle import Bundle
    from scarlet_zoo.measurement.workloads import Workload

Models = Annotated[list[str] | None, typer.Argument(help="ONNX files, or names of networks.", metavar="MODEL...")]
_CLASSIFIER = "scarlet_cifar_s"

web = typer.Typer(help="Install what browsers need to run networks.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("serve", cls=taking({"--records": "--stop-after"}))(serve)
    web.command("install")(install)
    app.add_typer(web, name="web")


def install(as_json: Json = False) -> None:
    """Install onnxruntime-web into your cache.

    npm installs it by the versions of a lock file. 'serve' sends it to phones from there.
    """
    from scarlet_zoo.measurement.browser.web_runtime import install_web_runtime

    runtime = install_web_runtime()
    fields = {"folder": str(runtime.folder), "version": runtime.version, "sha256": runtime.sha256}
    facts = [("onnxruntime-web", runtime.version), ("in", runtime.folder)]
    emit(as_json, fields, lambda console: console.print(pairs(facts)))


def serve(
    models: Models = None,
    as_json: Json = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    out: Out = Path("out/devices"),
    lan: Annotated[bool, typer.Option("--lan", help="Listen on the local network, not only on this machine.")] = False,
    https: Annotated[
        bool,
        typer.Option("--https", help="Use HTTPS with a self-signed certificate; threads and the camera need it."),
    ] = False,
    adb: Serial = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Further name or address under which the page is opened, such as that of a tunnel; requests for "
            "others are refused. It may be given several times.",
            metavar="NAME",
        ),
    ] = None,
    threads: Threads = 1,
    runs: Runs = 100,
    seconds: Seconds = 2.0,
    space: SpaceOrNone = None,
    precision: TablePrecision = "float32",
    networks: Networks = 32,
    held_out: HeldOut = 16,
    sittings: Rounds = 2,
    target: Targets = None,
    weights: Weights = "auto",
    shape: Shapes = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    stop_after: Annotated[
        int | None, typer.Option(min=1, help="Number of records and tables after which the server stops.")
    ] = None,
) -> None:
    """Measure networks in a phone's browser.

    Prints an address to open on the phone, and writes the records that come back to --out. With --space, a latency
    table of that search space is also measured. With --adb, the port is forwarded to localhost on that phone.
    """
    _need_web()
    from scarlet_zoo.measurement.browser.app import Desk
    from scarlet_zoo.measurement.browser.catalog import catalog
    from scarlet_zoo.measurement.browser.server import Place, new_token, run_server
    from scarlet_zoo.measurement.browser.table_run import TableRun
    from scarlet_zoo.measurement.browser.web_runtime import web_runtime
    from scarlet_zoo.measurement.record_folder import Results
    from scarlet_zoo.measurement.workloads import gather, whole_files

    if not models and space is None:
        raise ScarletError("serve: got no networks and no --space, wanted at least one of them")
    runtime = web_runtime()
    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary:
        folder = Path(temporary)
        workloads = gather(models or [], folder, target or ("native",), weights, None, say, num_classes=num_classes,
                           in_chans=in_chans)  # fmt: skip
        workloads = whole_files(workloads, folder)
        results = Results(out)
        bundle = None if space is None else _bundle(space, folder / "bundle", precision, (networks, held_out))
        settings = {"threads": threads, "runs": runs, "seconds": seconds, "warmup": 10, "burst": 5, "table_runs": 20}
        desk = Desk(token=new_token(), models=catalog(workloads, _classifier(workloads, folder), shape or ()),
                    runtime=runtime, results=results, settings=settings,
                    table=None if bundle is None else TableRun(bundle, sittings, results))  # fmt: skip
        place = Place(lan=lan, port=port, https=https, adb=adb, names=tuple(host or ()))
        run_server(desk, place, lambda url, fingerprint: _show(url, fingerprint, place.lan or place.https), stop_after)
    rows = [record.to_dict() for record in results.received]
    emit(as_json, rows, lambda console: _render(console, desk))


def _need_web() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ScarletError(
            f"serve: {error.name} is not installed, install it with: {install_command('web')}"
        ) from error


def _bundle(space: str, folder: Path, precision: str, networks: tuple[int, int]) -> Bundle:
    from scarlet_zoo.arch.space_files import find_space
    from scarlet_zoo.measurement.lut.bundle import make_bundle

    with progress_bar("export") as progress:
        return make_bundle(find_space(space), folder, precision, networks, 0, progress)


def _classifier(workloads: list[Workload], folder: Path) -> Workload | None:
    """A trained network that classifies images; None if the user named one."""
    from scarlet_zoo.deployment.to_onnx import export_onnx
    from scarlet_zoo.deployment.trace import Recipe
    from scarlet_zoo.graph.artifact import read_artifact
    from scarlet_zoo.measurement.workloads import Workload
    from scarlet_zoo.models.loading import load_network

    if any(read_artifact(one.path).labels for one in workloads if one.path.suffix == ".onnx"):
        return None
    network = load_network(_CLASSIFIER, "pretrained")
    path = folder / f"{_CLASSIFIER}.onnx"
    export_onnx(network.model, path, Recipe(input_size=network.preprocessing.size), weights=network.weights,
                preprocessing=network.preprocessing, labels=network.labels)  # fmt: skip
    return Workload(_CLASSIFIER, path, _CLASSIFIER)


def _show(url: str, fingerprint: str | None, scan: bool) -> None:
    """Print the address on stderr, even into a pipe, because nothing works without it."""
    from scarlet_zoo.measurement.browser.server import qr_code

    drawn = qr_code(url) if scan and sys.stderr.isatty() else None
    lines = [drawn] if drawn else []
    if fingerprint is not None:
        lines.append(f"the phone will ask whether to trust a certificate; its SHA-256 is {fingerprint}")
    sys.stderr.write("\n".join([*lines, f"open {url}", "press Ctrl-C to stop", ""]))
    sys.stderr.flush()


def _render(console: Console, desk: Desk) -> None:
    console.print(records_table(desk.results.received, devices=True))
    tell_random_weights(console, weights_of(desk.results.received))
    console.print(f"written to {desk.results.folder}")
