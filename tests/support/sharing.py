"""What takes long to make, made once for all test processes of a run."""

import pytest
from filelock import FileLock


def directory_of_run(tmp_path_factory, worker_id):
    """A directory that all test processes of this run have."""
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "shared"
    path.mkdir(exist_ok=True)
    return path


def once(directory, name, make):
    """What ``make`` puts into ``directory / name``, made by the first process that asks."""
    path = directory / name
    with FileLock(directory / f"{name}.lock"):
        if not (directory / f"{name}.done").exists():
            if path.exists():
                pytest.fail(f"{name} could not be made: see the first failure")
            path.mkdir()
            make(path)
            (directory / f"{name}.done").touch()
    return path
