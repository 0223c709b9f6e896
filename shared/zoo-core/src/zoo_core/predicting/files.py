"""Which files words mean: paths, shell patterns, folders with all below them. They are found as they are asked for.

However many files there are, memory stays the same: a folder is read one after the other, and of one with very many
files the names wait in a temporary file while they are sorted.
"""

import fnmatch
import glob
import heapq
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from zoo_core.addresses import STANDARD_INPUT, is_stream, is_web, stem_of, suffix_of
from zoo_core.checkpoints import CheckpointError, urls
from zoo_core.declarations import IMAGE_SUFFIXES
from zoo_core.images import image_suffixes
from zoo_core.predicting.fetched import is_image
from zoo_core.predicting.lists import names_in

__all__ = [
    "Found",
    "Skipped",
    "all_suffixes",
    "files_below",
    "find_files",
    "make_output_directory",
    "matches",
    "named_in_lists",
    "words_of",
]

# So many names of one folder are in memory at a time.
_RUN = 100_000
_PIECE = 1000
_ENDINGS_KEPT = 100
_ENDINGS_SHOWN = 8

HIDDEN, LINKED, OTHERS = "hidden", "links to folders", "others"


class Found(NamedTuple):
    """A file, and the folder below the one that was given in which it lies.

    Attributes:
        path: of the file.
        folder: ``Path("deep")`` for ``album/deep/c.jpg`` where ``album`` was given; ``Path("album/deep")`` where a
            list names that file; ``Path()`` for a file that was named itself.
        address: of a stream, or a camera, in place of a file; ``path`` is then what files for it are called like.
        fetched: where on the web an image is, likewise; or ``"-"``.
    """

    path: Path
    folder: Path
    address: str | None = None
    fetched: str | None = None

    @property
    def parent(self) -> Path:
        """What files have in common that lie together."""
        return self.path.parent if self.fetched is None else Path(self.fetched).parent


@dataclass
class Skipped:
    """What was left out of folders, counted.

    Attributes:
        counts: by ending in lower case (``""`` for files without one), and under ``"hidden"`` and ``"links to
            folders"``. Of very many endings, later ones are counted together.
    """

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str) -> None:
        """Counts one more."""
        self.counts[what if what in self.counts or len(self.counts) < _ENDINGS_KEPT else OTHERS] += 1

    def __str__(self) -> str:
        """``"12 files: 10 .txt, 2 hidden"``; an empty string if there are none."""
        most = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count:,} {ending or 'without an ending'}" for ending, count in most[:_ENDINGS_SHOWN]]
        total = self.counts.total()
        if rest := sum(count for _, count in most[_ENDINGS_SHOWN:]):
            parts.append(f"{rest:,} more")
        return f"{total:,} file{'' if total == 1 else 's'}: {', '.join(parts)}" if total else ""


def all_suffixes(declared: Collection[str]) -> Collection[str]:
    """The endings of files that are taken from a folder: those declared, and with images all that can be read here."""
    return frozenset(declared) | image_suffixes() if set(declared) >= IMAGE_SUFFIXES else declared


def find_files(
    words: Iterable[str], suffixes: Collection[str], left_out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """The files that words name, all at once; ``words_of`` finds them one by one.

    Args:
        words: as the user gave them: paths, shell patterns (``**`` goes through folders), and folders with all below.
        suffixes: endings, in lower case, of the files that are taken from a folder; hidden ones never are. A file that
            is named itself may end in any way.
        left_out: a folder that is not looked into when it lies below one that a word names, as that for the results
            may do.

    Returns:
        The files in the order of the words, those of a pattern or a folder sorted; and, for each word that means no
        file, a message.
    """
    problems: list[str] = []
    found = words_of(words, suffixes, left_out, problems.append)
    return [file.path for file in found], problems


def words_of(
    words: Iterable[str],
    suffixes: Collection[str],
    left_out: Path | None = None,
    on_problem: Callable[[str], object] = lambda message: None,
    skipped: Skipped | None = None,
    *,
    ask: bool = True,
) -> Iterator[Found]:
    """The files that words name, in the order of the words, those of a folder sorted by name; see :func:`find_files`.

    Args:
        words, suffixes, left_out: see :func:`find_files`.
        on_problem: called with a message for each word that means no file, and each folder that cannot be read.
        skipped: counts what is left out of folders.
        ask: ask servers what they have at addresses that do not tell by their ending.
    """
    walk = _Walk(suffixes, left_out, on_problem, Skipped() if skipped is None else skipped)
    for word in words:
        try:
            named = _elsewhere(word, ask=ask)
            if named is not None:
                yield named
            else:
                yield from _files_of(word, walk)
        except ValueError as error:
            on_problem(str(error))
        except OSError as error:
            on_problem(f"{word}: {error.strerror or error}")


def _elsewhere(word: str, *, ask: bool = True) -> Found | None:
    """What a word means that is no file.

    This is the one place where words are told apart: further kinds of input join here.

    Args:
        word: as the user gave it.
        ask: ask the server whether it has an image or a stream at an address that does not tell by its ending. If not,
            it is taken for one of an image.

    Raises:
        ValueError: it is an address that nothing is read from.
    """
    if word == STANDARD_INPUT:
        return Found(Path("stdin"), Path(), fetched=word)
    if is_web(word):
        try:
            urls.split(word)
        except CheckpointError as error:
            raise ValueError(str(error)) from None
    tells_nothing = is_web(word) and not suffix_of(word)
    if is_stream(word) and not (tells_nothing and (is_image(word) if ask else True)):
        return Found(Path(stem_of(word)), Path(), word)
    if is_web(word):
        return Found(Path(stem_of(word) + suffix_of(word)), Path(), fetched=word)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", word) and not Path(word).exists():
        raise ValueError(
            f"{urls.shown_url(word)}: of addresses, https: and http: are read, and streams by rtsp: and such"
        )
    return None


def named_in_lists(lists: Iterable[str], on_problem: Callable[[str], object] = lambda message: None) -> Iterator[Found]:
    """The files that lists name. Whether they are there is seen when they are read.

    Args:
        lists: see :func:`~zoo_core.predicting.lists.names_in`.
        on_problem: called with a message for a list that cannot be read, and for names of nothing that is read.
    """
    for file in lists:
        try:
            for name in names_in(file):
                try:
                    named = _elsewhere(name, ask=False) if "://" in name else None
                except ValueError as error:
                    on_problem(str(error))
                    continue
                yield named or Found(Path(name), _folder_of(Path(name)))
        except ValueError as error:
            on_problem(str(error))
        except OSError as error:
            on_problem(f"{file}: {error.strerror or error}")


def _folder_of(path: Path) -> Path:
    """Where a file lies, without what leads out of the current folder."""
    parts = path.parts[1:-1] if path.anchor else path.parts[:-1]
    return Path(*(part for part in parts if part != ".."))


def is_pattern(word: str) -> bool:
    """Whether a word is a shell pattern, and not a file of that very name."""
    return glob.has_magic(word) and not Path(word).exists()


def _files_of(word: str, walk: "_Walk") -> Iterator[Found]:
    """The files that one word names.

    Raises:
        ValueError: there are none.
        OSError: there is no telling.
    """
    if not word:  # which pathlib takes for the current folder
        raise ValueError("an empty word names no file; was it a variable that is not set?")
    path = Path(word)
    if is_pattern(word):
        while path.name == "**":  # stands for the folder with all below it
            path = path.parent
        if not glob.has_magic(str(path)):
            yield from _files_of(str(path), walk)
            return
        found = False
        for match in matches(path):
            found = True
            if match.path.is_dir():
                for file in walk.below(match.path):
                    yield Found(file.path, match.folder / match.path.name / file.folder)
            else:
                yield match
        if not found:
            raise ValueError(f"{word}: no file matches")
    elif path.is_dir():
        found = False
        for file in walk.below(path):
            found = True
            yield file
        if not found:
            raise ValueError(f"{word}: no file in this folder ends in {', '.join(sorted(walk.shown))}{walk.others}")
    elif path.exists():
        yield Found(path, Path())
    else:
        raise ValueError(f"{word}: no such file")


def files_below(
    folder: Path,
    suffixes: Collection[str],
    left_out: Path | None = None,
    on_problem: Callable[[str], object] = lambda message: None,
    skipped: Skipped | None = None,
) -> Iterator[Found]:
    """The files below a folder with one of the endings, sorted by name in each folder; see :func:`words_of`."""
    return _Walk(suffixes, left_out, on_problem, Skipped() if skipped is None else skipped).below(folder)


@dataclass(frozen=True)
class _Walk:
    """What is taken of a folder."""

    suffixes: Collection[str]
    left_out: Path | None
    on_problem: Callable[[str], object]
    skipped: Skipped

    @property
    def shown(self) -> Collection[str]:
        """The endings that a message names."""
        return set(self.suffixes) - (image_suffixes() - IMAGE_SUFFIXES)

    @property
    def others(self) -> str:
        return ", or as other images do" if len(self.shown) < len(self.suffixes) else ""

    def below(self, folder: Path) -> Iterator[Found]:
        """Raises OSError if the folder itself cannot be read; what is wrong with one below it is told."""
        inner = None if self.left_out is None else self.left_out.resolve()
        open_folders = [(folder, Path(), sorted_entries(folder))]
        while open_folders:
            at, relative, entries = open_folders[-1]
            entry = next(entries, None)
            if entry is None:
                open_folders.pop()
                continue
            name, kind = entry
            if name.startswith("."):
                self.skipped.add(HIDDEN)
            elif kind == _FOLDER:
                path = at / name
                if inner is None or name != inner.name or path.resolve() != inner:
                    try:
                        open_folders.append((path, relative / name, sorted_entries(path)))
                    except OSError as error:
                        self.on_problem(f"{path}: {error.strerror or error}")
            elif kind == _LINK:
                self.skipped.add(LINKED)
            elif (suffix := os.path.splitext(name)[1].lower()) in self.suffixes:
                yield Found(at / name, relative)
            else:
                self.skipped.add(suffix)


_FILE, _FOLDER, _LINK, _OTHER = "f", "d", "l", "o"


def sorted_entries(folder: Path) -> Iterator[tuple[str, str]]:
    """The names in a folder, sorted, each with its kind; however many there are, in little memory.

    Raises:
        OSError: the folder cannot be read.
    """
    runs: list[Iterator[tuple[str, str]]] = []
    spill: IO[bytes] | None = None
    run: list[tuple[str, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            run.append((entry.name, _kind(entry)))
            if len(run) == _RUN:
                spill = spill or tempfile.TemporaryFile()  # noqa: SIM115
                runs.append(_written(sorted(run), spill))
                run = []
    run.sort()
    return heapq.merge(*runs, run) if runs else iter(run)


def _kind(entry: "os.DirEntry[str]") -> str:
    try:
        if entry.is_dir(follow_symlinks=False):
            return _FOLDER
        if entry.is_file():
            return _FILE
        return _LINK if entry.is_symlink() and entry.is_dir() else _OTHER
    except OSError:  # it went meanwhile, or cannot be looked at
        return _OTHER


def _written(run: list[tuple[str, str]], spill: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Puts names into a temporary file; they are read from there in small pieces."""
    pieces = []
    end = spill.seek(0, os.SEEK_END)
    for start in range(0, len(run), _PIECE):
        # No name has a slash in it.
        text = "/".join(kind + name for name, kind in run[start : start + _PIECE])
        length = spill.write(text.encode(errors="surrogateescape"))
        pieces.append((end, length))
        end += length

    def read() -> Iterator[tuple[str, str]]:
        for place, length in pieces:
            spill.seek(place)
            for item in spill.read(length).decode(errors="surrogateescape").split("/"):
                yield item[1:], item[0]

    return read()


def matches(pattern: Path) -> Iterator[Found]:
    """The files and folders that a shell pattern means, sorted by name in each folder, with what lies where below the
    part of the pattern that is no pattern.

    ``*``, ``?`` and ``[...]`` stand for parts of a name that does not begin with a dot; ``**`` for any number of
    folders between.
    """
    parts = pattern.parts
    plain = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return _matches(Path(*parts[:plain]), Path(), parts[plain:])


def _matches(folder: Path, relative: Path, parts: tuple[str, ...]) -> Iterator[Found]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _matches(folder, relative, rest)
        for name, kind in _listed(folder):
            if kind == _FOLDER and not name.startswith("."):
                yield from _matches(folder / name, relative / name, parts)
    elif not glob.has_magic(first):
        if not rest:
            if (folder / first).exists():
                yield Found(folder / first, relative)
        elif (folder / first).is_dir():
            yield from _matches(folder / first, relative / first, rest)
    else:
        for name, kind in _listed(folder):
            if fnmatch.fnmatch(name, first) and (first.startswith(".") or not name.startswith(".")):
                if not rest:
                    yield Found(folder / name, relative)
                elif kind in (_FOLDER, _LINK):
                    yield from _matches(folder / name, relative / name, rest)


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    """The names in a folder; none if it cannot be read, as patterns have it."""
    try:
        return sorted_entries(folder)
    except OSError:
        return iter(())


def make_output_directory(directory: Path, inputs: Iterable[Path] = ()) -> None:
    """Makes the directory for results, unless what is written there could overwrite an input.

    Raises:
        ValueError: an input lies in that directory, or it is a file.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(f"--output {directory}: this is a file, and must be a folder") from error
    for path in inputs:
        if path.resolve().parent == directory.resolve():
            raise ValueError(
                f"{path} lies in the folder for the images, and could be overwritten; choose another --output"
            )
