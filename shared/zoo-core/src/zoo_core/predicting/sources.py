"""How files become inputs: one by one, in pairs or longer runs, as frames of videos, or each as a whole."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.declarations import VIDEO_SUFFIXES, Declaration
from zoo_core.images import open_image
from zoo_core.predicting.files import find_files, unique_stems
from zoo_core.tasks import Task

__all__ = ["Source", "estimate", "find_sources", "inputs"]

_NUMERALS = {2: "two", 3: "three", 4: "four", 5: "five"}


@dataclass(frozen=True)
class Source:
    """Files that inputs are read from.

    Args:
        paths: one file; or as many images as make one input.
        numbered: whether there are many inputs in it, the frames of a video; their results are numbered then.
        stem: the beginning of the names of files that are written for it, unlike that of any other source.
    """

    paths: tuple[Path, ...]
    numbered: bool
    stem: str

    def __str__(self) -> str:
        return " ".join(map(str, self.paths))


def find_sources(
    declaration: Declaration, words: Iterable[str], *, left_out: Path | None = None
) -> tuple[list[Source], list[str]]:
    """What a task reads of the files that words name; see :func:`~zoo_core.predicting.files.find_files`.

    Of a task that takes several images, exactly that many are one input wherever they lie; more are sequences, folder
    by folder, in which each makes an input with those that follow.

    Args:
        declaration: of the task.
        words: paths, shell patterns and folders.
        left_out: a folder that is not looked into.

    Returns:
        The sources; and, for each word that means no file, a message.

    Raises:
        ValueError: there are too few images for the task.
    """
    paths, problems = find_files(words, declaration.suffixes, left_out)
    groups = [(path,) for path in paths] if declaration.images in (None, 1) else _runs(declaration, paths)
    return [
        Source(group, declaration.images is not None and _is_video(group[0]), stem)
        for group, stem in zip(groups, unique_stems(groups), strict=True)
    ], problems


def _runs(declaration: Declaration, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Videos by themselves, and runs of as many images as make an input."""
    count = declaration.images or 1
    videos: list[tuple[Path, ...]] = [(path,) for path in paths if _is_video(path)]
    images = [path for path in paths if not _is_video(path)]
    if len(images) == count:
        return [*videos, tuple(images)]
    folders: dict[Path, list[Path]] = {}
    for path in images:
        folders.setdefault(path.parent, []).append(path)
    for folder in folders.values():
        if len(folder) < count:
            raise ValueError(
                f"{folder[0]}: {declaration.title.lower()} needs {_NUMERALS.get(count, count)} images (or a video), "
                + ("and this one is alone" if len(folder) == 1 else f"and there are {len(folder)}")
            )
    return [*videos, *(run for folder in folders.values() for run in _windows(folder, count))]


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
    """The inputs of a source, one after the other. Of a video only the frames of one input are in memory at a time.

    Raises:
        ValueError, OSError: a file cannot be read; this may come after some inputs.
    """
    count = task.declaration.images
    if count is None:
        yield task.read(source.paths[0])
    elif source.numbered:
        found = 0
        for found, window in enumerate(_windows(_frames(source.paths[0]), count), 1):  # noqa: B007
            yield window[0] if count == 1 else window
        if not found:
            wanted = "one frame" if count == 1 else f"{_NUMERALS.get(count, count)} frames"
            raise ValueError(
                f"{source}: {task.declaration.title.lower()} needs at least {wanted}, and this video has fewer"
            )
    else:
        images = tuple(open_image(path) for path in source.paths)
        yield images[0] if count == 1 else images


def _frames(path: Path) -> Iterator[Any]:
    from zoo_core import video_files  # imports PyAV, which not everyone has

    return video_files.frames(path)


def estimate(task: Task[Any, Any], sources: Iterable[Source]) -> int:
    """How many inputs there are, for a progress bar: of videos, as far as their headers tell.

    Raises:
        zoo_core.extras.MissingExtraError: there are videos, and PyAV is not installed.
    """
    images = task.declaration.images or 1
    count = 0
    for source in sources:
        if source.numbered:
            from zoo_core import video_files

            count += max(1, video_files.count_frames(source.paths[0]) - images + 1)
        else:
            count += 1
    return count
