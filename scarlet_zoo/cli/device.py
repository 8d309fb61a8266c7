"""The verb device: measuring on an Android phone that is connected by adb."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, pairs, records_table, say, tell_random_weights, weights_of
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import (
    Affinity,
    InChans,
    Json,
    Mode,
    Models,
    NumClasses,
    Out,
    ProviderOrCpu,
    Serial,
    Shapes,
    Spin,
    Targets,
    Threads,
    Weights,
    apply_only,
    numbers,
)
from scarlet_zoo.errors import ScarletError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scarlet_zoo.measurement.phone.programs import Program
    from scarlet_zoo.measurement.phone.sysroot import Sysroot

device = typer.Typer(help="Measure on Android phones, by adb.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    device.command("run", cls=taking({"--runtime": "--ort-version"}))(run)
    device.command("list")(list_devices)
    app.add_typer(device, name="device")


def list_devices(as_json: Json = False, adb: Serial = None) -> None:
    """Describe a connected phone.

    It shows the phone's temperature and its fastest cores, which are those to give to --affinity of 'device run'.
    --adb is needed if several phones are connected.
    """
    from dataclasses import asdict

    from scarlet_zoo.measurement.phone.adb import find_phone

    phone = find_phone(adb)
    fastest = phone.fastest_cores()
    described = {"serial": phone.serial, **asdict(phone.about()), "fastest_cores": fastest,
                 "temperature_c": phone.temperature_c()}  # fmt: skip
    shown = {**described, "fastest_cores": ",".join(map(str, fastest)) or "not stated"}
    emit(as_json, described, lambda console: console.print(pairs(shown.items())))


def run(
    models: Models,
    adb: Serial = None,
    as_json: Json = False,
    threads: Threads = 1,
    mode: Mode = "hot",
    spin: Spin = True,
    affinity: Affinity = None,
    settle: Annotated[float, typer.Option(min=0, help="Longest wait for a steady temperature, in seconds.")] = 120.0,
    timeout: Annotated[float, typer.Option(min=1, help="Time after which a run is aborted, in seconds.")] = 1800.0,
    target: Targets = None,
    weights: Weights = "auto",
    shape: Shapes = None,
    num_classes: NumClasses = None,
    in_chans: InChans = None,
    provider: ProviderOrCpu = None,
    ort_version: Annotated[str | None, typer.Option(help="Version of ONNX Runtime; the newest when left out.")] = None,
    perf_test: Annotated[
        Path | None, typer.Option(help="An onnxruntime_perf_test of your own, to be run instead of our script.")
    ] = None,
    benchmark_model: Annotated[
        Path | None, typer.Option(help="A benchmark_model of your own, LiteRT's program, which runs .tflite files.")
    ] = None,
    executor_runner: Annotated[
        Path | None, typer.Option(help="An executor_runner of your own, ExecuTorch's program, which runs .pte files.")
    ] = None,
    out: Out = Path("out/devices"),
) -> None:
    """Measure networks on an Android phone.

    Files are pushed and run, the results are pulled back, and nothing is left on the phone. Programs of your own are
    for 64-bit ARM; --perf-test is the recommended way for ONNX files. --adb is needed if several phones are connected.
    The records are written to --out, one file for each device.
    """
    from scarlet_zoo.latency import CPU, Settings
    from scarlet_zoo.measurement.phone.adb import find_phone
    from scarlet_zoo.measurement.phone.archive import make_bundle_archive
    from scarlet_zoo.measurement.phone.measure import DevicePlan, run_on_phone
    from scarlet_zoo.measurement.phone.sysroot import make_sysroot
    from scarlet_zoo.measurement.record_folder import Results
    from scarlet_zoo.measurement.workloads import gather, whole_files
    from scarlet_zoo.utils.files import cache_folder

    given = {"--perf-test": perf_test, "--benchmark-model": benchmark_model, "--executor-runner": executor_runner}
    programs = _programs(given, mode, spin, ort_version)
    apply_only(not programs, "our own script", shape=shape)
    apply_only(not programs or perf_test is not None, "ONNX files", provider=provider, ort_version=ort_version)
    settings = Settings(mode=mode, threads=threads, spin=spin, affinity=numbers(affinity), shapes=tuple(shape or ()),
                        provider=provider or CPU)  # fmt: skip
    phone, work = find_phone(adb), cache_folder() / "device"

    def archive() -> tuple[Path, Sysroot]:
        say("download a Python for arm64")
        sysroot = make_sysroot(work / f"arm64-{ort_version or 'newest'}", ort_version)
        return make_bundle_archive(sysroot, work / f"arm64-{ort_version or 'newest'}.tar.gz"), sysroot

    with tempfile.TemporaryDirectory(prefix="scarlet-zoo-") as temporary:
        workloads = gather(models, Path(temporary), target or ("ort-arm64",), weights, None, say,
                           num_classes=num_classes, in_chans=in_chans, described=False)  # fmt: skip
        workloads = whole_files(workloads, Path(temporary))
        plan = DevicePlan(settings=settings, settle_s=settle, timeout_s=timeout, programs=programs)
        records = run_on_phone(phone, workloads, archive, plan, say)
    results = Results(out)
    for record in records:
        results.add(record)

    def render(console: Console) -> None:
        console.print(records_table(records))
        tell_random_weights(console, weights_of(records))

    emit(as_json, [record.to_dict() for record in records], render)


def _programs(given: Mapping[str, Path | None], mode: str, spin: bool, ort_version: str | None) -> tuple[Program, ...]:
    """The programs of the user's, by their flags.

    Raises:
        ScarletError: one is no file, or an option is given that they do not have.
    """
    from scarlet_zoo.measurement.phone.measure import TOOLS
    from scarlet_zoo.measurement.phone.programs import Program

    programs = []
    for tool in TOOLS:
        path = given[tool.flag]
        if path is None:
            continue
        if not path.is_file() or mode != "hot":
            raise ScarletError(f"device run: got {tool.flag} {path} and mode {mode}, wanted a file and mode hot")
        if not spin and tool.means:
            raise ScarletError(f"device run: got {tool.flag} and --no-spin, which {tool.name} does not have")
        version = ort_version if tool.flag == "--perf-test" else None
        programs.append(Program(tool, path, version or "not stated"))
    return tuple(programs)
