"""The toy package with what is trained, and a data set for it."""

import pytest

from support import toy_package, toy_training


@pytest.fixture
def toys(tmp_path, cache):
    package = toy_package.write(tmp_path / "site")
    toy_training.add(package)
    with toy_package.installed(package.path):
        yield package


@pytest.fixture
def data(tmp_path):
    """20 samples to train on, 10 held out."""
    toy_training.paint(tmp_path / "data" / "train", 10)
    toy_training.paint(tmp_path / "data" / "val", 5)
    return tmp_path / "data"
