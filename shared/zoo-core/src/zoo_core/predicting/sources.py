"""How files become inputs: one by one, in pairs or longer runs, as frames of videos, or each as a whole.

:class:`Sources` is the stream of them; whoever runs a model on files takes from it, and from nothing else.
"""

import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

from zoo_core.addresses import STANDARD_INPUT, is_web, suffix_of
from zoo_core.checkpoints.urls import shown_url
from zoo_core.declarations import VIDEO_SUFFIXES, Declaration
from zoo_core.images import open_image
from zoo_core.images.bands import open_bands
from zoo_core.predicting.fetched import FetchError, fetch_file, fetch_image, open_called, spool_standard_input
from zoo_core.predicting.files import Found, Skipped, all_suffixes, is_pattern, named_in_lists, words_of
from zoo_core.predicting.grouping import OutputGuard, Runs
from zoo_core.predicting.names import Names
from zoo_core.predicting.shards import Share
from zoo_core.predicting.videos import Moment, count_frames, frames_of
from zoo_core.sampling import Sampling
from zoo_core.tasks import Task
from zoo_core.text import redacted

__all__ = ["NothingFoundError", "Source", "Sources", "estimate", "find_sources", "inputs", "located_inputs"]

_NUMERALS = {2: "two", 3: "three", 4: "four", 5: "five"}
_HERE = PurePath()
_ALL_FRAMES = Sampling()


@dataclass(frozen=True)
class Source:
    """Files that inputs are read from.

    Args:
        paths: one file; or as many images as make one input.
        numbered: whether there are many inputs in it, the frames of a video; their results are numbered then.
        stem: the beginning of the names of files that are written for it, unlike that of any other source with the
            same ``folder``, and no beginning of another with a dot behind it.
        folder: where in the output folder they go: below ``album`` when that was given, ``deep`` for
            ``album/deep/c.jpg``; ``PurePath()`` for a file that was named itself.
        position: which of the stream's sources it is, from 0 on, whatever share of them is taken. The same words and
            the same files give each source the same position, ``folder`` and ``stem`` in every process.
        address: of a stream, or a camera, which is read in place of a file.
        fetched: for each of the paths where on the web that image is, ``"-"`` for what was piped in, or ``None`` for a
            file; empty where all are files. A path of the web is a name only.
        sampling: which frames of a video are looked at.
    """

    paths: tuple[Path, ...]
    numbered: bool
    stem: str
    folder: PurePath = _HERE
    position: int = 0
    address: str | None = None
    sampling: Sampling = _ALL_FRAMES
    fetched: tuple[str | None, ...] = ()

    def __str__(self) -> str:
        return " ".join(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """What the files, or the stream, are called in messages and results."""
        if self.address is not None:
            return (redacted(self.address),)
        origins = self.fetched or (None,) * len(self.paths)
        return tuple(
            str(path) if origin is None else shown_url(origin) for path, origin in zip(self.paths, origins, strict=True)
        )

    @property
    def file(self) -> Path | None:
        """The first of the files, if it is on this machine."""
        is_elsewhere = self.address is not None or (self.fetched and self.fetched[0] not in (None, STANDARD_INPUT))
        return None if is_elsewhere else self.paths[0]

    @property
    def output(self) -> PurePath:
        """``folder / stem``: what is written for it lies there in the output folder, with an ending behind."""
        return self.folder / self.stem


class NothingFoundError(ValueError):
    """The words name no file that could be looked at."""


class Sources(Iterable[Source]):
    """What a task reads of the files that words name, found while it is read.

    ``for source in Sources(declaration, words)`` gives one :class:`Source` after the other: the words in their order,
    folders and patterns sorted by name in each folder. However many there are, memory stays the same, except where
    names for output are made (a number for each). It can be gone through once, by one thread.

    Of a task that takes several images, exactly that many are one input wherever they lie; more are sequences, folder
    by folder, in which each makes an input with those that follow.

    What is wrong with a word, or a folder below it, is told to ``on_problem`` when it is come to, and does not stop the
    others. If the whole stream, not only this share of it, has no source, its end raises :class:`NothingFoundError`;
    :meth:`start` does so before anything else is done.

    Args:
        declaration: of the task.
        words: paths, shell patterns and folders; addresses of images (``https://...``), cameras and streams; ``"-"``
            for what is piped in, which is read once, into a temporary file.
        lists: files with more names, see :func:`~zoo_core.predicting.lists.names_in`; they come behind the words. Names
            are of files and addresses, and taken as they are: one that is missing is an input that fails.
        output: the folder for what is written. It is not looked into where it lies below a folder that a word names; a
            file in it that is named all the same could be overwritten, and is a problem.
        share: which part of the stream to give. All of it is listed.
        named: make ``stem`` and ``folder`` of each source unlike those of all others; without, which takes no
            memory, the stem is the file's. By default where there is an ``output``.
        on_problem: called with a message of one line; by default they are collected in ``problems``.
        sampling: which frames of videos are looked at.

    Attributes:
        problems: messages, where nobody else takes them.
        skipped: what was left out of folders so far, counted by ending.
        count: how many sources the stream has had so far, those of other shares included.
    """

    def __init__(
        self,
        declaration: Declaration,
        words: Iterable[str],
        *,
        lists: Iterable[str] = (),
        output: Path | None = None,
        share: Share | None = None,
        named: bool | None = None,
        on_problem: Callable[[str], object] | None = None,
        sampling: Sampling = _ALL_FRAMES,
    ) -> None:
        self.sampling = sampling
        self.declaration = declaration
        self.words = tuple(words)
        self.lists = tuple(lists)
        self.output = output
        self.share = share or Share()
        self.problems: list[str] = []
        self.skipped = Skipped()
        self.count = 0
        self._names = Names() if (output is not None if named is None else named) else None
        self._on_problem = on_problem or self.problems.append
        self._kept_back: str | None = None
        self._total: int | None = None
        self._counter: threading.Thread | None = None
        self._is_closed = False
        self._is_counting = False
        self._spool: TemporaryDirectory[str] | None = None
        self._stream = self._all()
        self._first: Source | None = None

    def __iter__(self) -> Iterator[Source]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._stream

    def start(self) -> None:
        """Finds the first source of the share, so that words which name nothing are told before a model is loaded.

        Raises:
            NothingFoundError: there is none in the whole stream.
        """
        if self._first is None and not self.count:
            self._first = next(self._stream, None)

    def count_ahead(self, task: Task[Any, Any] | None = None) -> None:
        """Begins to find out :attr:`total`, in a thread of its own where folders have to be read for that.

        Args:
            task: counts the inputs of videos, as far as their headers tell; without, each counts as one.
        """
        if self._total is not None or self._counter is not None:
            return
        if self._is_listed():
            self._count_all(task)
        else:
            self._counter = threading.Thread(target=self._count_all, args=(task,), name="counting", daemon=True)
            self._counter.start()

    @property
    def total(self) -> int | None:
        """How many inputs the share has, an estimate where there are videos; ``None`` while that is not known."""
        return self._total

    def close(self) -> None:
        """Ends the counting, and gives back what the listing holds."""
        self._is_closed = True
        self._stream.close()
        if self._spool is not None:
            self._spool.cleanup()

    def _is_listed(self) -> bool:
        """Whether counting means no more than counting words."""
        return not self.lists and not any(is_pattern(word) or Path(word).is_dir() for word in self.words)

    def _count_all(self, task: Task[Any, Any] | None) -> None:
        if not all(Path(path).is_file() for path in self.lists):  # what is piped in can be read only once
            return
        total = 0
        other = Sources(
            self.declaration,
            self.words,
            lists=self.lists,
            output=self.output,
            share=self.share,
            named=False,
            sampling=self.sampling,
        )
        other._is_counting = True
        try:
            for source in other:
                total += 1 if task is None else estimate(task, [source])
                if self._is_closed:
                    return
        except (OSError, ValueError, ModuleNotFoundError):  # the one who reads will say so
            pass
        else:
            self._total = total

    def _all(self) -> Generator[Source, None, None]:
        guard = OutputGuard(self.output, self._tell_late)
        for group in self._grouped(file for file in self._found() if guard.lets(file)):
            source = self._source(group)
            if source is not None:
                yield source
        if not self.count:
            raise NothingFoundError(self._kept_back or "there is nothing to look at")
        if self._kept_back is not None:
            self._on_problem(self._kept_back)

    def _found(self) -> Iterator[Found]:
        suffixes = all_suffixes(self.declaration.suffixes)
        ask = not self._is_counting
        for file in words_of(self.words, suffixes, self.output, self._on_problem, self.skipped, ask=ask):
            if file.fetched != STANDARD_INPUT or self._is_counting:
                yield file
                continue
            try:
                yield self._piped(file)
            except FetchError as error:
                self._on_problem(str(error))
        yield from named_in_lists(self.lists, self._on_problem)

    def _piped(self, file: Found) -> Found:
        if self._spool is not None or STANDARD_INPUT in self.lists:
            raise FetchError("-: standard input can be read only once")
        path, self._spool = spool_standard_input()
        return file._replace(path=path)

    def _source(self, group: Sequence[Found]) -> Source | None:
        position = self.count
        self.count += 1
        first = group[0]
        path, address = first.path, first.address
        fetched = tuple(file.fetched for file in group) if any(file.fetched for file in group) else ()
        if self.declaration.images is None and address is not None and is_web(address):
            address, fetched = None, (address,)  # such tasks read files whole
        stem = path.stem if self._names is None else self._names.give(first.folder, path.stem)
        if not self.share.takes(position):
            return None
        numbered = self.declaration.images is not None and (address is not None or _is_video(path))
        paths = tuple(file.path for file in group)
        return Source(paths, numbered, stem, first.folder, position, address, self.sampling, fetched)

    def _grouped(self, found: Iterable[Found]) -> Iterator[Sequence[Found]]:
        """Files by themselves; and of a task that takes several images, those that make an input."""
        count = self.declaration.images or 1
        if count == 1:
            for file in found:
                yield (file,)
            return
        runs = Runs(count, self._tell_too_few)
        for file in found:
            if file.address is not None or _is_video(file.path):
                yield (file,)
            else:
                yield from runs.add(file)
        yield from runs.end()

    def _tell_too_few(self, alone: list[Found]) -> None:
        count = self.declaration.images
        self._tell_late(
            f"{alone[0].path}: {self.declaration.title.lower()} needs {_NUMERALS.get(count or 1, count)} images (or a "
            f"video), " + ("and this one is alone" if len(alone) == 1 else f"and there are {len(alone)}")
        )

    def _tell_late(self, message: str) -> None:
        """Keeps the last message back, which says by itself why there may be nothing to look at."""
        if self._kept_back is not None:
            self._on_problem(self._kept_back)
        self._kept_back = message


def find_sources(
    declaration: Declaration,
    words: Iterable[str],
    *,
    left_out: Path | None = None,
    sampling: Sampling = _ALL_FRAMES,
) -> tuple[list[Source], list[str]]:
    """What a task reads of the files that words name, all at once; :class:`Sources` is the stream of them.

    Args:
        declaration: of the task.
        words: paths, shell patterns and folders.
        left_out: a folder that is not looked into.
        sampling: which frames of videos are looked at.

    Returns:
        The sources, videos first where the task takes several images; and, for each word that means no file, a message.

    Raises:
        ValueError: there are too few images for the task, or a file lies in the folder for the output.
    """
    stream = Sources(declaration, words, output=left_out, named=True, sampling=sampling)
    found: list[Source] = []
    with contextlib.suppress(NothingFoundError):
        found += stream
    if stream._kept_back is not None:
        raise ValueError(stream._kept_back)
    if declaration.images not in (None, 1):
        order = {source.paths[0].parent: place for place, source in reversed(list(enumerate(found)))}
        found.sort(key=lambda source: (not source.numbered, order[source.paths[0].parent]))
    return found, stream.problems


def _windows(items: Iterable[Any], count: int) -> Iterator[tuple[Any, ...]]:
    """``"abcd", 2`` -> ``"ab", "bc", "cd"``."""
    window: list[Any] = []
    for item in items:
        window.append(item)
        if len(window) == count:
            yield tuple(window)
            del window[0]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def inputs(task: Task[Any, Any], source: Source) -> Generator[Any, None, None]:
    """The inputs of a source, one after the other. Of a video only a few frames are in memory at a time.

    Raises:
        ValueError, OSError: a file cannot be read; this may come after some inputs.
        zoo_core.extras.MissingExtraError: it is a video, and PyAV is not installed.
    """
    with contextlib.closing(located_inputs(task, source)) as found:
        for _, input in found:
            yield input


def located_inputs(task: Task[Any, Any], source: Source) -> Generator[tuple[Moment | None, Any], None, None]:
    """As :func:`inputs`, with what tells where in a video each of them is from; ``None`` for images and whole files.

    Raises:
        ValueError, OSError: as there; or the video has fewer frames than an input takes.
    """
    count = task.declaration.images
    if count is None:
        if source.address is not None:
            raise ValueError(f"{source}: {task.declaration.title.lower()} reads whole files, and no cameras or streams")
        yield None, _read_whole(task, source)
    elif source.numbered:
        package = _package(task)
        found = False
        with contextlib.closing(frames_of(source.paths[0], source.address, source.sampling, package)) as frames:
            for window in _windows(frames, count):
                found = True
                images = tuple(image for _, image in window)
                yield window[0][0], images[0] if count == 1 else images
        if not found:
            wanted = "one frame" if count == 1 else f"{_NUMERALS.get(count, count)} frames"
            raise ValueError(
                f"{source}: {task.declaration.title.lower()} needs at least {wanted}, and this video has fewer"
            )
    else:
        origins = source.fetched or (None,) * len(source.paths)
        # With alpha only where a model looks at it; a grey image is what a model for one makes of the colours.
        mode = "RGBA" if task.channels == 4 else "RGB"
        pairs = zip(source.paths, origins, strict=True)
        images = tuple(_read_image(path, origin, mode, task.channels) for path, origin in pairs)
        yield None, images[0] if count == 1 else images


def _read_image(path: Path, origin: str | None, mode: str, channels: int) -> Any:
    if origin is None:
        if channels not in (1, 3) and (bands := open_bands(path, channels)) is not None:
            return bands
        return open_image(path) if mode == "RGB" else open_image(path, mode)
    return open_called(path, origin, mode) if origin == STANDARD_INPUT else fetch_image(origin, mode)


def _read_whole(task: Task[Any, Any], source: Source) -> Any:
    origin = source.fetched[0] if source.fetched else None
    if origin is None or origin == STANDARD_INPUT:
        return task.read(source.paths[0])
    path, folder = fetch_file(origin, source.paths[0].suffix or suffix_of(origin))
    input = task.read(path)
    try:
        weakref.finalize(input, folder.cleanup)
    except TypeError:  # there is no telling when nobody needs it any more
        atexit.register(folder.cleanup)
    return input


def _package(task: Task[Any, Any]) -> str:
    """The distribution whose extra brings what reads videos."""
    package = task.declaration.package
    return package.replace("_", "-") if package.startswith("zoo_") else "zoo-core"


def estimate(task: Task[Any, Any], sources: Iterable[Source]) -> int:
    """How many inputs there are, for a progress bar: of videos, as far as their headers tell. Streams have no end, and
    count for nothing.

    Raises:
        zoo_core.extras.MissingExtraError: there are videos, and PyAV is not installed.
    """
    images = task.declaration.images or 1
    count = 0
    for source in sources:
        if source.address is not None:
            continue
        if source.numbered:
            count += max(1, count_frames(source.paths[0], source.sampling, _package(task)) - images + 1)
        else:
            count += 1
    return count
