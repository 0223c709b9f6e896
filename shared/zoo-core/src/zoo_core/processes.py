"""Processes that torchrun started: which of them this one is, and what all of them found.

Without torchrun there is one process, and everything here is as good as free: torch.distributed is not touched.
"""

import contextlib
import ctypes
import gc
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import distributed

__all__ = [
    "FailedElsewhereError",
    "LostProcessError",
    "World",
    "agreed",
    "available_processors",
    "gathered",
    "is_launched",
    "joined",
    "world",
]

Value = TypeVar("Value")


class LostProcessError(RuntimeError):
    """Another process of the run has ended before its time. What started the processes knows which."""


class FailedElsewhereError(LostProcessError):
    """What all processes did has failed, and another one says why."""


@dataclass(frozen=True)
class World:
    """The processes of one run.

    Args:
        rank: number of this one, from 0 on.
        size: how many there are.
        local_rank: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.rank == 0

    @property
    def gpu_rank(self) -> int | None:
        """Number among the processes of this machine, each of which gets a GPU of its own; ``None`` for one alone."""
        return self.local_rank if self.size > 1 else None


def available_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_launched() -> bool:
    """Whether torchrun has started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def world() -> World:
    """What torchrun says in ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; one process where it says nothing.

    Raises:
        ValueError: the variables contradict each other.
    """
    if not is_launched():
        return World()
    try:
        found = World(*(int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except ValueError as error:
        raise ValueError("RANK, WORLD_SIZE and LOCAL_RANK must be integers, as torchrun sets them") from error
    if not 0 <= found.rank < found.size:
        raise ValueError(f"RANK is {found.rank}, but must lie in 0..{found.size - 1}, since WORLD_SIZE is {found.size}")
    return found


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Joins the other processes while the ``with`` block runs: over gloo on CPUs, and nccl between GPUs.

    Yields:
        The processes.
    """
    found = world()
    if found.size == 1:
        yield found
        return
    import torch
    from torch import distributed

    has_gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    if has_gpus:
        torch.cuda.set_device(found.local_rank % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
    with _output_as_errors():
        distributed.init_process_group(backend, store=_store(), rank=found.rank, world_size=found.size)
    try:
        yield found
    finally:
        # What still holds the group (models wrapped for it, in circles of references) would let its threads run while
        # the interpreter ends, which aborts the process at times.
        gc.collect()
        distributed.destroy_process_group()


@contextlib.contextmanager
def _output_as_errors() -> Iterator[None]:
    """Sends what native code writes to standard output to standard error while the ``with`` block runs.

    Gloo of torch 2.10 says there how many processes it has found, in front of what a command prints as JSON.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is none, as in a service
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _store() -> "distributed.Store | None":
    """Where processes that torchrun started anew find each other; ``None`` for torch's own way.

    Torch takes its agent's store for a new one, but that still has the addresses of the processes that have ended. Of
    several agents, only those that lost a process count it, so that the count is no name for them to meet under.
    """
    from torch import distributed

    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    has_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if count == "0" or not has_agent or os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return None
    store = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return distributed.PrefixStore(f"restart {count}", store)


def agreed(work: Callable[[], Value], among: World) -> Value:
    """Does in each process what may fail, and goes on only where it failed in none.

    Args:
        work: what is done.
        among: the processes, which all have to call this.

    Returns:
        What ``work`` returned here.

    Raises:
        FailedElsewhereError: it failed in another process, of which the first raises what ``work`` raised.
        LostProcessError: one of them is no more.
    """
    if among.size == 1:
        return work()
    import torch
    from torch import distributed

    value: Value | None = None
    problem: Exception | None = None
    try:
        value = work()
    except Exception as error:
        problem = error
    try:
        failed = [torch.zeros(1, dtype=torch.int64) for _ in range(among.size)]
        distributed.all_gather(failed, torch.tensor([int(problem is not None)]))
    except RuntimeError as error:
        raise problem or LostProcessError("another process of this run has ended before its time") from error
    first = next((rank for rank, has_failed in enumerate(failed) if has_failed), None)
    if first == among.rank and problem is not None:
        raise problem
    if first is not None:
        raise FailedElsewhereError(f"process {first} of this run has failed, and says why")
    return value  # type: ignore[return-value]


def gathered(value: Value, among: World) -> list[Value] | None:
    """What each of the processes has, by rank, for the first of them; ``None`` for the others.

    Args:
        value: what this process has; it is pickled.
        among: the processes, which all have to call this.

    Raises:
        LostProcessError: one of them is no more.
    """
    if among.size == 1:
        return [value]
    # torch's own gather_object() takes numpy, which is not there as a rule.
    import torch
    from torch import distributed

    content = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
    try:
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(among.size)]
        distributed.all_gather(lengths, torch.tensor([len(content)]))
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(content)] = content
        parts = [torch.empty_like(padded) for _ in range(among.size)] if among.is_first else None
        distributed.gather(padded, parts)
    except RuntimeError as error:
        raise LostProcessError("another process of this run has ended before its time") from error
    if parts is None:
        return None
    return [
        pickle.loads(ctypes.string_at(part.data_ptr(), int(length)))
        for part, length in zip(parts, lengths, strict=True)
    ]
