"""The figures of ``make mutants`` as a table of docs/trust.md; run as a file, this writes it there."""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "trust.md"
FIGURES = HERE / "figures.json"


def table(figures):
    """The figures as Markdown, with their sums."""
    lines = ["| part | faults that can be planted | tried | noticed | share |", "|---|---:|---:|---:|---:|"]
    rooms = figures["rooms"]
    whole = {key: sum(row[key] for row in rooms.values()) for key in ("made", "tried", "noticed")}
    for name, row in (*rooms.items(), ("in all", whole)):
        share = f"{row['noticed'] / row['tried']:.1%}"
        lines.append(f"| {name} | {row['made']:,} | {row['tried']:,} | {row['noticed']:,} | {share} |")
    return "\n".join(lines)


def page(text, figures):
    """A page with these figures in place of its own."""
    fresh = f"<!-- mutants -->\n{table(figures)}\n<!-- end of mutants -->"
    return re.sub(r"<!-- mutants -->.*<!-- end of mutants -->", lambda _: fresh, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), json.loads(FIGURES.read_text())))
