"""What becomes of files and inputs that a model does not see, and how records name both."""

from dataclasses import dataclass, field
from typing import Any

from zoo_core.predicting.sources import Source
from zoo_core.predicting.videos import Moment

__all__ = ["Failure", "located"]


@dataclass(frozen=True, eq=False)
class Failure:
    """Files that could not be read, or an input that the model does not take.

    Args:
        source: the files; ``None`` where words named none.
        index: which of the inputs in these files it is; ``None`` if it could not be read.
        message: what is wrong, in one line that names the file.
        error: what was raised; ``None`` where nothing was.
        moment: where in a video the input is from.
    """

    source: Source | None
    index: int | None
    message: str
    error: Exception | None = field(default=None, repr=False)
    moment: Moment | None = field(default=None, repr=False)

    def record(self) -> dict[str, Any]:
        """The failure as plain data."""
        where = {} if self.source is None else located(self.source, self.index, self.moment)
        return where | {"error": self.message}


def located(source: Source, index: int | None, moment: Moment | None) -> dict[str, Any]:
    """The beginning of a record: the files, and which of the inputs in them is meant.

    Args:
        source, index, moment: see :class:`Failure`.
    """
    files = list(source.names)
    record: dict[str, Any] = {"file": files[0]} if len(files) == 1 else {"files": files}
    if source.numbered and index is not None:
        record["index"] = index
    if moment is not None:
        record["time"] = round(float(moment.time), 6)
    return record
