"""A polite end: Ctrl-C, and the signal with which schedulers and torchrun end a process."""

import signal
import threading
from types import FrameType
from typing import Any, Self

from zoo_core.processes import is_launched

__all__ = ["Interruption"]


class Interruption:
    """Notes that a run is to end after its step, while the ``with`` block runs.

    A second Ctrl-C ends it at once; but not processes that torchrun started, to which it passes on what the terminal
    has sent them already.

    Attributes:
        asked: whether it is to end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and not is_launched():
            raise KeyboardInterrupt
        self.asked = True
