"""A disk that is full while a verb writes: one line that names the file, whatever library finds it, no leftovers."""

import resource
import signal
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import typer
from PIL import Image

import scarlet_zoo as zoo
from scarlet_zoo.cli import main

TIGHT = 50_000  # bytes that a file may have: less than the weights of the smallest network

pytestmark = pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits of file sizes")


@contextmanager
def files_of_at_most(size):
    """Let no file of this process grow larger, which libraries find as they find a full disk."""
    former, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # Python would keep half a module
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
        sys.dont_write_bytecode = kept


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """An ONNX file, weights, a space and images that the verbs read."""
    folder = tmp_path_factory.mktemp("given")
    zoo.export("scarlet_mini_s", out=folder)
    next(folder.glob("*.onnx")).rename(folder / "net.onnx")
    torch.save(zoo.create_model("scarlet_mini_s").state_dict(), folder / "net.pth")
    (folder / "space.toml").write_text('name = "mine"\nin_chans = 1\nstages = [[64, 2, 2]]\ninput_size = 32\n')
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    for name in "ab":
        (folder / "data" / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(pixels + number).save(folder / "data" / name / f"{number}.png")
    return folder


INT8 = ("--target", "ort-int8", "--calibration", "random")
VERBS = {
    "fold": ("fold", "scarlet_mini_s", "--out", "{out}"),
    "save-for-hub": ("weights", "save-for-hub", "scarlet_mini_s", "{out}/hub"),
    "import": ("weights", "import", "scarlet_mini_s", "{given}/net.pth"),
    "train": ("train", "scarlet_mini_s", "--data", "{given}/data", "--max-steps", "2", "--out", "{out}/run"),
    "supernet": ("supernet", "train", "--space", "{given}/space.toml", "--data", "{given}/data", "--max-steps", "2",
                 "--out", "{out}/net"),
    "export": ("export", "scarlet_mini_s", "--out", "{out}"),
    "export int8": ("export", "scarlet_mini_s", *INT8, "--out", "{out}"),
    "optimize": ("optimize", "{given}/net.onnx", "--out", "{out}"),
    "optimize int8": ("optimize", "{given}/net.onnx", *INT8, "--out", "{out}"),
    "inspect": ("inspect", "{given}/net.onnx"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("size", [TIGHT, 6 * TIGHT])
@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_a_line_that_names_the_file(verb, size, given, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = [word.format(given=given, out=tmp_path / "out") for word in VERBS[verb]]
    with files_of_at_most(size):
        code = main.run(words)
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    if code == 0:  # the larger size is enough for some
        assert size > TIGHT
        return
    assert (code, len(lines)) == (2, 1), error
    assert lines[0].startswith("error: /")
    assert lines[0].endswith(": cannot be written: File too large")
    assert "Traceback" not in error
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_a_parser_that_meets_the_end_of_a_file_does_not_say_that_it_was_interrupted(monkeypatch, scarlet):
    def parse(**_):
        try:
            raise EOFError("marshal data too short")
        except EOFError as error:
            raise typer.Abort from error

    monkeypatch.setattr(main, "_parser", lambda: parse)
    code, _, error = scarlet("show", "scarlet_a")
    assert (code, error) == (2, "error: a file ends too early: marshal data too short\n")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory"), ValueError("bad_alloc")])
def test_too_little_memory_is_a_line(error, monkeypatch, scarlet):
    def parse(**_):
        raise error

    monkeypatch.setattr(main, "_parser", lambda: parse)
    code, _, said = scarlet("show", "scarlet_a")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: not enough memory: ")
