"""The verb recommend: a network for a device and a latency budget, chosen from the device's records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scarlet_zoo.cli.console import emit, sentence, table
from scarlet_zoo.cli.former_flags import taking
from scarlet_zoo.cli.options import Json, ProviderOrCpu, ThreadsOrAny
from scarlet_zoo.cli.record_options import Accuracies, RecordFiles
from scarlet_zoo.errors import CheckFailedError
from scarlet_zoo.utils.markdown import unstable_mark

if TYPE_CHECKING:
    from scarlet_zoo.measurement.recommend import Recommendation


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("recommend", cls=taking({"--device": "--records"}))(recommend_network)


def recommend_network(
    records: RecordFiles,
    budget_ms: Annotated[float, typer.Option(min=0.001, help="Latency budget for one image, in milliseconds.")],
    min_top1: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, help="Smallest top-1 accuracy in percent: ImageNet's as published, or that of --accuracy."
        ),
    ] = None,
    accuracy: Accuracies = None,
    threads: ThreadsOrAny = None,
    provider: ProviderOrCpu = None,
    as_json: Json = False,
) -> None:
    """Recommend a network for a device and a latency budget.

    The records are of one device. The answer names a network, its graph variant and its runtime. With --threads, only
    records of that number of threads count, and with --provider only those of that execution provider. With --accuracy,
    accuracies on your own images count instead of the published ones. Exit code 1 if no measured network fits.
    """
    from scarlet_zoo.measurement.recommend import read_evidence, recommend

    evidence = [record for path in records for record in read_evidence(path)]
    answer = recommend(evidence, budget_ms, min_top1, threads, accuracy or (), provider)
    emit(as_json, answer.to_dict(), lambda console: _render(console, answer))
    if answer.choice is None:
        raise CheckFailedError(answer.reason)


def _render(console: Console, answer: Recommendation) -> None:
    if answer.choice is not None:
        sentence(console, f"{answer.device}, {answer.budget_ms:g} ms: {answer.reason}")
        console.print(f"from record {answer.choice.record}; accuracy: {answer.choice.source or 'not known'}")
    if answer.in_integers is not None:
        one = answer.in_integers
        interval = f"{one.p50_ms:.2f} ms [{one.low_ms:.2f}, {one.high_ms:.2f}]{unstable_mark(one.stable)}"
        sentence(console, f"in int8: {one.network}, {interval}; measure its int8 accuracy yourself")
    if answer.slow_int8 is not None:
        sentence(console, answer.slow_int8)
    if answer.maybe:
        rows = [
            (
                one.network,
                one.precision,
                one.threads,
                f"{one.low_ms:.2f} to {one.high_ms:.2f}{unstable_mark(one.stable)}",
            )
            for one in answer.maybe
        ]
        console.print(table(("near the budget", "precision", "threads", "ms"), rows))
