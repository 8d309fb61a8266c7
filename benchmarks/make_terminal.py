"""Run the commands of the first page's recording, and draw what they print as figures/terminal.svg."""

import tempfile
from pathlib import Path

from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.terminal import COMMANDS, prepare, recording, run_commands
from scarlet_zoo.utils.files import write_text

HERE = Path(__file__).parent

if __name__ == "__main__":
    with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        prepare(Path(temporary), HERE / "results")
        write_text(HERE / "figures" / "terminal.svg", recording(COMMANDS, run_commands(Path(temporary))))
