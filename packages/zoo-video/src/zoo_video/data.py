"""Data sets of labelled videos as they lie on disk: a folder for each class, or a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path

from zoo_core.data import ClassFolders, DataError, Dataset, Fault, LabelledSample, match_labels
from zoo_core.tasks import VIDEO_SUFFIXES

__all__ = ["LabelledVideos", "labels_in", "open_video_data"]


def open_video_data(
    folder: Path, labels: Sequence[str], split: str = "val", annotations: Path | None = None
) -> Dataset:
    """Opens a folder of videos with a folder for each class, or the videos of a CSV file.

    Args:
        folder: the data set's folder, or the CSV file itself.
        labels: name of each class as the model has them.
        split: which part of it: a folder above those of the classes, or ``SPLIT.csv``.
        annotations: a CSV file, see :class:`LabelledVideos`.

    Raises:
        DataError: there is nothing of the kind, or what there is is at fault.
    """
    folder = Path(folder)
    if annotations is not None:
        return LabelledVideos(Path(annotations), labels, folder)
    if folder.suffix.lower() == ".csv":
        return LabelledVideos(folder, labels, folder.parent)
    if (folder / f"{split}.csv").is_file():
        return LabelledVideos(folder / f"{split}.csv", labels, folder)
    return ClassFolders(folder, labels, VIDEO_SUFFIXES, split)


def labels_in(folder: Path, split: str = "val") -> tuple[str, ...] | None:
    """The names of the classes' folders, sorted; ``None`` where a CSV file says what is what.

    Args:
        folder, split: see :func:`open_video_data`.

    Raises:
        DataError: there is no such folder, or a class has no videos.
    """
    folder = Path(folder)
    if folder.suffix.lower() == ".csv" or (folder / f"{split}.csv").is_file():
        return None
    return tuple(ClassFolders(folder, None, VIDEO_SUFFIXES, split).labels)


class LabelledVideos(Dataset):
    """The videos of a CSV file with a line ``file,label`` for each.

    A first line of headings may name the columns (``file``, ``path`` or ``video``; ``label`` or ``class``), which may
    then be others and in any order. Labels are names, or numbers of classes.

    Args:
        path: the CSV file.
        labels: name of each class as the model has them.
        folder: what the files' paths are relative to.

    Raises:
        DataError: the file cannot be read, or names videos or labels that are not there; messages name the line.
    """

    _FILE_HEADINGS = frozenset({"file", "path", "video", "filename"})
    _LABEL_HEADINGS = frozenset({"label", "class"})

    def __init__(self, path: Path, labels: Sequence[str], folder: Path) -> None:
        self.path, self.folder = path, folder
        self.labels = tuple(labels)
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(Fault(path, f"cannot be read as CSV: {error}")) from error
        columns = self._columns(rows[0][1]) if rows else None
        if columns is not None:
            del rows[0]
        file_column, label_column = columns or (0, 1)
        names = sorted({row[label_column].strip() for _, row in rows if len(row) > label_column})
        label_of = self._labels_by_name(names)
        self._samples: list[tuple[str, int]] = []
        faults, seen = [], dict[str, int]()
        for line, row in rows:
            if len(row) <= max(file_column, label_column):
                faults.append(Fault(path, f"expected a file and a label, not {','.join(row)!r}", line))
                continue
            name = row[file_column].strip()
            if name in seen:
                faults.append(Fault(path, f"{name} is in line {seen[name]} already", line))
            elif not name or not (folder / name).is_file():
                faults.append(Fault(path, f"there is no file {folder / name}", line))
            else:
                self._samples.append((name, label_of[row[label_column].strip()]))
            seen.setdefault(name, line)
        if not rows:
            faults.append(Fault(path, "names no video"))
        if faults:
            raise DataError(faults, self if self._samples else None)

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        return self._samples[index][0]

    def sample(self, index: int) -> LabelledSample:
        """The video, and the index of its class."""
        name, label = self._samples[index]
        return LabelledSample(name, (self.folder / name,), label)

    def _columns(self, row: Sequence[str]) -> tuple[int, int] | None:
        """Which columns hold files and labels, if the row is one of headings."""
        headings = [word.strip().lower() for word in row]
        files = [column for column, word in enumerate(headings) if word in self._FILE_HEADINGS]
        labels = [column for column, word in enumerate(headings) if word in self._LABEL_HEADINGS]
        return (files[0], labels[0]) if files and labels else None

    def _labels_by_name(self, names: Sequence[str]) -> dict[str, int]:
        if all(name.isdecimal() and int(name) < len(self.labels) for name in names):
            return {name: int(name) for name in names}
        return dict(zip(names, match_labels(names, self.labels, self.path), strict=True))
