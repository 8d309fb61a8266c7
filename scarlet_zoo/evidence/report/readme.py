"""The table of the README, from the same record as the report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scarlet_zoo.evidence.report.latency import Peers
from scarlet_zoo.latency import is_stable
from scarlet_zoo.utils.markdown import markdown_table

_NETWORKS = ("scarlet_a", "scarlet_b", "scarlet_c", "mobilenetv3_large_100", "efficientnet_b0")
_BEGIN, _END = (f"<!-- the table of benchmarks/make_report.py: {end} -->" for end in ("begin", "end"))
_HEADER = ("network", "parameters", "MACs (M)", "ImageNet top-1, published", "ours, ms", "timm's exporter",
           "released spelling", "ours in int8, ms")  # fmt: skip


def with_table(readme: str, measured: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> str:
    """Return the README with the table of these measurements between its marks.

    Args:
        readme: text of the README.
        measured: contents of ``peers.json``.
        published: accuracies that authors publish, see :mod:`scarlet_zoo.measurement.published`.
    """
    assert readme.count(_BEGIN) == readme.count(_END) == 1, "the README has lost the marks of its table"
    table = readme_table(measured, published)
    return re.sub(rf"{_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n{table}\n{_END}", readme, flags=re.DOTALL)


def readme_table(measured: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: our files against timm's exporter and the released spelling, and the conditions."""
    peers = Peers(measured, published)
    rows = []
    for name in _NETWORKS:
        network, ours = peers.networks[name], peers.float_ms(name)
        rows.append((f"`{name}`", f"{network['params']:,}", f"{network['macs'] / 1e6:.1f}", f"{peers.top1[name]:.1f} %",
                     f"{ours:.2f}", *(_times(peers, name, other, ours) for other in ("timm", "released")),
                     _integers(peers, name)))  # fmt: skip
    shown = [row["record"] for row in measured["rows"] if row["threads"] == 1 and row["name"] in _NETWORKS]
    return f"{markdown_table(_HEADER, rows)}\n\n{_words(peers.conditions[1])} {_steadiness(shown)}"


def _times(peers: Peers, name: str, variant: str, ours: float) -> str:
    theirs = peers.p50.get((name, variant, 1))
    return f"{theirs / ours:.2f}x" if theirs else "-"


def _integers(peers: Peers, name: str) -> str:
    """The latency in int8, where the processor has VNNI; elsewhere int8 may be slower than float32."""
    quick = any("vnni" in feature for feature in peers.conditions[1]["cpu_features"])
    return f"{peers.p50[name, 'int8', 1]:.2f}" if quick else "not here"


def _words(conditions: Mapping[str, Any]) -> str:
    """What was measured where, and what it does not say."""
    processor = f"{conditions['device']} ({' '.join(conditions['cpu_features'])})"
    runtime = f"onnxruntime {conditions['runtime_version']}, {conditions['date'][:10]}"
    return (
        f"Median latency of one image on one thread, all files interleaved: {processor},\n{runtime}, random weights "
        "(`benchmarks/results/peers.json`). The columns with an x say how many times as long the file of timm's own\n"
        "exporter takes, and one in the released code's spelling. On a processor without VNNI int8 may gain nothing: "
        "measure it\nthere. Accuracies are their authors' and not measured here."
    )


def _steadiness(records: Sequence[Mapping[str, Any]]) -> str:
    """How many of the records are unsteady by our own rule: their medians are compared all the same, with care."""
    unsteady = sum(not is_stable(record["cv"]) for record in records)
    if not unsteady:
        return ""
    return (
        f"Of the {len(records)} records behind it {unsteady} are UNSTABLE by our own rule: their\nruns vary by more "
        "than 5 %, on a machine that others share. A difference of a few percent is none."
    )
