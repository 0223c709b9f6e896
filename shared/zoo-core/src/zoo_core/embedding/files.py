"""Embeddings as matrices in files: NumPy's ``.npy`` and Parquet, made of records that were written one by one.

Such a file is written once all is done. Until then, and for ``--resume``, the records lie beside it, in
``FILE.jsonl``: an interrupted run resumes them, as any other does its results.

- ``x.npy`` has a row for each input, float32 [N, D], in the order of the inputs without those that failed.
  ``x.npy.files.csv`` says of each row its ``file`` (for pairs ``file_1`` and ``file_2``), and of videos its ``frame``
  and ``time`` in seconds.
- ``x.parquet`` has these columns too, ``embedding`` (a list of float32, null where the input failed) and ``error``.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from zoo_core.embedding.task import unpacked
from zoo_core.extras import require
from zoo_core.predicting.results import ResultFileError, records_of

__all__ = ["EMBEDDING_SUFFIXES", "convert", "is_matrix", "records_of_embeddings"]

EMBEDDING_SUFFIXES = (".npy", ".parquet")
"""Endings, in lower case, of the files that hold matrices."""

_ROWS_AT_A_TIME = 1024
# NumPy pads the head of a file so that the numbers begin at a multiple of it.
_ALIGNMENT = 64


def is_matrix(path: Path) -> bool:
    """Whether embeddings go into such a file as a matrix, and not record by record."""
    return path.suffix.lower() in EMBEDDING_SUFFIXES


def check_can_write(path: Path) -> None:
    """Raises MissingExtraError if what writes such a file is not installed."""
    if path.suffix.lower() == ".parquet":
        _pyarrow("pyarrow")


def records_of_embeddings(path: Path) -> Path:
    """Where the records lie that a file is made of."""
    return path.with_name(f"{path.name}.jsonl")


def convert(path: Path) -> int:
    """Makes a file of its records, which are complete. It is written beside and renamed.

    Args:
        path: ends in ``.npy`` or ``.parquet``; its records lie beside it.

    Returns:
        How many rows it has.

    Raises:
        zoo_core.extras.MissingExtraError: Parquet is asked for, and pyarrow is not installed.
        zoo_core.predicting.results.ResultFileError: the embeddings are not all of one size.
        OSError: it cannot be written.
    """
    write = _write_parquet if path.suffix.lower() == ".parquet" else _write_npy
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        return write(path, beside)
    finally:
        beside.unlink(missing_ok=True)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for _, record in records_of(records_of_embeddings(path)):
        yield record


def _size(path: Path) -> int | None:
    """The bytes of an embedding; ``None`` if there is none."""
    return next((len(unpacked(record["embedding"])) for record in _records(path) if "embedding" in record), None)


def _vector(path: Path, record: dict[str, Any], size: int) -> bytes:
    numbers = unpacked(record["embedding"])
    if len(numbers) != size:
        raise ResultFileError(
            f"{records_of_embeddings(path)}: the embeddings are of {size // 4} numbers, and one is of "
            f"{len(numbers) // 4}; was it changed?"
        )
    return numbers


def _write_npy(path: Path, beside: Path) -> int:
    size = _size(path) or 0
    rows = sum("embedding" in record for record in _records(path))
    listed = path.with_name(f"{path.name}.files.csv")
    listed_beside = beside.with_name(f"{beside.name}.files")
    try:
        with beside.open("xb") as matrix, listed_beside.open("x", encoding="utf-8", newline="") as names:
            matrix.write(_npy_head(rows, size // 4))
            writer = csv.writer(names, lineterminator="\n")
            for index, record in enumerate(r for r in _records(path) if "embedding" in r):
                columns = _columns(record)
                if index == 0:
                    writer.writerow(columns)
                writer.writerow(columns.values())
                matrix.write(_vector(path, record, size))
            _to_disk(matrix, names)
        # Rows are told apart by the list, so it is there first.
        listed_beside.replace(listed)
        beside.replace(path)
    finally:
        listed_beside.unlink(missing_ok=True)
    return rows


def _npy_head(rows: int, columns: int) -> bytes:
    """The head of version 1.0 of the format, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    prefix = 10  # the magic bytes, the version, and the length of the text
    padding = -(prefix + len(text) + 1) % _ALIGNMENT
    text = f"{text}{' ' * padding}\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")


def _columns(record: dict[str, Any]) -> dict[str, Any]:
    """What a row says of its input, by column."""
    files = record.get("files") or [record.get("file")]
    names = ["file"] if len(files) == 1 else [f"file_{number}" for number in range(1, len(files) + 1)]
    return {**dict(zip(names, files, strict=True)), "frame": record.get("index"), "time": record.get("time")}


def _pyarrow(module: str) -> Any:
    return require(module, extra="parquet", purpose="to write Parquet files")


def _write_parquet(path: Path, beside: Path) -> int:
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    size = _size(path) or 0
    first = next(_records(path), {"file": None})
    names = [name for name in _columns(first) if name.startswith("file")]
    schema = arrow.schema(
        [
            *((name, arrow.string()) for name in names),
            ("frame", arrow.int64()),
            ("time", arrow.float64()),
            # Not a list of a fixed size: pyarrow before 26 reads none in which a row is missing.
            ("embedding", arrow.list_(arrow.float32())),
            ("error", arrow.string()),
        ]
    )
    rows = 0
    with beside.open("xb") as file:
        with parquet.ParquetWriter(file, schema) as writer:
            for batch in _batches(_records(path)):
                columns: dict[str, list[Any]] = {name: [] for name in schema.names}
                for record in batch:
                    numbers = None
                    if "embedding" in record:
                        numbers = memoryview(_vector(path, record, size)).cast("f").tolist()
                    values = {**_columns(record), "embedding": numbers, "error": record.get("error")}
                    for name, column in columns.items():
                        column.append(values.get(name))
                writer.write_table(arrow.table(columns, schema=schema))
                rows += len(batch)
        _to_disk(file)
    beside.replace(path)
    return rows


def _batches(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) == _ROWS_AT_A_TIME:
            yield batch
            batch = []
    if batch:
        yield batch


def _to_disk(*files: IO[Any]) -> None:
    for file in files:
        file.flush()
        os.fsync(file.fileno())
