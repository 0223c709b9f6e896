"""Images in and out: files, PIL images and tensors.

An image in memory is a Tensor[C, H, W], uint8 in 0..255 unless a docstring says otherwise. Pillow decodes and encodes
the files. Whatever is wrong with a file, reading it raises :class:`ImageReadError` with one line that names it.

:func:`open_image` is the reader for photos: it gives what a viewer shows, upright and in RGB, as a PIL image that
every preset takes. :func:`read_image` and the other names that ``torchvision.io`` also has do what they do there: the
pixels as they are stored, in a tensor.

**What is decoded.** A format is recognised by a file's content, and only those are read that Pillow decodes by itself:
nothing that would start another program (EPS starts Ghostscript) or call a handler that another package registered.

**How much is decoded.** An image of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` (89 million unless you change it)
is refused before it is decoded. The environment variable ``ZOO_MAX_IMAGE_PIXELS`` sets another limit.
"""

from zoo_core.images.bands import BandImage, open_bands, read_bands
from zoo_core.images.conversion import convert_mode, pil_to_tensor, to_pil_image
from zoo_core.images.files import ImageReadError, image_suffixes
from zoo_core.images.reading import (
    ImageReadMode,
    decode_avif,
    decode_gif,
    decode_heic,
    decode_image,
    decode_jpeg,
    decode_png,
    decode_webp,
    open_image,
    read_file,
    read_image,
)
from zoo_core.images.writing import encode_jpeg, encode_png, write_file, write_jpeg, write_png

__all__ = [
    "BandImage",
    "ImageReadError",
    "ImageReadMode",
    "convert_mode",
    "decode_avif",
    "decode_gif",
    "decode_heic",
    "decode_image",
    "decode_jpeg",
    "decode_png",
    "decode_webp",
    "encode_jpeg",
    "encode_png",
    "image_suffixes",
    "open_bands",
    "open_image",
    "pil_to_tensor",
    "read_bands",
    "read_file",
    "read_image",
    "to_pil_image",
    "write_file",
    "write_jpeg",
    "write_png",
]
