"""Runs a function as a user who may not write what the test has made."""

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = 65534
IS_ROOT = os.geteuid() == 0


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory that all users may write to, as a cache that they share."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def protect(path: Path) -> None:
    """Makes a file one that the other user may read only.

    Root's own files are that for others. Who is not root has no other user to be, and plays both.
    """
    path.chmod(0o644 if IS_ROOT else 0o444)


def as_other_user(function: Callable[[], Any]) -> Any:
    """What a function returns in a process of another user (of the same, where the tests do not run as root).

    What it needs has to be imported before: that user may not see the interpreter's files.

    Raises:
        Exception: what it raises.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if IS_ROOT:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                answer = pickle.dumps((function(), None))
            except Exception as error:
                traceback.print_exc()
                answer = pickle.dumps((None, error))
            with open(writing, "wb") as file:
                file.write(answer)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    result, error = pickle.loads(answer)
    if error is not None:
        raise error
    return result
