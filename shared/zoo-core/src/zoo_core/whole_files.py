"""Files that appear whole or not at all."""

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable
from pathlib import Path

# Of files that are not complete: other processes, on other machines too, may write into the same folder.
_process = secrets.token_hex(6)
_temporary_numbers = itertools.count()


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """Has a file written under another name beside its place, and renames it.

    Args:
        path: where the file belongs.
        write: takes the path to write to.

    Raises:
        OSError: it cannot be written. The error names ``path``, and nothing of the file is left.
    """
    temporary = path.with_name(f".{_process}-{os.getpid()}-{next(_temporary_numbers)}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        full = _why_not(temporary) if error.errno is None else None
        reason = full or error
        raise OSError(reason.errno or 0, reason.strerror or str(reason), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _why_not(path: Path) -> OSError | None:
    """Why no more could be written to a file, which Pillow does not tell."""
    try:
        with open(path, "ab", buffering=0) as file:
            for _ in range(64):
                file.write(b"\0" * 2**16)
    except OSError as error:
        return error
    return None
