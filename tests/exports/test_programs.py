"""Every classifier as a program of torch.export, for a batch and a size that it was not traced with."""

import gc

import pytest

from support import programs, reference


@pytest.mark.parametrize("name", reference.builder_names("classification"))
def test_program(name: str) -> None:
    programs.assert_exports(name, reference.fill_parameters(programs.without_init(name)))
    gc.collect()
