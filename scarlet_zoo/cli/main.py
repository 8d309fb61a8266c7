"""The command line: one verb for each stage, from an image data set to a measured file.

Exit codes: 0 success, 1 a check failed, 2 bad input. Results go to stdout, as one JSON document with ``--json``;
everything else goes to stderr.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from functools import cache, partial
from typing import Annotated, Any

import typer
import wrapt

import scarlet_zoo
from scarlet_zoo.cli import (
    bench,
    data,
    deploy,
    device,
    export,
    gallery,
    lut,
    optimize,
    predict,
    rank,
    recommend,
    search,
    serve,
    show,
    snippet,
    tour,
    train,
    verify,
    weights,
)  # fmt: skip
from scarlet_zoo.cli.console import be_quiet, fail, warnings_as_lines
from scarlet_zoo.cli.former_flags import former_names
from scarlet_zoo.cli.groups import NEXT, QUIET, GroupedVerbs
from scarlet_zoo.errors import CheckFailedError, ScarletError
from scarlet_zoo.latency import MeasurementError
from scarlet_zoo.utils.memory import lacks_memory

_INTERRUPTED = 130
_LARGEST_NUMBER, _LONGEST_SHOWN = 2**31 - 1, 200

app = typer.Typer(
    name="scarlet-zoo",
    cls=GroupedVerbs,
    help="Search, train, export, verify and measure mobile vision networks: SCARLET's and any of timm's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    show, deploy, export, verify, bench, optimize, predict, snippet, weights, data, train, search, rank, lut, serve,
    gallery, device, recommend, tour,
)  # fmt: skip
for verb in VERBS:
    verb.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"scarlet-zoo {scarlet_zoo.__version__}\n")
        raise typer.Exit


@app.callback()
def _every_verb(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Annotated[
        bool, typer.Option(QUIET, help="Show no progress and no notes; it may also stand behind the verb.")
    ] = False,
) -> None:
    """Search, train, export, verify and measure mobile vision networks: SCARLET's and any of timm's."""
    be_quiet(quiet)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; each expected error is one line on stderr."""
    # Set before torch is loaded. Torch's threads otherwise wait by spinning, which costs more than it gains when
    # another process is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _silence_libraries()
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text, and a terminal may lack letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _silence_libraries() -> None:
    """Keep what libraries log and warn of off stderr, where our errors are one line; ``python -W`` brings it back."""
    logging.lastResort = logging.NullHandler()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    wrapt.register_post_import_hook(lambda runtime: runtime.set_default_logger_severity(4), "onnxruntime")


@cache
def _parser() -> Any:
    """Build the parser of all verbs, once for a program that runs several: it takes longer than many a verb does."""
    parser = typer.main.get_command(app)
    _bound_numbers(parser)
    return parser


def _bound_numbers(command: Any) -> None:
    """Refuse whole numbers beyond 32 bits in every option of a command and of those in it; no library takes them."""
    for inner in getattr(command, "commands", {}).values():
        _bound_numbers(inner)
    for parameter in command.params:
        parameter.callback = partial(_bounded, parameter.callback)


def _bounded(callback: Any, context: Any, parameter: Any, value: Any) -> Any:
    """The value of a parameter, after its own callback if it has one."""
    for number in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(number, int) and abs(number) > _LARGEST_NUMBER:
            raise typer.BadParameter(f"wanted a number of at most {_LARGEST_NUMBER:,}", context, parameter)
    return value if callback is None else callback(context, parameter, value)


def _completes() -> bool:
    """Whether a shell asks for completions, which the parser answers."""
    return "_SCARLET_ZOO_COMPLETE" in os.environ


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        with warnings_as_lines():
            if not arguments and not _completes():
                sys.stdout.write(NEXT.format(version=scarlet_zoo.__version__))
                return 0
            code = _parser()(args=arguments, standalone_mode=False)
    except CheckFailedError as error:
        return fail(str(error), 1)
    except (ScarletError, MeasurementError) as error:
        return fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # which the parser takes for the end of a terminal's input
            return fail(f"a file ends too early: {error.__cause__}", 2)
        return fail("interrupted", _INTERRUPTED)
    except OSError as error:
        return fail(f"{error.filename or 'input or output'}: {error.strerror}", 2)
    except Exception as error:
        if lacks_memory(error):
            return fail(f"not enough memory: {str(error) or 'wanted a smaller network, image, batch or file'}", 2)
        # A usage error of the command line parser. Its class differs between versions of typer and click.
        if not hasattr(error, "format_message"):
            raise
        got = _value_given(error, arguments)
        return fail(f"{error.format_message()}{got} ({_command_of(error)} --help shows the usage)", 2)
    return fail("interrupted", code) if code == _INTERRUPTED else int(code or 0)


def _command_of(error: Exception) -> str:
    """The command that a usage error is about, as it is typed: ``scarlet-zoo`` and its verb, if that is known."""
    names: list[str] = []
    context = getattr(error, "ctx", None)
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["scarlet-zoo", *names])


def _value_given(error: Exception, arguments: list[str]) -> str:
    """The value given for the option of a usage error, which the parser's own message leaves out."""
    flags = getattr(getattr(error, "param", None), "opts", [])
    names = {*flags, *(old for flag in flags for old in former_names(flag))}
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in names:
            given = value or " ".join(arguments[position + 1 : position + 2])
            return f", got {given!r}" if len(given) <= _LONGEST_SHOWN else f", got {given[:_LONGEST_SHOWN]!r}..."
    return ""
