"""What a person at a prompt meets first: what to do next, completion in a real shell, and quiet."""

import contextlib
import io
import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from command_parts import understood
from conftest import ROOT

from scarlet_zoo.cli import console, groups

PROGRAM = Path(sys.executable).parent / "scarlet-zoo"
SHELLS = {"bash": ["bash", "-i"], "zsh": ["zsh", "-i"]}


def test_without_arguments_it_says_what_to_do_next(scarlet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = scarlet()
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    told = re.findall(r"^  scarlet-zoo (.*)$", out, re.MULTILINE)
    assert len(told) == 7
    for line in told:
        understood(f"scarlet-zoo {line}", tmp_path)


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_shows_neither_progress_nor_notes(scarlet, two_files, place, monkeypatch, brief_measurements):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    verb = ("bench", "--repeats", 0, two_files[0])
    with contextlib.redirect_stderr(terminal):
        assert scarlet(*((groups.QUIET, *verb) if place == "before" else (*verb, groups.QUIET)))[0] == 0
        console.remark("a note")
    assert terminal.getvalue() == ""
    with contextlib.redirect_stderr(terminal):
        assert scarlet(*verb)[0] == 0
        console.remark("a note")
    assert "measure" in terminal.getvalue()
    assert terminal.getvalue().endswith("note: a note\n")


def test_errors_are_said_quietly_or_not(scarlet):
    code, out, err = scarlet("show", "scarlet_d", "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_quiet_behind_two_dashes_is_a_name(scarlet):
    code, _, err = scarlet("inspect", "--", "--quiet")
    assert code == 2
    assert "--quiet" in err


def typed(shell, home, keys, wanted, timeout_s=40):
    """What a shell shows that is started anew, in a home of its own, and gets these keys."""
    own = {"HOME": str(home), "TERM": "dumb", "PS1": "$ ", "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
           "PYTHONPATH": str(ROOT)}  # fmt: skip
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(shell[0], shell, own)
    shown, deadline, sent = "", time.monotonic() + timeout_s, False
    try:
        while wanted not in shown and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.5)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace").replace("\a", "")
            elif shown and not sent:  # its prompt
                os.write(terminal, keys.encode())
                sent = True
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_verbs_and_flags(name, tmp_path):
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    if not PROGRAM.is_file():
        pytest.skip("needs scarlet-zoo as a program: the package is not installed")
    install = f"{PROGRAM} --install-completion; echo do''ne\n"
    (tmp_path / ".zshrc").write_text("")  # or zsh asks a newcomer questions
    assert "done" in typed(SHELLS[name], tmp_path, install, "done")
    tab = "\t\t" if name == "zsh" else "\t"  # zsh's first one in a session loads typer's function
    assert "scarlet-zoo verify" in typed(SHELLS[name], tmp_path, f"scarlet-zoo ver{tab}", "scarlet-zoo verify")
    assert "--calibration" in typed(SHELLS[name], tmp_path, f"scarlet-zoo sensitivity --cali{tab}", "--calibration")
