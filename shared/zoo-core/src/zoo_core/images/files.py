"""Opening image files that may be anything: which formats, how large, and what is said of those that fail."""

import contextlib
import functools
import importlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError, features

__all__ = ["ImageReadError", "image_suffixes"]

PIXELS_VARIABLE = "ZOO_MAX_IMAGE_PIXELS"

# What Pillow decodes in this process. Not EPS, for which it starts Ghostscript; nor WMF, BUFR, GRIB and HDF5, which go
# to handlers that other packages register; nor IPTC, which opens what it holds as any of these; nor MPEG, which it
# does not decode. HEIF is pillow-heif's.
FORMATS = (
    *(
        "JPEG",
        "PNG",
        "WEBP",
        "GIF",
        "BMP",
        "TIFF",
        "PPM",
        "AVIF",
        "JPEG2000",
        "HEIF",
        "ICO",
        "ICNS",
        "TGA",
        "PSD",
        "QOI",
    ),
    *("BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "IM", "IMT", "MCIDAS", "MSP", "PCD", "PCX"),
    *("PIXAR", "SGI", "SPIDER", "SUN", "XBM", "XPM", "XVTHUMB"),
)
# Formats that a build of Pillow may lack, though it knows them by name.
_FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class ImageReadError(ValueError):
    """An image could not be read; the message names the file and the reason in one line."""


def max_pixels() -> int | None:
    """The most pixels of an image that are decoded: as the environment says, or else Pillow; ``None`` for any number.

    Raises:
        ValueError: The environment variable is no integer above 0.
    """
    text = os.environ.get(PIXELS_VARIABLE, "").strip().replace("_", "")
    if not text:
        return Image.MAX_IMAGE_PIXELS
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{PIXELS_VARIABLE} must be a number of pixels, such as 200000000, not {text!r}")
    return int(text)


def too_large(name: str, size: str, limit: int | None) -> ImageReadError:
    """The error that an image has more pixels than are decoded."""
    most = "" if limit is None else f", where at most {limit:,} pixels are decoded"
    return ImageReadError(f"{name}: too large: {size}{most} (if you trust the file, set {PIXELS_VARIABLE} to more)")


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns whatever opening and decoding raise into an :class:`ImageReadError` of one line."""
    try:
        yield
    except ImageReadError:
        raise
    except FileNotFoundError as error:
        raise ImageReadError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageReadError(f"{name}: is a directory, not an image") from error
    except PermissionError as error:
        raise ImageReadError(f"{name}: no permission to read it") from error
    except UnidentifiedImageError as error:
        raise ImageReadError(f"{name}: not an image, damaged, or of a format that is not decoded here") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large(name, one_line(error), max_pixels()) from error
    except Exception as error:  # on damaged files, Pillow's decoders raise nearly anything
        raise ImageReadError(f"{name}: cannot be decoded: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def name_of(source: str | os.PathLike[str] | bytes) -> str:
    """What messages call a file, or the bytes of one."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else os.fspath(source)


@contextlib.contextmanager
def opened(source: str | os.PathLike[str] | bytes, formats: Sequence[str] = FORMATS) -> Iterator[ImageFile.ImageFile]:
    """A file, or the bytes of one, as a PIL image that is not yet decoded, and is closed in the end.

    Args:
        source: The file's path or its bytes.
        formats: Those that are tried.

    Raises:
        ImageReadError: It is missing, damaged, too large, or of none of the formats; also for what is raised inside.
    """
    limit = max_pixels()
    if limit is not None and Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit  # Pillow has no other way to be told
    name = name_of(source)
    with reading(name):
        if (
            not isinstance(source, bytes) and Path(source).is_dir()
        ):  # Windows reports a directory as a lack of permission
            raise IsADirectoryError
        # Given a path, Pillow would map the file into memory, which kills the process if somebody shortens the file.
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            if not file.read(1):
                raise ImageReadError(f"{name}: empty, it holds no image")
            with _identified(name, file, formats) as image:
                if limit is not None and image.width * image.height > limit:
                    raise too_large(name, f"{image.width} x {image.height} pixels", limit)
                yield image


def upright_size(source: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Width and height of an image that is turned upright, from its header alone where the format allows that.

    Args:
        source: The file's path or its bytes.

    Raises:
        ImageReadError: It is missing, damaged at its beginning, too large, or of no format that is read.
    """
    with opened(source) as image:
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def _identified(name: str, file: IO[bytes], formats: Sequence[str]) -> ImageFile.ImageFile:
    """Common formats first: their plug-ins take little time to import."""
    Image.preinit()
    known = [name for name in formats if name in Image.OPEN]
    try:
        file.seek(0)
        return Image.open(file, formats=known)
    except UnidentifiedImageError:
        Image.init()
        _register_heif()
        others = [name for name in formats if name in Image.OPEN and name not in known]
        try:
            file.seek(0)
            return Image.open(file, formats=others)
        except UnidentifiedImageError:
            file.seek(0)
            start = file.read(12)
            if start[4:8] == b"ftyp" and start[8:] in _HEIC_BRANDS and "HEIF" not in Image.OPEN:
                raise ImageReadError(
                    f"{name}: a HEIC image, which takes another package: pip install pillow-heif"
                ) from None
            raise


@functools.cache
def image_suffixes() -> frozenset[str]:
    """How names of image files end that can be read here, in lower case: those of Pillow's formats in this build, and
    HEIC's where the package pillow-heif is installed.
    """
    Image.init()
    _register_heif()
    readable = {name for name in FORMATS if name in Image.OPEN and features.check(_FEATURES.get(name, "pil"))}
    if "JPEG" in readable:
        readable.add("MPO")  # which is a JPEG with more behind it
    return frozenset(suffix.lower() for suffix, name in Image.registered_extensions().items() if name in readable)


def _register_heif() -> None:
    """Pillow reads HEIC files where the package pillow-heif is installed."""
    if "HEIF" not in Image.OPEN:
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()


def decoded(image: ImageFile.ImageFile, apply_exif_orientation: bool) -> Image.Image:
    """The image with its pixels, turned upright if its EXIF data are to be applied."""
    image.load()
    if apply_exif_orientation:
        ImageOps.exif_transpose(image, in_place=True)
    return image
