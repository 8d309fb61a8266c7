"""The command line with hostile arguments and hostile input files, and what must hold of every run of it."""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import hostile
import stage

OUTPUTS = ("--out", "--save", "--plot", "--work")
LONGEST_LINE = 2000
CODES = (0, 1, 2)


@dataclass
class Command:
    """A command under attack.

    Attributes:
        arguments: its words.
        spoilt: the input file that is hostile, if any.
        lasting: whether it may work until it is stopped.
    """

    arguments: list
    spoilt: str | None = None
    lasting: bool = False
    roots: list = field(default_factory=list)


def options_of(verb):
    """The flags of a verb, such as ``--out``, by whether they take a value."""
    from scarlet_zoo.cli.main import _parser

    parser = _parser()
    for word in verb:
        inner = getattr(parser, "commands", {}).get(word)
        parser = inner if inner is not None else parser
    return {parameter.opts[0]: not getattr(parameter, "is_flag", False) for parameter in parser.params
            if parameter.opts[0].startswith("--")}  # fmt: skip


def _word(rng, text, *, safe):
    """An argument as a shell can give it: no NUL, and no characters that bytes cannot be."""
    made = hostile.text(rng, text) if rng.random() < 0.6 else str(hostile.a_scalar(rng))
    made = os.fsdecode(made.replace("\0", "").encode("utf-8", "surrogateescape" if "\udcff" in made else "replace"))
    if safe:  # in the process of the tests, which may write where it should not
        made = made.replace("/", "_").replace("~", "_")
    return made[:100_000]


def make(rng, templates, folder, *, safe=False, lasting=False):
    """Make a hostile command from one of the templates; its input files are written into ``folder``/in."""
    words = rng.choice(templates).split(" ")
    verb = words[:2] if words[0] in ("lut", "weights", "data", "supernet", "device", "web") else words[:1]
    rest = words[len(verb) :]
    stage.set_up(folder / "in")
    inputs = [word[3:] for word in rest if word.startswith("in/") and (folder / word).is_file()]
    command = Command([], lasting=lasting)
    if inputs and rng.random() < 0.5:
        command.spoilt = rng.choice(inputs)
        stage.spoil(rng, folder / "in", command.spoilt)
    else:
        for _ in range(hostile.times(rng)):
            _change(rng, rest, options_of(verb), safe=safe)
    # Right behind the verb, where no other flag takes it for its value.
    command.arguments = [*verb, *(["--json"] if rng.random() < 0.5 else []), *rest]
    return command


def _change(rng, words, options, *, safe):
    kind = rng.randrange(8)
    values = [place for place, word in enumerate(words) if not word.startswith("--")]
    if kind == 0 and words:
        del words[rng.randrange(len(words))]
    elif kind == 1 and options:
        name = rng.choice(sorted(options))
        words += [name, _word(rng, "1", safe=safe)] if options[name] else [name]
    elif kind == 2 and words:
        words.insert(rng.randrange(len(words) + 1), _word(rng, rng.choice(words), safe=safe))
    elif kind == 3 and values:
        words[rng.choice(values)] = rng.choice(
            ("in", "in/images", "in/missing", "in/labels.txt", "in/net.onnx", "out", ".")
        )
    elif values:
        place = rng.choice(values)
        words[place] = _word(rng, words[place], safe=safe)


def outputs_of(arguments, where):
    """The files and folders that a command was told to write."""
    named = [arguments[place + 1] for place, word in enumerate(arguments[:-1]) if word in OUTPUTS]
    named += [word.partition("=")[2] for word in arguments if word.partition("=")[0] in OUTPUTS]
    if "save-for-hub" in arguments:
        named += arguments[3:]
    found = []
    for name in named:
        with contextlib.suppress(OSError, ValueError):
            found.append(Path(os.path.realpath(where / name)))
    return found


def snapshot(folder, but):
    """Each file below a folder with its size and time, without those under some paths."""
    seen = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            if not any(path.is_relative_to(root) for root in but):
                status = path.lstat()
                seen[str(path)] = (status.st_size, status.st_mtime_ns)
    return seen


def run_here(command, folder):
    """Run a command in this process: exit code, stdout and stderr as bytes."""
    from scarlet_zoo.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", how) for how in ("strict", "backslashreplace"))
    was = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(list(command.arguments))
    finally:
        os.chdir(was)
        for stream in (out, err):
            stream.flush()
    return code, out.buffer.getvalue(), err.buffer.getvalue()


def faults(command, code, out, err, before, after):
    """What is wrong with a run of a command; empty if nothing is.

    Args:
        command: the command.
        code: its exit code; None where it was stopped because it may last.
        out, err: the bytes of stdout and stderr.
        before, after: the files outside its outputs.
    """
    found = []
    said = err.decode("utf-8", "replace")
    errors = [line for line in said.split("\n") if line.startswith("error: ")]
    if "Traceback" in said:
        found.append("a traceback: " + " | ".join(said.strip().splitlines()[-3:])[-300:])
    elif code is not None:
        if code not in CODES:
            found.append(f"exit code {code}")
        if code == 2 and len(errors) != 1:
            found.append(f"{len(errors)} error lines: {said[-300:]!r}")
        if code == 0 and errors:
            found.append(f"an error line and exit code 0: {errors[0][:200]!r}")
    odd = [line for line in said.split("\n") if line and not line.startswith(("error: ", "warning: ", "note: "))]
    if odd and not command.lasting and "serve" not in command.arguments:
        found.append(f"a line of another kind: {odd[0][:200]!r}")
    if any(len(line) > LONGEST_LINE for line in errors):
        found.append(f"an error line of {max(map(len, errors))} characters")
    if any((letter < " " and letter != "\n") or letter == "\x7f" for letter in said):
        found.append("control characters in stderr")
    found += _faults_of_json(command, code, out)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if changed:
        found.append(f"written outside its outputs: {changed[:3]}")
    return found


def _faults_of_json(command, code, out):
    try:
        text = out.decode()
    except UnicodeDecodeError:
        return ["stdout is not UTF-8"]
    if "--json" not in command.arguments[:3] or "-h" in command.arguments or "--help" in command.arguments or not text:
        return []
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        return [f"stdout is not one JSON document: {error}: {text[:100]!r}"] if code is not None else []
    return []


def _refuse(name):
    raise ValueError(name)


def shown(command):
    """A command for a report."""
    words = [word if len(word) <= 60 else f"{word[:57]}..." for word in command.arguments]
    more = f" with a hostile {command.spoilt}" if command.spoilt else ""
    return ascii(" ".join(words))[1:-1] + more


if __name__ == "__main__":
    sys.exit("run.py runs them")
