"""What a run writes down of each epoch: ``metrics.jsonl``, ``metrics.csv``, curves, and TensorBoard's files."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_core.training.curves import as_html, as_image
from zoo_core.training.saving import write_file

__all__ = ["Records"]

Record = Mapping[str, float]


class Records:
    """The figures of a run by epoch. Those of an interrupted run are taken from its checkpoint, not from these files.

    Args:
        folder: of the run.
        history: the epochs so far.
        title: above the curves.
    """

    def __init__(self, folder: Path, history: Sequence[Record], title: str) -> None:
        self.folder, self.title = folder, title
        self.history = [dict(record) for record in history]
        self._board = _tensorboard(folder, len(self.history))
        if self.history:
            self._write()

    def add(self, record: Record) -> None:
        """Writes down an epoch.

        Raises:
            zoo_core.training.saving.SaveError: a file cannot be written; those there are as they were.
        """
        self.history.append(dict(record))
        self._write()
        if self._board is not None:
            for name, value in record.items():
                if name != "epoch":
                    self._board.add_scalar(name, value, int(record["epoch"]))
            self._board.flush()

    def close(self) -> None:
        """Closes what is open."""
        if self._board is not None:
            self._board.close()

    def _write(self) -> None:
        lines = "".join(f"{json.dumps(_finite(record), allow_nan=False)}\n" for record in self.history)
        names = list(dict.fromkeys(name for record in self.history for name in record))
        table = io.StringIO()
        writer = csv.DictWriter(table, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        html = as_html(self.title, self.history)
        for name, text in {"metrics.jsonl": lines, "metrics.csv": table.getvalue(), "curves.html": html}.items():
            content = text.encode()
            write_file(self.folder / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
        image = as_image(self.history)
        write_file(self.folder / "curves.png", lambda file: image.save(file, "PNG"))


def _finite(record: Record) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in record.items()}


def _tensorboard(folder: Path, done: int) -> Any:
    """A writer of TensorBoard's files where that is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=done + 1 if done else None)
