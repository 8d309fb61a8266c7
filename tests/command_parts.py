"""Reading a command as the command line's parser does, without running it."""

import itertools
import shlex
from pathlib import Path

import typer

from scarlet_zoo.cli.main import app
from scarlet_zoo.models.weights.kind import WORDS

# What a flag's file holds at the least, since the parser looks at it at once; None for a folder.
_FILES = {"--weights": b"\x80\x02", "--labels": b"cat\n", "--calibration": None}


def understood(line, folder):
    """Have the parser read a command, which refuses a flag or an argument that there is not.

    The files that the line names are made in ``folder``, which must be the working folder.
    """
    assert Path.cwd() == folder
    words, command = shlex.split(line.partition(" #")[0]), typer.main.get_command(app)
    assert words.pop(0) == "scarlet-zoo"
    for flag, value in itertools.pairwise(words):
        if flag in _FILES and value not in WORDS:
            content, path = _FILES[flag], folder / value
            path.mkdir(exist_ok=True) if content is None else path.write_bytes(content)
    while hasattr(command, "commands"):
        assert words, line
        command = command.commands[words.pop(0)]
    command.make_context("verb", words)
