"""Images of any size for models that take some sizes only."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Padding"]


class Padding:
    """Pads images to a height and width that RAFT takes, and crops the flow to what they were.

    The border is repeated on all sides, so that it moves with the image.

    Args:
        height, width: of the images, in pixels.
        multiple: what height and width are to be divisible by.
        min_size: what height and width are to be at least; a multiple of ``multiple``.

    Raises:
        ValueError: an image has no pixels.

    Example:
        Frames of Sintel, 436 x 1024 pixels, are padded to 440 x 1024.

        >>> padding = Padding(436, 1024)
        >>> padding.top, padding.bottom, padding.left, padding.right
        (2, 2, 0, 0)

        They go through a model so::

            flow = padding.crop(model(padding.pad(image1), padding.pad(image2))[-1])
    """

    def __init__(self, height: int, width: int, *, multiple: int = 8, min_size: int = 128) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"images must have at least one pixel, not {height}x{width}")
        self.height = height
        self.width = width
        missing_y = max(min_size, -(-height // multiple) * multiple) - height
        missing_x = max(min_size, -(-width // multiple) * multiple) - width
        self.left, self.top = missing_x // 2, missing_y // 2
        self.right, self.bottom = missing_x - self.left, missing_y - self.top

    def pad(self, image: Tensor) -> Tensor:
        """Tensor[N, C, height, width] -> Tensor[N, C, padded height, padded width]."""
        return F.pad(image, (self.left, self.right, self.top, self.bottom), mode="replicate")

    def crop(self, flow: Tensor) -> Tensor:
        """Tensor[..., padded height, padded width] -> Tensor[..., height, width]."""
        return flow[..., self.top : self.top + self.height, self.left : self.left + self.width]
