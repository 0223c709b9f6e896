"""``zoo download``: fetches checkpoints before they are needed."""

import click

from zoo_core import checkpoints
from zoo_core.catalog import Checkpoint
from zoo_core.cli import facts, output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Command, complete_models, complete_weights, tasks_option

_EXAMPLES = """\b
Examples:
  zoo download resnet50                           its default weights
  zoo download resnet50 --weights IMAGENET1K_V1
  zoo download 'efficientnet_b[0-3]' --weights ALL
  zoo download --task detection

\b
The paths of the files are written on stdout. Where files come from and go to:
  TORCH_HOME     they lie in $TORCH_HOME/hub/checkpoints, as those of torch.hub
  ZOO_MIRROR     an address or a directory that takes the place of the published host
  ZOO_OFFLINE=1  never touch the network
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument(
    "names",
    nargs=-1,
    cls=Argument,
    metavar="[MODEL]...",
    help="Names of models, or shell patterns for whole names.",
    shell_complete=complete_models,
)
@tasks_option("All models of this task.")
@click.option("--all", "everything", is_flag=True, help="All models of the installed packages.")
@click.option(
    "--weights",
    metavar="NAME",
    default="DEFAULT",
    help="Which weights of each model: a member's name, DEFAULT, or ALL.",
    shell_complete=complete_weights("ALL"),
)
def command(names: tuple[str, ...], tasks: tuple[str, ...], everything: bool, weights: str) -> int:
    """Download checkpoints into the cache, and check them."""
    if bool(names) + bool(tasks) + everything != 1:
        raise UsageError("give names of models, or --task, or --all")
    if names:
        models = facts.select(names, exact=True)
    else:
        models = facts.of_tasks(tasks)

    wanted: dict[str, Checkpoint] = {}
    missing_extras: dict[str, str] = {}
    for model in models:
        for checkpoint in model.checkpoints.values() if weights == "ALL" else [model.checkpoint(weights)]:
            wanted.setdefault(checkpoint.url, checkpoint)
            if facts.place(checkpoint) is None and (message := model.missing_extra(checkpoint)):
                missing_extras[checkpoint.url] = message
    missing = [checkpoint for checkpoint in wanted.values() if facts.place(checkpoint) is None]
    if len(wanted) > 1:
        size = output.size(2**20 * sum(checkpoint.file_size or 0 for checkpoint in missing))
        output.note(f"{output.counted(len(wanted), 'file')}, {len(missing)} of them to download: {size}")

    failed = 0
    for checkpoint in wanted.values():
        try:
            if checkpoint.url in missing_extras:
                raise checkpoints.CheckpointNotFoundError(missing_extras[checkpoint.url])
            path = checkpoints.fetch(checkpoint.url, sha256_prefix=checkpoint.sha256_prefix)
        except checkpoints.CheckpointError as error:
            # What fails for one file of many may work for the next; a full disk will not.
            if len(wanted) == 1 or isinstance(error, checkpoints.CacheWriteError):
                raise
            output.error(str(error))
            failed += 1
        else:
            output.write(str(path), flush=True)
    if failed:
        output.error(f"{failed} of {len(wanted)} files could not be had")
    return 1 if failed else 0
