"""``zoo merge``: the results of several processes as those of one."""

from collections.abc import Sequence
from pathlib import Path

import click

from zoo_core.cli import output
from zoo_core.cli.parser import Argument, Command
from zoo_core.cli.results import MATRICES

_EXAMPLES = """\b
Examples:
  for k in 1 2 3 4; do
    zoo predict resnet50 photos/ --results found.csv --shard $k/4 &
  done; wait
  zoo merge --results found.csv
  zoo merge node*/found.part-*.csv --results found.csv

The parts stay as they are; remove them when you have what you need.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument(
    "parts",
    nargs=-1,
    cls=Argument,
    type=click.Path(path_type=Path),
    metavar="[PART]...",
    help="The parts, each with its journal beside it, in any order. By default those that lie beside FILE.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    required=True,
    help="Where the whole goes, in the format of the parts; of `zoo embed` also .npy and .parquet.",
)
def command(parts: Sequence[Path], results: Path) -> int:
    """Put together what `zoo predict` or `zoo embed --results FILE --shard K/N`, or torchrun, has written in parts.

    Results come in the order of the files, each once. Fails if a part is missing, not complete, or another run's.
    """
    from zoo_core.predicting.merging import merge, parts_of

    if results.suffix.lower() in MATRICES:
        from zoo_core.embedding.files import convert, records_of_embeddings

        records = records_of_embeddings(results)
        merged = merge(parts or parts_of(records), records)
        convert(results)
    else:
        merged = merge(parts or parts_of(results), results)
    failed = f", {merged.failed:,} failed" if merged.failed else ""
    output.note(f"{results} is complete: {output.counted(merged.inputs, 'input')}{failed}")
    return 1 if merged.failed else 0
