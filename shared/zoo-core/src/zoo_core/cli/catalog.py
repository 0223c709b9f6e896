"""``zoo catalog``: all models and weights as a page."""

from pathlib import Path

import click

from zoo_core import catalog_page
from zoo_core.cli import output
from zoo_core.cli.parser import Command

_EXAMPLES = """\b
Examples:
  zoo catalog --html models.html       then open it in a browser; it needs no network
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", required=True, help="Where to write it."
)
def command(html: Path) -> None:
    """Write all models as a page to sort, filter and compare.

    Tables and plots of accuracy against cost, by task; for all weights their preprocessing, licence and recipe, and
    what to paste to use them. One file.
    """
    catalog_page.write(html)
    output.note(f"written: {html}")
