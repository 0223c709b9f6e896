"""Data sets of classifiers: a folder for each class."""

import difflib
import functools
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from zoo_core.data.faults import DataError, Fault
from zoo_core.data.layout import files_in, find_split, subfolders
from zoo_core.data.samples import Dataset, LabelledSample
from zoo_core.text import listed

__all__ = ["ClassFolders", "match_labels", "synset_ids"]

_LABELS = Path(__file__).parent.parent / "labels"


class ClassFolders(Dataset):
    """Files in a folder for each class, with or without a folder for each split above: ``val/cat/1.jpg``.

    Folders are matched with the labels of the model by name; letter case does not matter, nor which of spaces, dashes,
    slashes and underscores stand between words.
    Folders that are all called by WordNet ids (``n01440764``), as ImageNet's are, follow ImageNet's order.

    Args:
        folder: the folder of the data set.
        labels: name of each class as the model has them; ``None`` takes the folders' names, sorted.
        suffixes: endings of the files that count, in lower case.
        split: which split to take where there are several.

    Raises:
        DataError: no class is there, a class has no files, or the folders do not go with the labels.
    """

    def __init__(
        self, folder: Path, labels: Sequence[str] | None, suffixes: Collection[str], split: str = "val"
    ) -> None:
        self.root = find_split(Path(folder), split)
        folders = subfolders(self.root)
        if not folders:
            raise DataError(
                Fault(self.root, "no folder of a class is here; expected one for each, such as cat/ and dog/")
            )
        names = [child.name for child in folders]
        self.labels = tuple(names if labels is None else labels)
        places = match_labels(names, self.labels, self.root)
        self._samples: list[tuple[Path, int]] = []
        empty = []
        for child, place in zip(folders, places, strict=True):
            files = files_in(child, suffixes)
            self._samples += [(file, place) for file in files]
            if not files:
                empty.append(Fault(child, f"no file of this class ends in {', '.join(sorted(suffixes))}"))
        self.published_as = _published_as(names, self.labels, len(self._samples))
        if empty:
            raise DataError(empty, self if self._samples else None)

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        return self._samples[index][0].relative_to(self.root).as_posix()

    def sample(self, index: int) -> LabelledSample:
        """The file, and the index of its class."""
        file, place = self._samples[index]
        return LabelledSample(self.name(index), (file,), place)


def match_labels(names: Sequence[str], labels: Sequence[str], where: Path) -> list[int]:
    """The index in ``labels`` of each of the names.

    Args:
        names: what a data set calls its classes.
        labels: what the model calls them.
        where: the folder or file that the names come from, for messages.

    Raises:
        DataError: names that no label has, or that are like several labels; the message lists both sides.
    """
    if _are_synsets(names) and len(labels) == len(synset_ids()):
        places = {name: place for place, name in enumerate(synset_ids())}
        if strange := [name for name in names if name not in places]:
            raise DataError(Fault(where, f"not among ImageNet's 1000 classes: {listed(strange)}"))
        return [places[name] for name in names]
    exact = {label: place for place, label in enumerate(labels)}
    alike: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        alike.setdefault(_plain(label), []).append(place)
    found: list[int] = []
    unknown: list[str] = []
    ambiguous: list[str] = []
    for name in names:
        candidates = [exact[name]] if name in exact else alike.get(_plain(name), [])
        if len(candidates) == 1:
            found += candidates
        else:
            (ambiguous if candidates else unknown).append(name)
    if ambiguous:
        raise DataError(Fault(where, f"classes that several labels of the model are like: {listed(ambiguous)}"))
    if unknown:
        unused = [label for place, label in enumerate(labels) if place not in found]
        near = difflib.get_close_matches(unknown[0], unused, n=1)
        hint = f"; is {unknown[0]!r} the model's {near[0]!r}?" if near else ""
        raise DataError(
            Fault(
                where,
                f"classes that the model does not know: {listed(unknown)}; labels of the model that are not here: "
                f"{listed(unused) or 'none'}{hint}",
            )
        )
    twice = [name for name, place in zip(names, found, strict=True) if found.count(place) > 1]
    if twice:
        raise DataError(Fault(where, f"several classes stand for one label of the model: {listed(twice)}"))
    return found


@functools.cache
def synset_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-1K's classes, in the order of its labels."""
    return tuple((_LABELS / "imagenet1k_synsets.txt").read_text(encoding="ascii").split())


def _published_as(names: Sequence[str], labels: Sequence[str], count: int) -> str | None:
    """The data set of the catalogues that such classes and so many samples are."""
    if _are_synsets(names):
        return "ImageNet-1K" if len(names) == 1000 and count == 50_000 else None
    garments = (_LABELS / "fashion_mnist.txt").read_text(encoding="utf-8").splitlines()
    return "Fashion-MNIST" if len(names) == 10 and list(labels) == garments and count == 10_000 else None


def _are_synsets(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"n\d{8}", name) for name in names)


def _plain(name: str) -> str:
    return re.sub(r"[\s_/-]+", " ", name).strip().casefold()
