"""Masks of objects as what lies in their boxes: of many objects on a large image, a small part of the pixels."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

__all__ = ["MaskCrops"]


class MaskCrops(Sequence[Tensor]):
    """The masks of the objects on one image, each cut to where its box is.

    A sequence of masks of the image's size, of which each is made when it is asked for: ``crops[2]`` is a bool
    Tensor[H, W]. What holds of bool Tensor[N, H, W] holds of it too where masks are gone through one by one.

    >>> crops = MaskCrops((2, 3), places=[(1, 0)], crops=[torch.ones(2, 1, dtype=torch.bool)])
    >>> crops[0].long()
    tensor([[0, 1, 0],
            [0, 1, 0]])
    >>> crops.run_lengths(0)
    {'size': [2, 3], 'counts': [2, 2, 2]}

    Args:
        size: height and width of the image.
        places: column and row of each crop's upper left pixel.
        crops: bool Tensor[h, w] of each object; empty for one that lies outside the image.

    Raises:
        ValueError: there are not as many ``places`` as ``crops``.

    Attributes:
        size: as given.
        places: as given.
        crops: as given.
    """

    def __init__(self, size: tuple[int, int], places: Sequence[tuple[int, int]], crops: Sequence[Tensor]) -> None:
        if len(places) != len(crops):
            raise ValueError(f"there must be a place for each crop, but there are {len(places)} for {len(crops)}")
        self.size = size
        self.places = list(places)
        self.crops = list(crops)

    @property
    def shape(self) -> torch.Size:
        """That of all masks as one tensor, (N, H, W)."""
        return torch.Size((len(self), *self.size))

    def __len__(self) -> int:
        return len(self.crops)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: "slice | Tensor | list[int]") -> "MaskCrops": ...
    def __getitem__(self, index: "int | slice | Tensor | list[int]") -> "Tensor | MaskCrops":
        """One mask as bool Tensor[H, W]; or, by a slice, a list or a Tensor[N] of bools or integers, some as crops."""
        if isinstance(index, slice):
            return MaskCrops(self.size, self.places[index], self.crops[index])
        if isinstance(index, list):
            index = torch.tensor(index, dtype=None if index else torch.int64)
        if isinstance(index, Tensor) and index.ndim:
            chosen = index.nonzero().flatten() if index.dtype == torch.bool else index
            numbers = chosen.tolist()
            return MaskCrops(self.size, [self.places[i] for i in numbers], [self.crops[i] for i in numbers])
        crop = self.crops[index]
        (left, top), (height, width) = self.places[index], crop.shape
        mask = crop.new_zeros(self.size)
        mask[top : top + height, left : left + width] = crop
        return mask

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def full(self) -> Tensor:
        """All masks, bool Tensor[N, H, W]."""
        return torch.stack(list(self)) if len(self) else torch.zeros(self.shape, dtype=torch.bool)

    def to(self, device: torch.device | str) -> "MaskCrops":
        """The same on another device."""
        return MaskCrops(self.size, self.places, [crop.to(device) for crop in self.crops])

    def cpu(self) -> "MaskCrops":
        """The same on the CPU."""
        return self.to("cpu")

    def run_lengths(self, index: int) -> dict[str, Any]:
        """COCO's run lengths of one mask, as :func:`zoo_detection.coco.run_lengths` gives them; made from the crop."""
        height, width = self.size
        (left, top), crop = self.places[index], self.crops[index]
        columns = torch.nn.functional.pad(crop.T.to(torch.int8), (1, 1))
        changes = columns.diff(dim=1).nonzero()
        # Each column's runs begin and end in turn; a run that fills a column may go on in the next.
        borders = (changes[:, 0] + left) * height + changes[:, 1] + top
        goes_on = torch.zeros(len(borders), dtype=torch.bool, device=borders.device)
        same = borders[1:] == borders[:-1]
        goes_on[1:] |= same
        goes_on[:-1] |= same
        kept = borders[~goes_on]
        ends = kept.new_tensor([0]), kept, kept.new_tensor([height * width])
        counts = torch.cat(ends).diff().tolist()
        if len(counts) > 1 and counts[-1] == 0:
            counts.pop()
        return {"size": [height, width], "counts": counts}

    def __repr__(self) -> str:
        return f"MaskCrops({len(self)} masks of {self.size[0]}x{self.size[1]} pixels)"
