"""What the commands write: results on stdout, everything else on stderr.

All text goes through :func:`~zoo_core.text.printable`: file names, labels, and what catalogues and servers say cannot
steer the terminal. Nothing else in the commands prints.
"""

import contextlib
import json
import os
import shutil
import sys
import traceback as traceback_module
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zoo_core.text import plain, printable

_GAP = "  "


def error(message: str) -> None:
    """Says on stderr what went wrong, in one line."""
    note(f"error: {message}")


def warning(message: str) -> None:
    """Says on stderr what the user should know, in one line."""
    note(f"warning: {message}")


def note(message: str) -> None:
    """Says something on stderr, in one line."""
    print(printable(" ".join(message.split())), file=sys.stderr, flush=True)


def traceback(error: BaseException) -> None:
    """Writes the traceback of an error on stderr."""
    text = "".join(traceback_module.format_exception(error))
    print(printable(text, keep="\n").rstrip(), file=sys.stderr, flush=True)


def write(*parts: str, flush: bool = False) -> None:
    """Writes one line on stdout, of parts that follow each other. Parts of class :class:`Bold` are set in bold."""
    print("".join(bold(printable(part)) if isinstance(part, Bold) else printable(part) for part in parts), flush=flush)


class Bold(str):
    """Text that :func:`write` sets in bold if stdout is a terminal that can show it."""

    __slots__ = ()


def confirm(question: str) -> bool:
    """Asks on stderr, and reads the answer.

    Raises:
        ValueError: the input has ended.
    """
    print(printable(f"{question} [y/N]: "), end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        raise ValueError("an answer was needed, but the input has ended; --yes answers yes")
    return answer.strip().lower() in ("y", "yes")


def write_json(value: Any) -> None:
    """Writes one JSON document on stdout. Numbers that JSON does not have (NaN, infinity) become null."""
    # JSON's own escapes leave one control character as it is.
    print(json.dumps(plain(value), indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def write_text(text: str) -> None:
    """Writes text on stdout that a program is to read, as it is, at once."""
    print(text, end="", flush=True)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: its heading.
        right: aligned right, for numbers.
        spare: what a terminal too narrow leaves out first: the column with the highest number. 0 always stays.
    """

    title: str
    right: bool = False
    spare: int = 0


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Writes rows below their titles, one line each.

    Nothing is ever shortened. On a terminal that is too narrow whole columns are left out; into a pipe all are written.
    """
    rows = [[printable(text) for text in row] for row in rows]
    widths = [max(len(text) for text in texts) for texts in zip([c.title for c in columns], *rows, strict=True)]
    shown = list(range(len(columns)))
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns
        while sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1) > room:
            first = max(shown, key=lambda i: columns[i].spare)
            if not columns[first].spare:
                break
            shown.remove(first)

    def line(texts: Sequence[str]) -> str:
        cells = (texts[i].rjust(widths[i]) if columns[i].right else texts[i].ljust(widths[i]) for i in shown)
        return _GAP.join(cells).rstrip()

    write(Bold(line([column.title for column in columns])))
    for row in rows:
        write(line(row))


def bold(text: str) -> str:
    """The text, in bold if stdout is a terminal that can show it."""
    is_plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if is_plain else f"\x1b[1m{text}\x1b[0m"


def counted(count: int, noun: str) -> str:
    """``"1 file"``, ``"2 files"``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """A number of bytes for people: ``"97.8 MiB"``, of 2**20 bytes each, as in the catalogue."""
    if count < 1024:
        return f"{count:.0f} B"
    unit, power = next(((u, p) for u, p in (("KiB", 1), ("MiB", 2)) if count < 1024 ** (p + 1)), ("GiB", 3))
    return f"{count / 1024**power:.1f} {unit}"


def shows_progress() -> bool:
    """Whether :func:`progress` has somewhere to draw its bar."""
    return sys.stderr.isatty()


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, steps: int, figures: str = "") -> None:
        """Says that more steps are done.

        Args:
            steps: how many.
            figures: what is known by now, shown behind the bar; an empty text leaves there what is there.
        """


@contextlib.contextmanager
def progress(description: str, total: int | Callable[[], int | None], *, done: int = 0) -> Iterator[Advance]:
    """A bar on stderr while the ``with`` block runs, if that is a terminal and there is more than one step.

    Args:
        description: what is done, in a word.
        total: how many steps there are; or what tells that, ``None`` as long as nobody knows.
        done: how many of them were done before.
    """
    find_total = total if callable(total) else lambda: total
    known = find_total()
    if (known is not None and known - done < 2) or not shows_progress():
        yield lambda steps, figures="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    # What is printed meanwhile goes above the bar; but a stdout that is no terminal must get what it is due.
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(description, total=known, completed=done, figures="")

        def advance(steps: int, figures: str = "") -> None:
            nonlocal known
            bar.advance(task, steps)
            if figures:
                bar.update(task, figures=printable(figures))
            if known is None and (known := find_total()) is not None:
                bar.update(task, total=known)

        yield advance
