"""The figures of ``make fuzz`` as the table of docs/trust.md; run as a file, this writes them there."""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "trust.md"
FIGURES = HERE / "figures.json"


def table(rows):
    """The figures as Markdown, with their sums."""
    lines = ["| what is read | cases | accepted | refused | faults | slowest |", "|---|---:|---:|---:|---:|---:|"]
    for name, row in rows.items():
        refused = f"{row['refused']:,}" + (f", {row['stopped']:,} stopped" if row.get("stopped") else "")
        cells = (name.replace("_", " "), f"{row['cases']:,}", f"{row['accepted']:,}", refused, f"{row['faults']:,}",
                 f"{row['slowest_s']:.1f} s")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    cases, faults = (sum(row[key] for row in rows.values()) for key in ("cases", "faults"))
    return "\n".join((*lines, "", f"These are {cases:,} cases in all, with {faults:,} faults."))


def guided(rows):
    """The figures of ``make guided`` as a sentence."""
    inputs, faults, seconds = (sum(row[key] for row in rows.values()) for key in ("inputs", "faults", "seconds"))
    return (f"The last run gave {len(rows)} parsers {inputs:,} inputs in {seconds / 60:.0f} minutes, with {faults:,} "
            "faults at its end.")  # fmt: skip


def page(text, figures):
    """A page with these figures in place of its own."""
    for name, made in (("figures", table(figures["rows"])), ("guided", guided(figures["guided"]))):
        part = rf"<!-- {name} -->.*<!-- end of {name} -->"
        fresh = f"<!-- {name} -->\n{made}\n<!-- end of {name} -->"
        text = re.sub(part, fresh.replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), json.loads(FIGURES.read_text())))
