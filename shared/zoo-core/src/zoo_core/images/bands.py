"""Images of any number of bands, as satellites take them: TIFF files with more than Pillow reads.

A model that was built with ``in_channels=12`` looks at twelve bands. `zoo predict`, `evaluate`, `embed` and `train`
read them from TIFF files (GeoTIFF, BigTIFF; bands as samples of a pixel, as planes or as pages) with tifffile, which
the extra ``tiff`` brings. Levels of integers are divided by the largest of their type, 255 or 65535, and floating-point
ones are taken as they are, so that a file has values in [0, 1]; what is not a number counts as 0.
"""

import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from zoo_core.extras import require
from zoo_core.images.conversion import convert_mode, pil_to_tensor, to_pil_image
from zoo_core.images.files import ImageReadError, max_pixels, name_of, reading, too_large

__all__ = ["BandImage", "open_bands", "read_bands"]

_SUFFIXES = frozenset({".tif", ".tiff"})


@dataclass(frozen=True, eq=False)
class BandImage:
    """An image of any number of bands.

    Args:
        pixels: float32 Tensor[C, H, W], as a rule in [0, 1].
    """

    pixels: Tensor

    @classmethod
    def of(cls, image: Image.Image) -> "BandImage":
        """The channels of a PIL image of 8 bits."""
        return cls(pil_to_tensor(image).float() / 255)

    @property
    def channels(self) -> int:
        """How many bands there are."""
        return self.pixels.shape[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as of PIL images."""
        return self.width, self.height

    def preview(self) -> Image.Image:
        """The first three bands (of one or two, the first) in RGB, each from its darkest to its lightest level."""
        shown = self.pixels[:3] if self.channels >= 3 else self.pixels[:1].expand(3, -1, -1)
        low = shown.amin((1, 2), keepdim=True)
        span = (shown.amax((1, 2), keepdim=True) - low).clamp_min(1e-12)
        return to_pil_image(((shown - low) / span * 255).round().to(torch.uint8))


def open_bands(path: str | os.PathLike[str], channels: int) -> Image.Image | BandImage | None:
    """An image for a model that takes neither grey nor RGB images, if the file is for :mod:`tifffile` to read.

    Args:
        path: the file.
        channels: how many the model takes.

    Returns:
        ``None`` for other files than TIFF, and those of 8-bit RGBA, which Pillow reads.

    Raises:
        ImageReadError: it is missing, damaged, too large or in a form that is not read, or has another number of bands.
        zoo_core.extras.MissingExtraError: tifffile is not installed.
    """
    if Path(path).suffix.lower() not in _SUFFIXES:
        return None
    if channels == 4 and (importlib.util.find_spec("tifffile") is None or _is_for_pillow(path)):
        return None
    found = read_bands(path)
    if found.channels != channels:
        raise ImageReadError(f"{name_of(path)}: has {found.channels} bands, and the model takes {channels}")
    return found


def _is_for_pillow(path: str | os.PathLike[str]) -> bool:
    tifffile = _library()
    with reading(name_of(path)), tifffile.TiffFile(os.fspath(path)) as file:
        page = file.pages[0]
        return page.photometric == 2 and page.dtype == "uint8" and page.samplesperpixel in (3, 4)  # 2: RGB


def read_bands(path: str | os.PathLike[str]) -> BandImage:
    """Reads a TIFF file of any number of bands; see :mod:`zoo_core.images.bands`.

    Raises:
        ImageReadError: it is missing, damaged, too large or in a form that is not read.
        zoo_core.extras.MissingExtraError: tifffile is not installed.
    """
    name = name_of(path)
    tifffile = _library()
    with reading(name), tifffile.TiffFile(os.fspath(path)) as file:
        series = file.series[0]
        axes: str = series.axes
        if "Y" not in axes or "X" not in axes:
            raise ImageReadError(f"{name}: holds no image, but values over {axes}")
        sides = dict(zip(axes, series.shape, strict=True))
        limit = max_pixels()
        if limit is not None and sides["Y"] * sides["X"] > limit:
            raise too_large(name, f"{sides['X']} x {sides['Y']} pixels", limit)
        order = [*(place for place, axis in enumerate(axes) if axis not in "YX"), axes.index("Y"), axes.index("X")]
        values = series.asarray().transpose(order).reshape(-1, sides["Y"], sides["X"])
        return BandImage(_levels(name, values))


def size_of_bands(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Width and height of a TIFF file, from its header; ``None`` for other files, or without tifffile."""
    if Path(path).suffix.lower() not in _SUFFIXES or importlib.util.find_spec("tifffile") is None:
        return None
    tifffile = _library()
    with reading(name_of(path)), tifffile.TiffFile(os.fspath(path)) as file:
        page = file.pages[0]
        return page.imagewidth, page.imagelength


def _library() -> Any:
    return require("tifffile", extra="tiff", purpose="to read images of many bands")


def _levels(name: str, values: Any) -> Tensor:
    """NumPy's numbers as float32 Tensor[C, H, W]."""
    kind = values.dtype.kind
    if kind == "b":
        return torch.from_numpy(values.astype("float32"))
    if kind in "iu":
        largest = 2 ** (8 * values.dtype.itemsize - (kind == "i")) - 1
        return torch.from_numpy(values.astype("float32")).div_(largest)
    if kind == "f":
        return torch.from_numpy(values.astype("float32")).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)
    raise ImageReadError(f"{name}: its levels are of the type {values.dtype}, not whole or floating-point numbers")


def shown(image: Any) -> Any:
    """An input as tasks draw on it: RGB."""
    if isinstance(image, BandImage):
        return image.preview()
    return convert_mode(image, "RGB") if isinstance(image, Image.Image) and image.mode != "RGB" else image
