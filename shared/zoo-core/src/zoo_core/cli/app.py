"""The entry point: finds the command, runs it, and turns whatever goes wrong into one line and an exit code."""

import contextlib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

import zoo_core
from zoo_core import catalog
from zoo_core.checkpoints import CheckpointError
from zoo_core.cli import output
from zoo_core.cli.errors import UsageError

# In the order of the help text.
COMMANDS = {
    "list": "zoo_core.cli.list",
    "info": "zoo_core.cli.info",
    "predict": "zoo_core.cli.predict",
    "demo": "zoo_core.cli.demo",
    "download": "zoo_core.cli.download",
    "verify": "zoo_core.cli.verify",
    "cache": "zoo_core.cli.cache",
}

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

# What these say is meant for users; anything else that a command raises is announced with its type.
_EXPECTED = (CheckpointError, ValueError, OSError, ModuleNotFoundError)

_EXAMPLES = """\b
Examples:
  zoo demo                                     see it work, without network
  zoo list 'resnet*' --sort acc                which models there are
  zoo info resnet50                            what is known about one
  zoo predict resnet50 photo.jpg               what does it see?
  zoo predict resnet50 holiday/ --output out/  the same on a folder, as pictures

`zoo COMMAND --help` explains a command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the ``zoo`` command.

    Args:
        arguments: the words after ``zoo``; by default those of this process.

    Returns:
        The exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C, 141 when nobody reads the output.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    if debug:
        words.remove("--debug")
    for stream in (sys.stdout, sys.stderr):
        # A label or a file name that the terminal cannot show must not end the program.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with _one_line_warnings():
            code = _run(words or ["--help"])
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        output.note("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            output.error(_explain(error))
        return EXIT_FAILURE


def _run(words: list[str]) -> int:
    app = typer.Typer(
        name="zoo",
        help="Vision models for PyTorch: find them, get their weights, and see what they see.",
        epilog=_EXAMPLES,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    # Only the module of the command that was asked for is imported.
    for name in [words[0]] if words[0] in COMMANDS else COMMANDS:
        importlib.import_module(COMMANDS[name]).register(app, words[1:])
    try:
        # Without standalone_mode, what a command returns or gives to typer.Exit comes back here.
        code = app(words, prog_name="zoo", standalone_mode=False) or 0
    except typer.Abort as stop:
        if isinstance(stop.__cause__, EOFError):
            raise ValueError("an answer was needed, but the input has ended; --yes answers yes") from stop
        raise KeyboardInterrupt from stop
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        raise
    except Exception as error:
        # The usage errors of typer and of the click beneath it have no importable common name in all versions.
        if not isinstance(error, UsageError) and not hasattr(error, "format_message"):
            raise
        command = f"zoo {words[0]}" if words[0] in COMMANDS else "zoo"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        output.error(f"{message} (see `{command} --help`)")
        return EXIT_USAGE
    if code == EXIT_INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return code


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the versions and exit.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of an error. May stand anywhere on the line.")
    ] = False,
) -> None:
    """Vision models for PyTorch: find them, get their weights, and see what they see."""


def _version(asked: bool) -> None:
    if not asked:
        return
    import importlib.metadata

    print(f"zoo {zoo_core.__version__}")
    for package in dict.fromkeys(source.package.partition(".")[0] for source in catalog.sources()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            print(f"{package.replace('_', '-')} {importlib.metadata.version(package)}")
    raise typer.Exit


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, _EXPECTED):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)"


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        output.warning(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _discard_stdout() -> None:
    """Lets the interpreter flush what nobody reads, without a complaint when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
