"""Write the report, its figures, the README's table and the gallery's latencies from records and published figures."""

import argparse
from pathlib import Path

from scarlet_zoo.evidence.drivers import one_line_errors, read_json
from scarlet_zoo.evidence.gallery_latencies import packaged_text
from scarlet_zoo.evidence.report.pages import EVIDENCE, OPTIONAL, drawings, report_html, report_markdown
from scarlet_zoo.evidence.report.readme import with_table
from scarlet_zoo.measurement.gallery.latencies import PACKAGED
from scarlet_zoo.measurement.published import published_peers
from scarlet_zoo.utils.files import write_text

HERE = Path(__file__).parent

if __name__ == "__main__":
    with one_line_errors():
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--out", type=Path, default=HERE, help="Folder to write into.")
        out = parser.parse_args().out
        files = {name: HERE / "results" / f"{name}.json" for name in (*EVIDENCE, *OPTIONAL) if name != "published"}
        evidence = {name: read_json(file) for name, file in files.items()
                    if name not in OPTIONAL or file.is_file()}  # fmt: skip
        evidence["published"] = [peer.model_dump() for peer in published_peers()]
        for name, drawing in drawings(evidence).items():
            write_text(out / "figures" / f"{name}.svg", drawing)
        write_text(out / "REPORT.md", report_markdown(evidence))
        write_text(out / "report.html", report_html(evidence))
        if out == HERE:
            readme = HERE.parent / "README.md"
            write_text(readme, with_table(readme.read_text(), evidence["peers"], evidence["published"]))
            write_text(PACKAGED, packaged_text(HERE / "results"))
