"""Finding one's way in folders of data."""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from zoo_core.data.faults import DataError, Fault, MissingSplitError

__all__ = ["doubled", "files_in", "find_split", "read_lines", "subfolders"]

# What the same split is called in data sets that people have.
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def find_split(folder: Path, split: str) -> Path:
    """The folder of one split: ``folder/val`` (``valid``, ``validation``), or ``folder`` itself if it has no splits.

    Raises:
        DataError: there is no such folder.
        MissingSplitError: it has splits, but not this one.
    """
    if not folder.is_dir():
        raise DataError(Fault(folder, "this is a file, and must be a folder" if folder.exists() else "no such folder"))
    present = {child.name.lower(): child for child in subfolders(folder)}
    for name in _SPLITS.get(split.lower(), (split.lower(),)):
        if name in present:
            return present[name]
    others = [present[name].name for names in _SPLITS.values() for name in names if name in present]
    if others:
        raise MissingSplitError(Fault(folder, f"has no split {split!r}; it has {', '.join(sorted(others))}"))
    return folder


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; hidden ones are left out."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """All files below a folder that end in one of ``suffixes`` (lower case), sorted; hidden ones are left out."""
    found: list[Path] = []
    for directory, names, files in os.walk(folder, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".")]
        found += [
            Path(directory, file)
            for file in files
            if os.path.splitext(file)[1].lower() in suffixes and not file.startswith(".")
        ]
    return sorted(found)


def read_lines(path: Path, *, strip: bool = True) -> list[tuple[int, str]]:
    """The lines of a text file in UTF-8 that are not blank, with their numbers from 1 on.

    Args:
        path: the file.
        strip: without the space around them.

    Raises:
        DataError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(Fault(path, "is no text in UTF-8")) from error
    except OSError as error:
        raise DataError(Fault(path, f"cannot be read: {error.strerror or error}")) from error
    lines = enumerate(text.splitlines(), 1)
    return [(number, line.strip() if strip else line) for number, line in lines if line.strip()]


def doubled(files: Iterable[Path], key: Callable[[Path], object] = lambda file: file.with_suffix("")) -> list[Fault]:
    """A fault for each file whose annotation would also be that of one before it.

    Args:
        files: images, for instance.
        key: what tells apart what files belong to; by default their path without its ending.
    """
    first: dict[object, Path] = {}
    return [
        Fault(file, f"has the same name as {earlier.name}, so that it is unknown to which the annotation belongs")
        for file in files
        if (earlier := first.setdefault(key(file), file)) is not file
    ]
