"""Where the results of a command go: the options for that, and what writes them to stdout or into a file."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from zoo_core.cli import output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Function, together

if TYPE_CHECKING:
    from zoo_core.predicting import Failure, Prediction, Share, Source
    from zoo_core.predicting.formats import Format
    from zoo_core.predicting.recording import Recorder
    from zoo_core.tasks import Task

__all__ = [
    "MATRICES",
    "RECORDS",
    "Printed",
    "Problems",
    "Recorded",
    "ResultOptions",
    "Streamed",
    "Writer",
    "print_prediction",
    "result_options",
    "share_of",
]

RECORDS = (".jsonl", ".ndjson", ".csv")
"""Endings, in lower case, of files that take results record by record."""

MATRICES = (".npy", ".parquet")
"""Endings of files that `zoo embed` makes of records that lie beside."""

_FORMATS = ("text", "json", "jsonl", "csv")


def result_options(*endings: str) -> Callable[[Function], Function]:
    """Adds the options of :class:`ResultOptions` to a command, under its names.

    Args:
        endings: how the names of its files may end.
    """
    return together(
        click.option(
            "--format",
            "format_name",
            type=click.Choice(_FORMATS),
            help="How results are written: jsonl is a line of JSON for each input, csv a table. By default text; in a "
            "file, what the ending of its name says.",
        ),
        click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
        click.option(
            "--results",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help=f"Write results into FILE ({', '.join(endings)}), of which an interruption loses nothing that was "
            "finished.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the FILE of --results, behind what is in it."),
        click.option(
            "--shard",
            metavar="K/N",
            help="Of N processes this is the K-th, from 1 on: it does its share, and writes a part of FILE, which `zoo "
            "merge` puts together. torchrun's processes share by themselves.",
        ),
    )


@dataclass(frozen=True)
class ResultOptions:
    """What a line says about its results. Raises :class:`UsageError` where that makes no sense."""

    format_name: str | None
    as_json: bool
    results: Path | None
    resume: bool
    shard: str | None

    def __post_init__(self) -> None:
        if self.as_json and self.format_name not in (None, "json"):
            raise UsageError(f"--json is --format json, and the line also has --format {self.format_name}")
        if self.results is None and self.resume:
            raise UsageError("--resume goes on with a file of results, which --results FILE names")
        if self.results is not None and self.format in ("text", "json"):
            raise UsageError(f"--results writes jsonl and csv, record by record, and not {self.format}")
        if self.results is not None and self.format is None and self.results.suffix.lower() not in RECORDS:
            raise UsageError(
                f"--results {self.results}: give the file a name that ends in .jsonl or .csv, or --format jsonl or csv"
            )

    @property
    def format(self) -> str | None:
        """The format that the line names."""
        return "json" if self.as_json else self.format_name

    def writer(
        self, task: "Task[Any, Any]", share: "Share", device: str, *, given: Mapping[str, Any] | None = None
    ) -> "Writer":
        """What writes the results of a task.

        Args:
            task: made with its options.
            share: of this process.
            device: which the model runs on.
            given: what results depend on beside the task and its options.

        Raises:
            zoo_core.predicting.results.ResultFileError: there is a file that cannot be resumed.
        """
        from zoo_core.predicting import formats
        from zoo_core.predicting.recording import Recorder

        if self.results is not None:
            recorder = Recorder(self.results, task, format=self.format, share=share, resume=self.resume, given=given)
            return Recorded(recorder)
        if self.format in (None, "text"):
            return Printed()
        if self.format == "jsonl":
            return Streamed(formats.JsonLines())
        if self.format == "csv":
            return Streamed(formats.Csv(task.declaration))
        spec = task.spec
        about = {"model": spec.name, "weights": spec.weights, "task": spec.task, "device": device}
        return Streamed(formats.JsonDocument(about))


def share_of(options: ResultOptions) -> "Share":
    """The share of this process: as ``--shard`` says, or torchrun.

    Raises:
        UsageError: both say so, or results of several processes would go to one stdout.
    """
    from zoo_core.predicting import Share
    from zoo_core.processes import world

    among = world()
    if options.shard is not None:
        if among.size > 1:
            raise UsageError("torchrun tells each process its share; --shard is for other ways to start several")
        try:
            return Share.parse(options.shard)
        except ValueError as error:
            raise UsageError(f"--shard {options.shard}: {error}") from error
    if among.size > 1 and options.results is None and options.format in ("json", "csv"):
        raise UsageError(f"several processes cannot write one {options.format} on stdout; give --results FILE")
    return Share(among.rank, among.size)


class Problems:
    """What is wrong with words, and with inputs: told on stderr when it is known, and counted.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._unwritten: deque[tuple[int, str]] = deque()

    def tell(self, message: str, position: int) -> None:
        """Tells what is wrong with a word that names no file, or a folder that cannot be read.

        Args:
            message: what is wrong.
            position: of the input that comes next.
        """
        output.error(message)
        self.count += 1
        self._unwritten.append((position, message))

    def tell_failure(self, failure: "Failure", *, with_traceback: bool) -> None:
        """Tells what is wrong with an input."""
        output.error(failure.message)
        self.count += 1
        if with_traceback and failure.error is not None:
            output.traceback(failure.error)

    def write(self, writer: "Writer", before: "Source | None" = None) -> None:
        """Hands those of words, which are no input's outcome, to what writes the results.

        Args:
            writer: which writes.
            before: only those that come before this input in the list.
        """
        from zoo_core.predicting import Failure

        while self._unwritten and (before is None or self._unwritten[0][0] <= before.position):
            writer.write(Failure(None, None, self._unwritten.popleft()[1]), [])


class Writer(ABC):
    """Takes what comes out, in a ``with`` block, and is then finished.

    Attributes:
        inputs: how many inputs were done by an earlier run.
        is_complete_part: whether an earlier run has done the share of this process.
    """

    inputs = 0
    is_complete_part = False

    def remaining(self, sources: Iterable["Source"], *, whole: bool) -> Iterator[tuple["Source", int]]:
        """The sources that are still to be done, each with the number of its inputs that are done."""
        return ((source, 0) for source in sources)

    @abstractmethod
    def write(self, outcome: "Prediction | Failure", written: list[Path]) -> None:
        """Writes an outcome.

        Args:
            outcome: what came out; a failure was told on stderr already.
            written: the files that were written for it.
        """

    def finish(self) -> int:
        """Called when all is done. Returns an exit code."""
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return  # most have nothing to close


class Printed(Writer):
    """Writes results for people on stdout."""

    def write(self, outcome: "Prediction | Failure", written: list[Path]) -> None:
        from zoo_core.predicting import Prediction

        if isinstance(outcome, Prediction):
            print_prediction(outcome, str(outcome.source), written)


class Streamed(Writer):
    """Writes records on stdout, each at once.

    Args:
        format: of what is written.
    """

    def __init__(self, format: "Format") -> None:
        self._format = format
        self._is_begun = False

    def _begin(self) -> None:
        if not self._is_begun:
            output.write_text(self._format.head)
            self._is_begun = True

    def write(self, outcome: "Prediction | Failure", written: list[Path]) -> None:
        self._begin()
        paths = {"output": [str(path) for path in written]} if written else {}
        output.write_text(self._format.text(outcome.record() | paths))

    def finish(self) -> int:
        self._begin()
        output.write_text(self._format.tail)
        return 0


class Recorded(Writer):
    """Writes records into a file, and says in the end what is in it.

    Args:
        recorder: which writes.
    """

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self.inputs = recorder.file.inputs
        self.is_complete_part = recorder.file.is_complete and recorder.is_part

    def remaining(self, sources: Iterable["Source"], *, whole: bool) -> Iterator[tuple["Source", int]]:
        return self._recorder.remaining(sources, whole=whole)

    def write(self, outcome: "Prediction | Failure", written: list[Path]) -> None:
        self._recorder.write(outcome, written)

    def finish(self) -> int:
        file = self._recorder.file
        failed = f", {file.failed:,} failed" if file.failed else ""
        output.note(f"{file.path} is complete: {output.counted(file.inputs, 'input')}{failed}")
        return 1 if file.failed else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._recorder.file.finish()
            elif isinstance(error, KeyboardInterrupt):
                done = output.counted(self._recorder.file.inputs, "input")
                output.note(f"{self._recorder.file.path} has the results of {done}; --resume goes on behind them")
        finally:
            self._recorder.__exit__()


def print_prediction(prediction: "Prediction", title: str, written: Iterable[Path] = ()) -> None:
    """Prints what was seen in one input, and where the images of it are; of a video, once, with its first frame."""
    if prediction.moment is not None and prediction.index:
        written = list(written)[1:]
    output.write(title, f" [{prediction.index}]" if prediction.source.numbered else "")
    for line in [*prediction.describe(), *(f"-> {path}" for path in written)]:
        output.write(f"  {line}", flush=True)
