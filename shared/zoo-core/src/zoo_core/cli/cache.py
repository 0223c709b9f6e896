"""``zoo cache``: what takes up the disk, and how to get it back."""

import fnmatch
import sys

import click

from zoo_core import checkpoints
from zoo_core.cli import facts, output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Command

_COLUMNS = (
    output.Column("file"),
    output.Column("size", right=True, spare=1),
    output.Column("written", spare=3),
    output.Column("weights of", spare=2),
)

_EXAMPLES = """\b
Examples:
  zoo cache                        what is there
  zoo cache 'vgg*' --clear         delete some of it, after asking
  zoo cache --clear --yes          delete all that belongs to models of installed packages
  zoo cache --clear --unknown      ... and whatever else lies in the same directory

The directory is torch.hub's own: other programs may keep files there. These are shown, and deleted only with --unknown
or when a pattern names them.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument(
    "patterns", nargs=-1, cls=Argument, metavar="[PATTERN]...", help="Only files with these names; shell patterns."
)
@click.option("--clear", is_flag=True, help="Delete the files, after asking.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--unknown", is_flag=True, help="Delete files too that no installed package knows.")
@click.option("--json", "as_json", is_flag=True, help="Write the list as JSON.")
def command(patterns: tuple[str, ...], clear: bool, yes: bool, unknown: bool, as_json: bool) -> int:
    """Show the downloaded checkpoints, and parts of some, or delete them."""
    if (yes or unknown) and not clear:
        raise UsageError("--yes and --unknown go with --clear")
    if clear and as_json:
        raise UsageError("--json lists files; leave out --clear")
    directory = checkpoints.cache_dir()
    owners = {path.name: owner for path, owner in facts.by_file().items() if path.parent == directory}
    files = checkpoints.cached_files(partial=True)
    if patterns:
        files = [file for file in files if any(fnmatch.fnmatch(file.final_name, pattern) for pattern in patterns)]
        if not files:
            raise ValueError(f"no file in {directory} matches {' '.join(patterns)}")

    if clear:
        chosen = files if unknown or patterns else [file for file in files if file.final_name in owners]
        # By name, their locks and notes go too.
        names = {file.final_name for file in chosen} | (set() if patterns else owners.keys())
        return _clear(chosen, None if unknown and not patterns else names, len(files) - len(chosen), yes)
    listed = [(file, *owners.get(file.final_name, (None, None))) for file in files]
    if as_json:
        output.write_json(
            [
                {
                    "path": str(file.path),
                    "bytes": file.size,
                    "modified": file.modified.isoformat(),
                    "complete": file.is_complete,
                    "model": model.name if model else None,
                    "weights": checkpoint.name if checkpoint else None,
                }
                for file, model, checkpoint in listed
            ]
        )
        return 0
    output.write(f"{directory}: {output.counted(len(files), 'file')}, {output.size(sum(file.size for file in files))}")
    if files:
        output.write("")
        output.write_table(
            _COLUMNS,
            [
                [
                    file.name,
                    output.size(file.size),
                    f"{file.modified:%Y-%m-%d %H:%M}",
                    (f"{model.name} {checkpoint.name}" if model and checkpoint else "(unknown)")
                    + (" (a part of it)" if file.is_partial else ""),
                ]
                for file, model, checkpoint in listed
            ],
        )
    return 0


def _clear(files: list[checkpoints.CachedFile], names: set[str] | None, left: int, yes: bool) -> int:
    """Deletes ``files``, and with them whatever else lies in the cache for ``names``; ``None`` for all."""
    others = (
        f"; {output.counted(left, 'file')} of no installed package stay (--unknown deletes these too)" if left else ""
    )
    count = output.counted(len(files), "file")
    if files and not yes:
        if not sys.stdin.isatty():
            raise ValueError(f"{count} would be deleted, and nobody is there to ask; --yes deletes without asking")
        size = output.size(sum(file.size for file in files))
        if not output.confirm(f"Delete {count} ({size}) from {checkpoints.cache_dir()}{others}?"):
            output.note("nothing was deleted")
            return 1
    removed = [file for file in checkpoints.clear(names) if file.is_partial or file.is_complete]
    if not removed:
        output.note(f"nothing to delete{others}")
        return 0
    freed = output.size(sum(file.size for file in removed))
    output.note(f"deleted {output.counted(len(removed), 'file')}, {freed}{others}")
    return 0
