"""How a download is shown: a bar on a terminal, a few plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int | None], None]
"""Takes the number of bytes that have arrived, and of all bytes if that is known."""

_LINE_EVERY_PERCENT = 10
_LINE_EVERY_BYTES = 50_000_000  # where the size is unknown


@contextmanager
def showing_progress(name: str, enabled: bool) -> Iterator[Report]:
    """Shows the progress of one download on stderr while the ``with`` block runs.

    Args:
        name: what is being downloaded.
        enabled: ``False`` shows nothing.
    """
    if not enabled:
        yield lambda completed, total: None
    elif sys.stderr.isatty():
        with _bar(name) as report:
            yield report
    else:
        yield _lines(name)


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda completed, total: progress.update(task, completed=completed, total=total)


def _lines(name: str) -> Report:
    next_line = 0

    def report(completed: int, total: int | None) -> None:
        nonlocal next_line
        step = max(total * _LINE_EVERY_PERCENT // 100, 1) if total else _LINE_EVERY_BYTES
        if completed < next_line and completed != total:
            return
        next_line = (completed // step + 1) * step
        arrived = f"{completed / 1e6:.1f} MB"
        if total:
            arrived = f"{completed * 100 // total}% ({completed / 1e6:.1f} of {total / 1e6:.1f} MB)"
        print(f"{name}: {arrived}", file=sys.stderr, flush=True)

    return report
