"""The entry point: finds the command, runs it, and turns whatever goes wrong into one line and an exit code."""

import contextlib
import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

import zoo_core
from zoo_core import catalog
from zoo_core.checkpoints import CheckpointError
from zoo_core.cli import output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Session, debug_option
from zoo_core.runtimes import EngineError

# In the order of the help text.
COMMANDS = {
    "list": "zoo_core.cli.list",
    "info": "zoo_core.cli.info",
    "catalog": "zoo_core.cli.catalog",
    "predict": "zoo_core.cli.predict",
    "embed": "zoo_core.cli.embed",
    "merge": "zoo_core.cli.merge",
    "evaluate": "zoo_core.cli.evaluate",
    "train": "zoo_core.cli.train",
    "convert": "zoo_core.cli.convert",
    "export": "zoo_core.cli.export",
    "bench": "zoo_core.cli.bench",
    "recipes": "zoo_core.cli.recipes",
    "demo": "zoo_core.cli.demo",
    "download": "zoo_core.cli.download",
    "verify": "zoo_core.cli.verify",
    "cache": "zoo_core.cli.cache",
}
COMPLETION_VARIABLE = "_ZOO_COMPLETE"

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

# What these say is meant for users; anything else that a command raises is announced with its type.
_EXPECTED = (CheckpointError, EngineError, ValueError, OSError, ModuleNotFoundError)

_EXAMPLES = """\b
Examples:
  zoo demo                                     see it work, without network
  zoo list 'resnet*' --sort acc                which models there are
  zoo info resnet50                            what is known about one
  zoo predict resnet50 photo.jpg               what does it see?
  zoo predict resnet50 holiday/ --output out/  the same on a folder, as images

`zoo COMMAND --help` explains a command.
"""


class Zoo(click.Group):
    """The ``zoo`` command. Only the module of the command that was asked for is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return importlib.import_module(COMMANDS[cmd_name]).command if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(COMMANDS)}."
            raise UsageError(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the ``zoo`` command.

    Args:
        arguments: the words after ``zoo``; by default those of this process.

    Returns:
        The exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C, 141 when nobody reads the output.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A label or a file name that the terminal cannot show must not end the program.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    session = Session()
    try:
        with _one_line_warnings():
            code = _complete() if COMPLETION_VARIABLE in os.environ else _run(words or ["--help"], session)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        output.note("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if session.debug:
            output.traceback(error)
        else:
            output.error(_explain(error))
        return EXIT_FAILURE


def _command() -> Zoo:
    version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Print the versions and exit.",
    )
    return Zoo(
        name="zoo",
        help="Vision models for PyTorch: find them, get their weights, and see what they see.",
        epilog=_EXAMPLES,
        params=[version, debug_option()],
        context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    )


def _run(words: list[str], session: Session) -> int:
    command = _command()
    try:
        with command.make_context("zoo", words, obj=session) as context:
            return command.invoke(context) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        asked = getattr(error, "see", None) or (error.ctx.command_path if error.ctx is not None else "zoo")
        output.error(f"{_message(error)} (see `{asked} --help`)")
        return EXIT_USAGE


def _message(error: click.UsageError) -> str:
    """What click says, in the same words whatever its version."""
    if isinstance(error, click.NoSuchOption):
        near = f" Did you mean {' or '.join(sorted(error.possibilities))}?" if error.possibilities else ""
        return f"No such option: {error.option_name}{near}"
    return error.format_message()


def _complete() -> int:
    """Answers what a shell asks when the user presses the tab key; see the README for how it learns to ask."""
    from click.shell_completion import shell_complete

    warnings.simplefilter("ignore")
    try:
        return shell_complete(_command(), {}, "zoo", COMPLETION_VARIABLE, os.environ[COMPLETION_VARIABLE])
    except Exception:  # a shell would show it in the middle of the line
        return EXIT_FAILURE


def _version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    output.write(f"zoo {zoo_core.__version__}")
    for package in dict.fromkeys(source.package.partition(".")[0] for source in catalog.sources()):
        if (version := catalog.plugins.version(package)) is not None:
            output.write(f"{package.replace('_', '-')} {version}")
    context.exit()


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
        # torch says so at its import, and nothing here needs NumPy.
        warnings.filterwarnings("ignore", "Failed to initialize NumPy")
        warnings.showwarning = show
        yield


def _discard_stdout() -> None:
    """Lets the interpreter flush what nobody reads, without a complaint when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
