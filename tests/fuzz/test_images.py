"""Image files: read whole or refused in our words, in memory that the image needs."""

import resource
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given

from zoo_core.images import (
    ImageReadError,
    decode_gif,
    decode_image,
    decode_jpeg,
    decode_png,
    decode_webp,
    encode_png,
    open_image,
)

from .fuzzing import damaged, evidence, fuzz

MAX_PIXELS = 2_000_000
# What an image of so many pixels takes when it is decoded, converted and put into a tensor, and what decoders need.
MAX_GROWTH = 150  # MiB


@pytest.fixture(autouse=True, scope="module")
def small_images() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
        yield


def _peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def _decode(content: bytes) -> None:
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    for read in (
        open_image,
        decode_image,
        lambda content: decode_image(content, "GRAY_ALPHA", apply_exif_orientation=True),
        lambda content: decode_image(content, "RGB_ALPHA"),
        *(lambda content, decode=decode: decode(data) for decode in (decode_png, decode_jpeg, decode_webp, decode_gif)),
    ):
        try:
            image = read(content)
        except ImageReadError as error:
            assert str(error).startswith(f"<{len(content)} bytes>: ")
            assert "\n" not in str(error)
            assert not isinstance(error.__cause__, MemoryError)
            continue
        if isinstance(image, torch.Tensor):
            assert image.dtype in (torch.uint8, torch.uint16, torch.int32)
            assert 3 <= image.ndim <= 4
            assert image.shape[-3] <= 4
            assert image.shape[:-3].numel() * image.shape[-1] * image.shape[-2] <= MAX_PIXELS
            if image.dtype == torch.uint8 and image.ndim == 3:
                assert torch.equal(decode_png(encode_png(image)), image)
        else:
            assert image.mode == "RGB"
            assert image.width * image.height <= MAX_PIXELS


@fuzz
@given(damaged("images"))
def test_damaged_files(content: bytes) -> None:
    before = _peak()
    with evidence(content, "image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _decode(content)
        assert _peak() - before < MAX_GROWTH
