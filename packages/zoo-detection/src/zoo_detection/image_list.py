"""A batch of images of different sizes in one tensor."""

import torch
from torch import Tensor

__all__ = ["ImageList"]


class ImageList:
    """Images padded to a common size, with the sizes that they had before.

    Args:
        tensors: the batch, Tensor[N, C, H, W]; each image lies in the top left corner.
        image_sizes: height and width of each image without its padding.
    """

    def __init__(self, tensors: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensors = tensors
        self.image_sizes = image_sizes

    def to(self, device: torch.device | str) -> "ImageList":
        """The same images on another device."""
        return ImageList(self.tensors.to(device), self.image_sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)
