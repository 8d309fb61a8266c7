"""The figures of ``make chaos`` as the table of docs/trust.md; ``python -m chaos.page`` writes them there."""

import json
import re
from pathlib import Path

FIGURES = Path(__file__).parent / "figures.json"
PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
# Of each kind of fault, what it is counted in.
COUNTED = {"kills": "kills", "full disks": "disks", "closed folders": "folders", "cut-off files": "files"}


def table(figures):
    """The figures as Markdown: how often each command met a fault, all of which ended in the same result."""
    lines = [f"| command | {' | '.join(COUNTED)} |", f"|---|{'---:|' * len(COUNTED)}"]
    for name, row in figures.items():
        cells = (str(row[kind][unit]) for kind, unit in COUNTED.items())
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    sums = (str(sum(row[kind][unit] for row in figures.values())) for kind, unit in COUNTED.items())
    return "\n".join((*lines, f"| in all | {' | '.join(sums)} |"))


def page(text, figures):
    """A page with these figures in place of its own."""
    made = f"<!-- chaos -->\n{table(figures)}\n<!-- end of chaos -->"
    return re.sub(r"<!-- chaos -->.*<!-- end of chaos -->", lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), json.loads(FIGURES.read_text())))
