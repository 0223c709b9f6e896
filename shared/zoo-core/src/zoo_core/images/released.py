"""Images whose pixels are not kept in memory."""

import os
from pathlib import Path

from PIL import Image

from zoo_core.images.reading import open_image

__all__ = ["ReleasedImage"]


class ReleasedImage(Image.Image):
    """An image with the size, the mode and the facts of another, which reads its pixels anew when they are asked for.

    Args:
        image: as :func:`~zoo_core.images.open_image` has read it.
        path: the file that it is in.
    """

    def __init__(self, image: Image.Image, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._mode = image.mode
        self._size = image.size
        self.info = image.info
        self.path = Path(path)
        self._is_read = False

    def load(self) -> "Image.core.PixelAccess | None":
        """Reads the pixels, if they are not there yet.

        Raises:
            zoo_core.images.ImageReadError: the file is no longer what it was.
        """
        if not self._is_read:
            self.im = open_image(self.path, self.mode).im
            self._is_read = True
        return super().load()
