"""``zoo cache``: what takes up the disk, and how to get it back."""

import fnmatch
import sys

import click

from zoo_core import checkpoints, kept_models
from zoo_core.cli import facts, output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Command

_COLUMNS = (
    output.Column("file"),
    output.Column("size", right=True, spare=1),
    output.Column("written", spare=3),
    output.Column("weights of", spare=2),
)

_COMPILED_COLUMNS = (
    output.Column("folder"),
    output.Column("size", right=True, spare=1),
    output.Column("written", spare=4),
    output.Column("weights of", spare=3),
    output.Column("engines", spare=2),
)

_EXAMPLES = """\b
Examples:
  zoo cache                        what is there
  zoo cache 'vgg*' --clear         delete some of it, after asking
  zoo cache --clear --yes          delete all that belongs to models of installed packages
  zoo cache --clear --unknown      ... and whatever else lies in the same directory
  zoo cache 'resnet50-*' --clear   what engines keep of a model

What `--engine` and zoo_core.engines.compile_for have exported and compiled lies there as well, in a folder for each
model and set of weights; it is made anew when it is needed.

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
    """Show the downloaded checkpoints, and parts of some, and what engines have compiled, or delete them."""
    if (yes or unknown) and not clear:
        raise UsageError("--yes and --unknown go with --clear")
    if clear and as_json:
        raise UsageError("--json lists files; leave out --clear")
    directory = checkpoints.cache_dir()
    owners = {path.name: owner for path, owner in facts.by_file().items() if path.parent == directory}
    files = checkpoints.cached_files(partial=True)
    compiled = kept_models.entries()
    if patterns:
        files = [file for file in files if any(fnmatch.fnmatch(file.final_name, pattern) for pattern in patterns)]
        compiled = [entry for entry in compiled if any(fnmatch.fnmatch(entry.name, pattern) for pattern in patterns)]
        if not files and not compiled:
            raise ValueError(f"no file in {directory} matches {' '.join(patterns)}")

    if clear:
        chosen = files if unknown or patterns else [file for file in files if file.final_name in owners]
        # By name, their locks and notes go too.
        names = {file.final_name for file in chosen} | (set() if patterns else owners.keys())
        return _clear(chosen, None if unknown and not patterns else names, compiled, len(files) - len(chosen), yes)
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
            + [
                {
                    "path": str(entry.path),
                    "bytes": entry.size,
                    "modified": entry.modified.isoformat(),
                    "complete": True,
                    "model": entry.about.get("model"),
                    "weights": entry.about.get("weights"),
                    "engines": list(entry.engines),
                }
                for entry in compiled
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
    if compiled:
        total = output.size(sum(entry.size for entry in compiled))
        output.write("")
        output.write(f"{kept_models.directory()}: {output.counted(len(compiled), 'model')} for engines, {total}")
        output.write("")
        output.write_table(
            _COMPILED_COLUMNS,
            [
                [
                    entry.name,
                    output.size(entry.size),
                    f"{entry.modified:%Y-%m-%d %H:%M}",
                    " ".join(str(entry.about[key]) for key in ("model", "weights") if entry.about.get(key))
                    or "(unknown)",
                    ", ".join(entry.engines),
                ]
                for entry in compiled
            ],
        )
    return 0


def _clear(
    files: list[checkpoints.CachedFile],
    names: set[str] | None,
    compiled: list[kept_models.Stored],
    left: int,
    yes: bool,
) -> int:
    """Deletes ``files``, whatever else lies in the cache for ``names``, ``None`` for all, and ``compiled``."""
    others = (
        f"; {output.counted(left, 'file')} of no installed package stay (--unknown deletes these too)" if left else ""
    )
    if (files or compiled) and not yes:
        what = _counted(len(files), len(compiled))
        if not sys.stdin.isatty():
            raise ValueError(f"{what} would be deleted, and nobody is there to ask; --yes deletes without asking")
        size = output.size(sum(file.size for file in files) + sum(entry.size for entry in compiled))
        if not output.confirm(f"Delete {what} ({size}) from {checkpoints.cache_dir()}{others}?"):
            output.note("nothing was deleted")
            return 1
    removed = [file for file in checkpoints.clear(names) if file.is_partial or file.is_complete]
    for entry in compiled:
        kept_models.remove(entry)
    if not removed and not compiled:
        output.note(f"nothing to delete{others}")
        return 0
    freed = output.size(sum(file.size for file in removed) + sum(entry.size for entry in compiled))
    output.note(f"deleted {_counted(len(removed), len(compiled))}, {freed}{others}")
    return 0


def _counted(files: int, compiled: int) -> str:
    parts = [output.counted(files, "file")] if files or not compiled else []
    return " and ".join([*parts, *([f"{output.counted(compiled, 'model')} for engines"] if compiled else [])])
