"""``--device``, ``--engine`` and ``--precision``: what runs a model, once for all commands that run one."""

import click

from zoo_core.cli import output
from zoo_core.cli.parser import Function, together
from zoo_core.runtimes import ENGINES, PRECISIONS

__all__ = ["device_option", "engine_options", "tell"]


def engine_options(function: Function) -> Function:
    """Adds ``--engine`` and ``--precision`` to a command."""
    return together(
        click.option(
            "--engine",
            type=click.Choice([*ENGINES, "auto"]),
            help="What runs the model; by default torch, and an exported file its own runtime. auto measures which "
            "of those installed is the fastest, and remembers it.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="fp32",
            help="bf16 is faster where the processor computes in it, and keeps two to three digits; the largest change "
            "of a score is shown.",
        ),
    )(function)


def device_option(function: Function) -> Function:
    """Adds ``--device`` to a command."""
    return click.option(
        "--device", metavar="NAME", default="auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."
    )(function)


def tell(message: str) -> None:
    """Says on stderr what an engine has to say."""
    output.note(message)
