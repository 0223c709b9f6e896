"""What ``zoo predict --results`` does: predictions into a file, whatever happens in between."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zoo_core
from zoo_core.predicting.failures import Failure
from zoo_core.predicting.formats import of_name
from zoo_core.predicting.loop import Prediction
from zoo_core.predicting.results import ResultFile
from zoo_core.predicting.shards import Share
from zoo_core.predicting.sources import Source
from zoo_core.tasks import Task

__all__ = ["Recorder", "run_of"]


class Recorder:
    """Writes what comes out into a file, and knows which inputs are done. Use it in a ``with`` block.

    Args:
        path: the file; of a share, :meth:`Share.part <zoo_core.predicting.Share.part>` of it is written.
        task: made with its options.
        format: ``"jsonl"`` or ``"csv"``; by default by the ending of the name.
        share: which part of all inputs is done here.
        resume: go on with what is there. Parts are always resumed.
        given: what the results depend on beside the task and its options. Plain values.

    Raises:
        ResultFileError: there is a file that cannot be resumed; see :class:`ResultFile`.
        ValueError: the file cannot have that format.
        OSError: it cannot be made.

    Attributes:
        file: which is written.
        is_part: whether it is the part of a share.
    """

    def __init__(
        self,
        path: Path,
        task: Task[Any, Any],
        *,
        format: str | None = None,
        share: Share | None = None,
        resume: bool = False,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        share = None if share is None or share.count == 1 else share
        self.is_part = share is not None
        self.file = ResultFile(
            path if share is None else share.part(path),
            of_name(format or path.suffix.lower(), task.declaration),
            run_of(task, "predict") | dict(given or {}),
            about={"zoo": zoo_core.__version__},
            shard=share,
            resume=resume or share is not None,
        )

    def remaining(self, sources: Iterable[Source], *, whole: bool = False) -> Iterator[tuple[Source, int]]:
        """The sources that are still to be done.

        Args:
            sources: of this share, in order.
            whole: do a video anew of which some frames are done, since more than its results are written.

        Yields:
            Each source, and how many of its inputs are done.

        Raises:
            ResultFileError: the files are not those that there are results of.
        """
        named = ((source.position, source.names, source) for source in sources)
        for position, source, done in self.file.remaining(named):
            if done and not source.numbered:
                continue
            if done and whole:
                self.file.restart(position)
                done = 0
            yield source, done

    def write(self, outcome: Prediction | Failure, written: list[Path] | None = None) -> None:
        """Appends the record of an outcome. One that is of no source, as it is of a word that names no file, is not.

        Args:
            outcome: what came out.
            written: files that were written for it.

        Raises:
            ResultFileError: it cannot be written; what was written before is kept.
        """
        if outcome.source is not None:
            record = outcome.record() | ({} if not written else {"output": [str(path) for path in written]})
            self.file.write(outcome.source.position, outcome.source.names, record)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def run_of(task: Task[Any, Any], verb: str) -> dict[str, Any]:
    """What the results of a task, by a verb, depend on, in plain values."""
    spec = task.spec
    run = {
        "verb": verb,
        "model": spec.name,
        "weights": spec.weights,
        "task": spec.task,
        "arguments": {key: repr(value) for key, value in spec.arguments.items()},
        "options": dict(task.options),
        "labels": hashlib.sha256("\n".join(spec.labels).encode(errors="surrogatepass")).hexdigest()[:16],
    }
    if spec.weights is None and spec.file is not None:
        with contextlib.suppress(OSError), open(spec.file, "rb") as file:
            run["checkpoint"] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return run
