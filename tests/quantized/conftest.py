from pathlib import Path

import pytest
import torch

import zoo_classification


@pytest.fixture(autouse=True)
def _engine():
    """Each test begins with torch's own engine."""
    before = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = before


@pytest.fixture(scope="session")
def samples():
    """The ten pictures that ship with the classifiers, one of each class in the order of the classes' names' files."""
    return sorted((Path(zoo_classification.__file__).parent / "samples").glob("*.png"))
