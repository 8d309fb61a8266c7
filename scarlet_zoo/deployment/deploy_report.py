"""Write a deployment's report in markdown from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_zoo.arch.zoo import safe_name
from scarlet_zoo.utils.markdown import conditions_line, markdown_table, unstable_mark


def deployment_title(report: Mapping[str, Any]) -> str:
    """The name that the file was given; the network's where it was given none."""
    stem, name = Path(report["artifact"]["path"]).stem, str(report["name"])
    return name if stem == safe_name(name) else stem


def deployment_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows (name, value) of a deployment's summary table."""
    parity, timing, published = report["parity"], report["timing"], report["published"]
    name = str(report["name"])
    rows = [
        *([("network", name)] if deployment_title(report) != name else []),
        ("weights", str(report["weights"])),
        ("parameters", f"{report['params']:,}"),
        ("multiply-adds", f"{report['macs']:,}"),
    ]
    if published is not None:
        rows.append(("ImageNet top-1", f"{published['top1_percent']} % (published, not measured here)"))
    rows += [
        ("fold", report["fold"]["summary"]),
        ("file", f"{report['artifact']['path']} (opset {report['artifact']['opset']}, {report['artifact']['form']})"),
        ("sha256", report["artifact"]["sha256"]),
        ("verified", "yes" if parity["passed"] else "NO: it differs from its source"),
        (
            "largest error",
            f"{parity['max_abs_err']:.1e}, {parity['max_rel_err']:.1e} of the spread between photographs",
        ),
        ("SQNR", f"{parity['sqnr_db']:.0f} dB"),
        ("top-1 agreement", f"{parity['top1_agreement']:.1%}"),
    ]
    if timing is not None:
        rows += [
            ("latency p50", f"{timing['p50_ms']:.2f} ms{unstable_mark(timing.get('stable'))}"),
            ("p90, p99, min", f"{timing['p90_ms']:.2f}, {timing['p99_ms']:.2f}, {timing['min_ms']:.2f} ms"),
            ("variation", f"{timing['cv']:.1%} over {timing['runs']} runs{_warning(timing)}"),
            ("load, first run", f"{timing['load_ms']:.0f}, {timing['first_ms']:.1f} ms"),
            ("peak memory", f"{timing['peak_rss_bytes'] / 2**20:.0f} MiB"),
            ("measured on", conditions_line(timing["conditions"])),
        ]
    return rows


def _warning(timing: Mapping[str, Any]) -> str:
    return "" if timing.get("stable", True) else ": UNSTABLE, more than 5 %; measure again on an idle machine"


def deployment_markdown(report: Mapping[str, Any]) -> str:
    """The text of a deployment's ``report.md``."""
    steps, skipped = report["fold"]["steps"], report["fold"]["skipped"]
    kinds = sorted({step["kind"] for step in steps})
    parts = [f"# {deployment_title(report)}", "", f"weights: {report['weights']}", ""]
    if report["arch"]:
        parts += [f"`{report['arch']}`", ""]
    parts += [markdown_table(("what", "value"), deployment_rows(report)), "", "## Fold", ""]
    parts.append(
        markdown_table(
            ("kind", "sites", "largest float64 difference"),
            [
                (kind, len(same), f"{max(step['max_abs_diff'] for step in same):.1e}")
                for kind in kinds
                for same in [[step for step in steps if step["kind"] == kind]]
            ],
        )
    )
    parts += [f"\nNot folded: `{site['site']}`, {site['reason']}." for site in skipped]
    parts += ["", "## Verification", "", f"Tolerance: {report['parity']['tolerance']['reason']}.", ""]
    parts.append(
        markdown_table(
            ("images", "number", "absolute error", "relative error", "at most", "SQNR dB", "at least",
             "top-1 agreement"),
            [
                (case["case"], case["images"], f"{case['max_abs_err']:.1e}", f"{case['max_rel_err']:.1e}",
                 f"{case['limit_rel_err']:.1e}", f"{case['sqnr_db']:.0f}",
                 "" if case["limit_sqnr_db"] is None else f"{case['limit_sqnr_db']:.0f}",
                 f"{case['top1_agreement']:.1%}")
                for case in report["parity"]["cases"]
            ],
        )
    )  # fmt: skip
    return "\n".join(parts) + "\n"
