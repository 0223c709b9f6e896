"""Several processes of one run, as torchrun starts them, without the time that each would take to import torch."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def in_processes(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function returns in each of so many processes, by rank.

    Args:
        count: how many processes.
        function: of a module that can be imported.
        arguments: of the function; pickled.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed", "zoo_core.evaluating"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes, ends = [], []
    for rank in range(count):
        ours, theirs = context.Pipe(duplex=False)
        variables = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        process = context.Process(target=_run, args=(theirs, variables, function, arguments))
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(ours)
    found = [_received(end) for end in ends]
    for process in processes:
        process.join(60)
    problems = [text for ok, text in found if not ok]
    assert not problems, "\n".join(problems)
    return [value for _, value in found]


def _received(end: Connection) -> tuple[bool, Any]:
    try:
        return end.recv()
    except EOFError:
        return False, "a process has ended without a word"


def _run(end: Connection, variables: dict[str, Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    os.environ.update({name: str(value) for name, value in variables.items()})
    torch.set_num_threads(1)
    try:
        end.send((True, function(*arguments)))
    except BaseException:
        end.send((False, traceback.format_exc()))
