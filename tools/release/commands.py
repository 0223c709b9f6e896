"""Runs other programs, quietly unless they fail."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.release.errors import ReleaseError


def run(command: Sequence[str | Path], *, cwd: Path | None = None, **environment: str) -> str:
    """Runs a command and returns what it printed.

    Raises:
        ReleaseError: it failed; the message has the end of what it printed.
    """
    words = [str(word) for word in command]
    completed = subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        printed = "\n".join((completed.stdout + completed.stderr).splitlines()[-40:])
        raise ReleaseError(f"`{' '.join(words)}` failed with exit code {completed.returncode}:\n{printed}")
    return completed.stdout
