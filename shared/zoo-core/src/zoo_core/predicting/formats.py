"""Records as text: lines of JSON, rows of CSV, one JSON document.

A record is what :meth:`zoo_core.predicting.Prediction.record` gives: plain data of one input.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from zoo_core.declarations import Declaration, Table
from zoo_core.text import plain

__all__ = ["Csv", "Format", "JsonDocument", "JsonLines", "of_name"]

# What makes spreadsheets take a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Format(Protocol):
    """How records become text.

    Attributes:
        name: ``"jsonl"``, ``"csv"`` or ``"json"``.
        suffixes: endings of file names, in lower case, that mean it.
        head: what stands before the first record.
        tail: what stands behind the last one.
    """

    name: str
    suffixes: tuple[str, ...]
    head: str
    tail: str

    def text(self, record: Mapping[str, Any]) -> str:
        """A record, with the ends of its lines."""
        ...

    def files(self, text: str) -> list[str]:
        """The names of the files that a record is of, from its text."""
        ...


class JsonLines:
    """A record a line (https://jsonlines.org): plain ASCII. Numbers that JSON does not have become null."""

    name = "jsonl"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")
    head = tail = ""

    def text(self, record: Mapping[str, Any]) -> str:
        return _dumps(record) + "\n"

    def files(self, text: str) -> list[str]:
        record = json.loads(text)
        found = record.get("files") or [record.get("file")]
        return [str(name) for name in found if name is not None]


class JsonDocument:
    """One JSON object, whose list ``results`` has the records. It is written as they come, an item at a time.

    Args:
        about: what stands before the list.
    """

    name = "json"
    suffixes: tuple[str, ...] = (".json",)
    tail = "\n  ]\n}\n"

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.head = _dumps({**about, "results": []}, indent=2).removesuffix("]\n}")
        self._between = "\n"

    def text(self, record: Mapping[str, Any]) -> str:
        lines = _dumps(record, indent=2).splitlines()
        between, self._between = self._between, ",\n"
        return between + "\n".join(f"    {line}" for line in lines)

    def files(self, text: str) -> list[str]:
        raise NotImplementedError("a document of JSON is not read piece by piece")


# What every record may have, and the table of a task does not show as its own.
_FRAMING = ("file", "files", "index", "time", "output")


class Csv:
    """Rows with the columns that the task declares: before them the names of files, behind them ``frame``, ``time`` (in
    seconds) and ``error``.

    Each input has a row at least: one in which nothing was found has its file alone, and one that failed its ``error``.
    Cells are quoted as in RFC 4180, lines end with a line feed, the encoding is UTF-8.

    No text is a formula to a spreadsheet, whatever a file or a label is called: where one begins with ``=``, ``+``,
    ``-``, ``@``, a tab or a carriage return, ``./`` goes before the name of a file (which is the same file), and ``'``
    before other text.

    Args:
        declaration: of the task.
    """

    name = "csv"
    suffixes: tuple[str, ...] = (".csv",)
    tail = ""

    def __init__(self, declaration: Declaration) -> None:
        self.table = declaration.table
        self.places = declaration.images or 1
        self.framed = declaration.images is not None
        self.columns = [
            *("file" if number == 1 else f"file_{number}" for number in range(1, self.places + 1)),
            *(["result"] if self.table is None else self.table.columns),
            *(["frame", "time"] if self.framed else []),
            "error",
        ]
        self.head = _row(self.columns)

    def text(self, record: Mapping[str, Any]) -> str:
        names = list(record.get("files") or [record.get("file")])
        files = [_safe_path(name) for name in [*names, *[None] * self.places][: self.places]]
        frame = [record.get("index"), record.get("time")] if self.framed else []
        width = len(self.columns) - len(files) - len(frame) - 1
        if "error" in record:
            return _row([*files, *[None] * width, *frame, record["error"]])
        return "".join(_row([*files, *cells, *frame, None]) for cells in self._cells(record, width))

    def _cells(self, record: Mapping[str, Any], width: int) -> Iterable[Sequence[Any]]:
        if self.table is None:
            own = {key: value for key, value in record.items() if key not in _FRAMING}
            return [[_dumps(own)]]
        return rows(self.table, record) or [[None] * width]

    def files(self, text: str) -> list[str]:
        first = next(csv.reader(io.StringIO(text, newline="")))
        return [_without_guard(cell) for cell in first[: self.places] if cell]


def of_name(name: str, declaration: Declaration) -> "JsonLines | Csv":
    """The format of a name, or the ending of a name, that can be written record by record and resumed.

    Raises:
        ValueError: there is no such format.
    """
    if name in (JsonLines.name, *JsonLines.suffixes):
        return JsonLines()
    if name in (Csv.name, *Csv.suffixes):
        return Csv(declaration)
    raise ValueError(f"results go into files of the formats jsonl and csv, not {name!r}")


def rows(table: Table, record: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of a record, by what a task declares; none where the list that has the rows is empty."""
    items = [record] if table.rows is None else record.get(table.rows) or []
    return [[_value(item, source, number) for source in table.columns.values()] for number, item in enumerate(items, 1)]


def _value(item: Any, source: str, number: int) -> Any:
    """``"#"`` is the number of the row, ``"score"`` a value, ``"bbox.0"`` one of a list, ``"a + b"`` their sum."""
    if source == "#":
        return number
    values = [_at(item, path.strip().split(".")) for path in source.split("+")]
    if len(values) == 1:
        return values[0]
    return None if any(not isinstance(value, int | float) for value in values) else sum(values)


def _at(item: Any, path: Sequence[str]) -> Any:
    for key in path:
        if isinstance(item, Mapping):
            item = item.get(key)
        elif isinstance(item, list | tuple) and key.isdecimal() and int(key) < len(item):
            item = item[int(key)]
        else:
            return None
    return item


def _row(cells: Iterable[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow([_cell(value) for value in cells])
    # The writer's own line end is CR LF, so that it quotes cells that hold either.
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        # Paths that begin so have a guard of their own.
        return f"'{value}" if value != "-" and value.startswith(_FORMULA) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _dumps(value) if isinstance(value, Mapping | list | tuple) else value


def _safe_path(name: str | None) -> str | None:
    # "-" by itself, standard input, is no formula.
    return f"./{name}" if name is not None and name != "-" and name.startswith(_FORMULA) else name


def _without_guard(cell: str) -> str:
    return cell[2:] if cell.startswith(tuple(f"./{character}" for character in _FORMULA)) else cell


def _dumps(value: Any, **settings: Any) -> str:
    # JSON's own escapes leave one control character as it is.
    return json.dumps(plain(value), allow_nan=False, **settings).replace("\x7f", "\\u007f")
