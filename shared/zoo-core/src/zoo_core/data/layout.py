"""Finding one's way in folders of data."""

import os
from collections.abc import Collection
from pathlib import Path

from zoo_core.data.faults import DataError, Fault

__all__ = ["files_in", "find_split", "subfolders"]

# What the same split is called in data sets that people have.
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def find_split(folder: Path, split: str) -> Path:
    """The folder of one split: ``folder/val`` (``valid``, ``validation``), or ``folder`` itself if it has no splits.

    Raises:
        DataError: there is no such folder, or it has splits, but not this one.
    """
    if not folder.is_dir():
        raise DataError(Fault(folder, "this is a file, and must be a folder" if folder.exists() else "no such folder"))
    present = {child.name.lower(): child for child in subfolders(folder)}
    for name in _SPLITS.get(split.lower(), (split.lower(),)):
        if name in present:
            return present[name]
    others = [present[name].name for names in _SPLITS.values() for name in names if name in present]
    if others:
        raise DataError(Fault(folder, f"has no split {split!r}; it has {', '.join(sorted(others))}"))
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
