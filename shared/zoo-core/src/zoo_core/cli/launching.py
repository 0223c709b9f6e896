"""A command in several processes: the flags of torchrun, taken from torch's own parser and handed to its launcher."""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from zoo_core.cli import output
from zoo_core.cli.errors import UsageError
from zoo_core.processes import available_processors

_PREFIX = "launch_"
_WORDS = "zoo_core.cli.launching.words"
# What torchrun is to run, and how, is the command's own affair.
_LEFT_OUT = frozenset({"help", "module", "no_python", "run_path", "training_script", "training_script_args"})
# Flags that say how the processes find each other; without them they are all on this machine.
_MEETING = ("nnodes", "rdzv_backend", "rdzv_endpoint", "rdzv_id", "node_rank", "master_addr", "master_port")


class LaunchedCommand(click.Command):
    """A command with the options of torchrun beside its own. :func:`launch` takes :func:`words_of` its line."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return own if ctx.resilient_parsing else [*own, *options()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = [ctx.info_name or "", *args]
        return super().parse_args(ctx, args)


def words_of(context: click.Context) -> list[str]:
    """The words of a line behind ``zoo``, as they were given to a :class:`LaunchedCommand`."""
    words: list[str] = context.meta[_WORDS]
    return words


def options() -> list[click.Option]:
    """The options of torchrun, for a command to add to its own."""
    from torch.distributed.run import get_args_parser

    found = []
    for action in get_args_parser()._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        if names and action.dest not in _LEFT_OUT:
            is_flag = action.nargs == 0
            shown = action.dest in ("nnodes", "nproc_per_node", "rdzv_backend", "rdzv_endpoint", "rdzv_id")
            found.append(
                click.Option(
                    [*names, f"{_PREFIX}{action.dest}"],
                    is_flag=is_flag,
                    default=None,
                    metavar=None if is_flag else "N" if action.dest in ("nnodes", "nproc_per_node") else "TEXT",
                    help=_plain(action.help),
                    hidden=not shown,
                )
            )
    return found


def _plain(text: str | None) -> str:
    """The first sentence of a help text."""
    return " ".join((text or "").split()).partition(". ")[0].rstrip(".") + "."


def split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides what was parsed into the flags of torchrun that were given, by their names there, and all else."""
    flags = {
        key.removeprefix(_PREFIX): value
        for key, value in given.items()
        if key.startswith(_PREFIX) and value not in (None, False)
    }
    return flags, {key: value for key, value in given.items() if not key.startswith(_PREFIX)}


def launch(flags: Mapping[str, Any], words: Sequence[str]) -> int:
    """Runs ``zoo`` in several processes, and waits for them.

    Args:
        flags: of torchrun, by its own names.
        words: the words after ``zoo`` for each process. Flags of torchrun among them are not looked at there.

    Returns:
        The exit code: 0, or that of the first process that failed.

    Raises:
        UsageError: torchrun does not take the flags.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = [f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()]
    if not any(name in flags for name in _MEETING):
        arguments.append("--standalone")
    processes = str(flags.get("nproc_per_node", "1"))
    if processes.isdecimal() and int(processes) > 0:
        # torchrun gives one thread to each process, and says so at length.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_processors() // int(processes))))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        parsed = run.get_args_parser().parse_args([*arguments, "--no-python", sys.executable])
    except SystemExit as error:  # argparse has said why
        raise UsageError("torchrun does not take these flags") from error
    parsed.training_script_args = ["-m", "zoo_core", *words]
    try:
        run.run(parsed)
    except SignalException as error:  # the processes have got it too, and have ended
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        # Those that were killed first: the others may have failed because of them; and last those that were stopped.
        stopped = -signal.SIGTERM
        rank, failure = min(
            error.failures.items(),
            key=lambda item: (item[1].exitcode == stopped, item[1].exitcode >= 0, item[1].timestamp),
        )
        code: int = failure.exitcode
        if code < 0:
            output.error(f"process {rank} was ended by {failure.signal_name()}; the others were stopped")
        return code if code > 0 else 128 - code
    return 0
