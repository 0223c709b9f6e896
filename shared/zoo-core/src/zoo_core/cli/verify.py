"""``zoo verify``: are the files what was published?"""

import click

from zoo_core import checkpoints
from zoo_core.cli import facts, output
from zoo_core.cli.parser import Command

_EXAMPLES = """\b
Examples:
  zoo verify
  zoo verify --remove   delete what is damaged, so that it is downloaded again

Checks the files of the cache, and those that ship in packages, against the hashes in the catalogue. Files that no
installed package knows are listed, and cannot be checked. Exit code 1 if a file is damaged.
"""

_MARKS = {"ok": "ok", "damaged": "DAMAGED", "unchecked": "no hash known", "unknown": "unknown file"}


@click.command(cls=Command, epilog=_EXAMPLES)
@click.option("--remove", is_flag=True, help="Delete damaged files from the cache.")
@click.option("--json", "as_json", is_flag=True, help="Write the outcome as JSON.")
def command(remove: bool, as_json: bool) -> int:
    """Check the hashes of all checkpoints on this machine."""
    known = facts.by_file()
    cached = [file.path for file in checkpoints.cached_files()]
    elsewhere = [path for path in known if path.parent != checkpoints.cache_dir() and path.is_file()]
    outcome: dict[str, str] = {}
    removed: list[str] = []
    with output.progress("checking", len(cached) + len(elsewhere)) as advance:
        for path in [*cached, *elsewhere]:
            model, checkpoint = known.get(path, (None, None))
            if checkpoint is None:
                state = "unknown"
            elif checkpoint.sha256_prefix is None:
                state = "unchecked"
            else:
                state = "ok" if checkpoints.matches_hash(path, checkpoint.sha256_prefix) else "damaged"
            outcome[str(path)] = state
            if not as_json:
                owner = f"  ({model.name} {checkpoint.name})" if model and checkpoint else ""
                output.write(f"{_MARKS[state].ljust(13)}  {path}{owner}", flush=True)
            if state == "damaged" and remove and path in cached:
                checkpoints.clear([path.name])
                removed.append(str(path))
            advance(1)

    damaged = [path for path, state in outcome.items() if state == "damaged"]
    if as_json:
        output.write_json([{"path": p, "state": s, "removed": p in removed} for p, s in outcome.items()])
    else:
        counts = {mark: list(outcome.values()).count(state) for state, mark in _MARKS.items()}
        output.note(", ".join(f"{count} {mark}" for mark, count in counts.items() if count) or "there are no files yet")
    if removed:
        output.note(f"removed {output.counted(len(removed), 'damaged file')}; the next use downloads anew")
    kept = [path for path in damaged if path not in removed]
    if kept and not remove:
        output.error(f"{output.counted(len(kept), 'file')} damaged; `zoo verify --remove` deletes those of the cache")
    elif kept:
        output.error(f"not in the cache, so left alone: {', '.join(kept)}; reinstall their packages")
    return 1 if damaged else 0
