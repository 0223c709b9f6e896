"""Arithmetic on sizes in programs that serve other sizes than that of the example."""

import pytest
import torch
from torch import Tensor, nn

from zoo_core.sizes import floor, larger, ratio, smaller


def test_numbers():
    assert (smaller(3, 5), larger(3, 5), floor(2.7)) == (3, 5, 2)
    assert smaller(2.5, 3) == 2.5
    assert ratio(7, 2) == 3.5
    assert ratio(1, torch.tensor(49)).item() == 1 / 49


class Sized(nn.Module):
    """Zeros in as many rows, but at most 4, and half as many columns, but at least 2."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(smaller(x.shape[0], 4), larger(floor(x.shape[1] / 2), 2))


@pytest.mark.parametrize("example", [(3, 9), (6, 3)])
def test_programs_serve_other_sizes(example, tmp_path):
    x = torch.rand(example)
    dims = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(Sized(), (x,), dynamic_shapes=(dims,))
    torch.export.save(exported, tmp_path / "sized.pt2")
    loaded = torch.export.load(tmp_path / "sized.pt2")
    for program in (torch.jit.trace(Sized(), x), exported.module(), loaded.module()):
        for rows, columns in ((3, 9), (6, 3), (5, 11), (2, 2)):
            assert program(torch.rand(rows, columns)).shape == (min(rows, 4), max(columns // 2, 2))
