"""Which of the files that are found make an input, and which must not be one."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from zoo_core.predicting.files import Found

__all__ = ["OutputGuard", "Runs"]

# In so many folders at a time may sequences of images be under way.
_FOLDERS_OPEN = 1000


class Runs:
    """Runs of as many images as make an input: of each folder by itself, unless there are only so many in all.

    Args:
        count: how many images make an input.
        on_too_few: called with the images of a folder that has fewer.
    """

    def __init__(self, count: int, on_too_few: Callable[[list[Found]], None]) -> None:
        self.count = count
        self._on_too_few = on_too_few
        self._first: list[Found] | None = []
        self._windows: OrderedDict[Path, list[Found]] = OrderedDict()
        self._whole: set[Path] = set()

    def add(self, file: Found) -> Iterator[Sequence[Found]]:
        """Takes the next file, and gives the inputs that are whole by now."""
        if self._first is not None:
            self._first.append(file)
            if len(self._first) <= self.count:
                return
            held, self._first = self._first, None
            for item in held:
                yield from self._add(item)
            return
        yield from self._add(file)

    def _add(self, file: Found) -> Iterator[Sequence[Found]]:
        folder = file.parent
        window = self._windows.setdefault(folder, [])
        self._windows.move_to_end(folder)
        window.append(file)
        if len(window) == self.count:
            self._whole.add(folder)
            yield tuple(window)
            del window[0]
        if len(self._windows) > _FOLDERS_OPEN:
            self._end_folder(*self._windows.popitem(last=False))

    def _end_folder(self, folder: Path, window: list[Found]) -> None:
        if folder not in self._whole:
            self._on_too_few(window)
        self._whole.discard(folder)

    def end(self) -> Iterator[Sequence[Found]]:
        """Gives what is left, once there are no more files."""
        held = self._first or []
        if len(held) == self.count:
            yield tuple(held)
            return
        for item in held:
            yield from self._add(item)
        while self._windows:
            self._end_folder(*self._windows.popitem(last=False))


class OutputGuard:
    """Keeps what could be overwritten from being an input: files in the folder for the output.

    Args:
        output: that folder; ``None`` if nothing is written.
        on_problem: called with a message, once for each folder of such files.
    """

    def __init__(self, output: Path | None, on_problem: Callable[[str], object]) -> None:
        self._output = None if output is None else output.resolve()
        self._on_problem = on_problem
        self._folder: Path | None = None
        self._is_inside = False

    def lets(self, file: Found) -> bool:
        """Whether a file may be an input."""
        if self._output is None or file.address is not None or file.fetched is not None:
            return True
        folder = file.path.parent
        if folder != self._folder:
            resolved = folder.resolve()
            self._folder = folder
            self._is_inside = resolved == self._output or self._output in resolved.parents
            if self._is_inside:  # the same goes for the others there
                self._on_problem(
                    f"{file.path} lies in the folder for the images, and could be overwritten; choose another --output"
                )
        return not self._is_inside
