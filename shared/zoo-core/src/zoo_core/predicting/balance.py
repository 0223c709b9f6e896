"""How processors are shared between a model and the threads that read its inputs ahead."""

import contextlib
import threading
import time
from collections.abc import Iterator

import torch

from zoo_core.processes import available_processors

__all__ = ["Balance"]

# Above so much of a further thread, the model gets it.
_ROUND_UP_FROM = 0.3
_FIRST_BATCHES = 2


class Balance:
    """Gives a model as many of torch's threads as its part of the work is worth, while others read and decode.

    A model that computes in as many threads as there are processors waits, at the end of each layer, for the one whose
    processor is busy with decoding, and threads that decode compute small tensors faster by themselves. So those have
    one thread each. The model begins with as many as they leave; after some batches, when the times of both parts are
    known, it gets its share of the processors, rounded: what is left is used by the others, and no processor is idle.

    Args:
        device: where the model runs; ``None`` where nobody knows.
        workers: how many threads read ahead; with 0, or on another device than the CPU, nothing is changed.
    """

    def __init__(self, device: torch.device | None, workers: int) -> None:
        self.most = min(torch.get_num_threads(), available_processors())
        self.is_active = device is not None and device.type == "cpu" and workers > 0 and self.most > 1
        self._lock = threading.Lock()
        self._single = threading.local()
        self._reading = 0.0
        self._readers = 0
        self._batches = 0
        self._started = time.process_time()

    @property
    def threads(self) -> int:
        """How many threads the model gets next."""
        total = time.process_time() - self._started
        if self._batches < _FIRST_BATCHES or total <= 0:
            return max(1, self.most - self._readers)
        share = max(0.0, 1 - self._reading / total)
        return max(1, min(self.most, int(self.most * share + 1 - _ROUND_UP_FROM)))

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Around what a thread does to read one input."""
        if not self.is_active:
            yield
            return
        if not getattr(self._single, "is_set", False):
            torch.set_num_threads(1)  # of this thread alone, and of those that come: `running` puts that right
            self._single.is_set = True
        started = time.thread_time()
        with self._lock:
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                self._reading += time.thread_time() - started

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Around what the model does with one batch."""
        if not self.is_active:
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            self._batches += 1
