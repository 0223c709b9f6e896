"""Virtual environments that share the files of what is large: each looks as if it had its own."""

import os
import shutil
from pathlib import Path


def site_packages(environment: Path) -> Path:
    """Where a virtual environment has its packages.

    Raises:
        FileNotFoundError: there is no virtual environment in that folder.
    """
    pattern = "Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages"
    for found in environment.glob(pattern):
        return found
    raise FileNotFoundError(f"{environment} is no virtual environment: it has no {pattern}")


def share_packages(template: Path, environment: Path) -> None:
    """Replaces the packages of an environment with those of another of the same Python.

    They are hard links where the file system has them, so that torch takes its gigabyte once and is there in a second.
    What is installed or removed in either environment later leaves the other as it is: pip unlinks files, and writes
    new ones.

    Args:
        template: the environment that has the packages.
        environment: what was installed there is dropped.

    Raises:
        FileNotFoundError: one of them is no virtual environment.
    """
    source, target = site_packages(template), site_packages(environment)
    # Beside it first: half a torch would look like a whole one to pip.
    scratch = target.with_name("site-packages.new")
    if scratch.exists():
        shutil.rmtree(scratch)
    shutil.copytree(source, scratch, copy_function=_link, symlinks=True)
    shutil.rmtree(target)
    scratch.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
