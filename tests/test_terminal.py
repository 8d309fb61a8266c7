"""What a person sees on a terminal of 80 columns: no name, path or identity string is cut or broken."""

import json
import os
import pty
import re
import subprocess
import sys
from io import StringIO

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from lab_parts import noisy, record
from rich.console import Console
from rich.progress import Progress

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.cli import console
from scarlet_zoo.cli.layout import bar, table
from scarlet_zoo.measurement.records import check_record, write_records

TABLE = ROOT / "benchmarks" / "results" / "lut_scarlet_float32.json"
LONG = "a folder with a rather long name/another one in it/of the things that people have/network [v2]"


# One process runs several commands, because starting one takes longer than all of them.
IN_TURN = """
import json, sys
from scarlet_zoo.cli.main import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, arguments
    print(end="\\f", flush=True)
"""


def on_terminal(*commands):
    """What the command line prints on a terminal of 80 columns for each of the commands."""
    terminal, inside = pty.openpty()
    changed = {"COLUMNS": "80", "LINES": "50", "TERM": "dumb", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    command = [sys.executable, "-c", IN_TURN, json.dumps([list(map(str, arguments)) for arguments in commands])]
    process = subprocess.Popen(command, stdout=inside, stderr=inside, env={**os.environ, **changed})
    os.close(inside)
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody writes there any more
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    assert process.wait() == 0
    *printed, rest = b"".join(parts).decode().replace("\r\n", "\n").split("\f")
    assert (len(printed), rest) == (len(commands), "")
    return printed


@given(
    st.lists(st.text("abc/-_.é中", min_size=1, max_size=120), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(["p50 ms", "variation", "peak MiB", "verdict", "95 % within"]), min_size=1, max_size=12),
    st.integers(20, 120),
)
def test_a_name_is_whole_and_the_numbers_fit(names, columns, width):
    rows = [(name, *(f"{place}.{number}" for number in range(len(columns)))) for place, name in enumerate(names)]
    made = table(("file", *columns), rows)
    lines = [line for line, _ in made.lines(width)]
    layout = made.layout(width)
    for name, *numbers in rows:
        (place,) = [index for index, line in enumerate(lines) if line.split() and line.split()[0] == name][:1]
        beside = lines[place + 1] if layout.stacked else lines[place]
        shown = [numbers[column - 1] for column in layout.shown if column]
        assert beside.split()[0 if layout.stacked else 1 :] == shown
    if len(layout.shown) <= len(columns):
        assert "--json also shows" in lines[-1]
    assert layout.width <= width or len(layout.shown) == 2


def test_a_narrow_table_is_one_line_a_row_and_headers_are_wrapped_before_a_name_moves():
    made = table(("file", "published top-1 %", "published MACs (M)"), [("a.onnx", "76.9", "365")])
    assert [line for line, _ in made.lines(80)] == [
        "file    published top-1 %  published MACs (M)", "a.onnx               76.9                 365"
    ]  # fmt: skip
    assert not made.layout(30).stacked
    assert [line.split() for line, _ in made.lines(30)][-1] == ["a.onnx", "76.9", "365"]


def test_a_bar_is_as_long_as_its_share_to_an_eighth():
    assert [bar(share, 2) for share in (0, 1 / 16, 0.5, 9 / 16, 1)] == ["", "▏", "█", "█▏", "██"]


@pytest.mark.slow
def test_paths_and_identity_strings_are_whole_on_a_terminal(tmp_path):
    folder = tmp_path / LONG
    folder.mkdir(parents=True)
    rows = [check_record({**record(noisy(seed)), "file": str(folder / f"{seed}.onnx")}) for seed in (0, 1)]
    write_records(folder / "r.json", rows)
    compared, predicted, shown, *tables = on_terminal(
        ("compare", folder / "r.json"), ("lut", "predict", "scarlet_a", "--lut", TABLE), ("show", "scarlet_a"),
        ("list",), ("weights", "list"), ("doctor",),
    )  # fmt: skip
    assert f"\n{folder / '1.onnx'}\n" in compared
    assert all(len(line) <= 80 for line in compared.splitlines() if str(folder) not in line)
    assert f"\n{ZOO['scarlet_a'].arch}\n" in predicted
    assert f"  {ZOO['scarlet_a'].arch}\n" in shown
    rest = [line for line in shown.splitlines() if ZOO["scarlet_a"].arch not in line]
    assert max(map(len, rest)) <= 80
    assert len(rest) > 20
    for drawn in tables:
        assert len(drawn.splitlines()) > 5
        assert "…" not in drawn


def test_nothing_is_cut_in_a_pipe(scarlet, tmp_path):
    name = f"{tmp_path}/{LONG}/" + "x" * 300
    rows = [check_record({**record(noisy(seed)), "file": f"{name}{seed}.onnx"}) for seed in (0, 1)]
    write_records(tmp_path / "r.json", rows)
    code, said, _ = scarlet("compare", tmp_path / "r.json")
    assert code == 0
    assert any(line.startswith(f"{name}1.onnx  ") and line.endswith("yes") for line in said.splitlines())


def test_what_people_name_is_no_markup():
    """A progress bar on a terminal, with the name of a folder."""
    program = "from scarlet_zoo.cli.console import progress_bar\nwith progress_bar('q[/b]') as draw: draw(1, 2, '[/i]')"
    main, own = pty.openpty()
    done = subprocess.run([sys.executable, "-c", program], stderr=own, stdin=own, stdout=own, timeout=60, check=False)
    os.close(own)
    os.close(main)
    assert done.returncode == 0


@pytest.mark.parametrize(("done", "total", "words"), [
    (30, 40, r"0:00:1\d left, 0:00:3\d passed"), (0, None, "0:00:30 passed"),
    (40, 40, r"0:00:3\d passed")])  # fmt: skip
def test_a_bar_says_which_time_is_left_and_which_has_passed(done, total, words):
    clock = [0.0]
    progress = Progress(console=Console(file=StringIO()), get_time=lambda: clock[0])
    task = progress.add_task("train", total=total)
    for step in range(1, 31):
        clock[0] = float(step)
        progress.update(task, completed=done * step / 30)
    assert re.fullmatch(words, console._Times().render(progress.tasks[0]).plain)
