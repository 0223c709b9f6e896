"""Work that runs ahead of the one who needs it."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def ahead(
    function: Callable[[Item], Outcome], items: Iterable[Item], workers: int, depth: int | None = None
) -> Iterator[tuple[Item, Callable[[], Outcome]]]:
    """Calls a function on items in threads, ahead of the caller, who gets what comes out in the items' order.

    Threads suit what reads, decodes and resizes images: Pillow and torch let go of the interpreter for that, and what
    they make is not copied between processes.

    Args:
        function: called once for each item.
        items: taken one after the other as there is room, by the caller's thread; there may be no end of them.
        workers: how many threads; with 0, the function is called when its outcome is asked for.
        depth: how many items are under way or done and not yet taken at a time; by default twice the workers. Memory is
            bounded by that.

    Yields:
        Each item, and what returns the function's outcome for it, or raises what the function raised.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}")
    if not workers:
        for item in items:
            yield item, _bound(function, item)
        return
    depth = max(depth or 2 * workers, 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    pending: deque[tuple[Item, Future[Outcome]]] = deque()
    source = iter(items)
    try:
        while True:
            with contextlib.suppress(StopIteration):
                while len(pending) < depth:
                    item = next(source)
                    pending.append((item, pool.submit(function, item)))
            if not pending:
                return
            item, future = pending.popleft()
            yield item, future.result
    finally:
        # Ctrl-C, or a caller who has enough: what has not begun never does.
        pool.shutdown(wait=True, cancel_futures=True)


def _bound(function: Callable[[Item], Outcome], item: Item) -> Callable[[], Outcome]:
    return lambda: function(item)
