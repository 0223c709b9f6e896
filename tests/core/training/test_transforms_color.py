"""Colours: equal to Pillow's own enhancers, which are slower, on images of all kinds."""

import random
from collections import Counter

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.transforms import (
    ColorJitter,
    PhotometricDistort,
    RandomGrayscale,
    RandomPosterize,
    RandomSolarize,
    Sample,
)
from zoo_core.training.transforms import color as colors


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


IMAGES = {
    "colour": to_pil_image(noise(3, 31, 22)),
    "grey": to_pil_image(noise(1, 31, 22)),
    "one pixel": Image.new("RGB", (1, 1), (7, 200, 90)),
    "one level": Image.new("RGB", (5, 4), (255, 255, 255)),
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("factor", [0.0, 0.1, 0.3, 0.55, 1.0, 1.37, 2.0, 7.0])
def test_tables_give_what_pillow_blends(image: Image.Image, factor: float) -> None:
    assert colors.adjust_brightness(image, factor) == ImageEnhance.Brightness(image).enhance(factor)
    assert colors.adjust_contrast(image, factor) == ImageEnhance.Contrast(image).enhance(factor)
    assert colors.adjust_saturation(image, factor) == ImageEnhance.Color(image).enhance(factor)
    assert colors.adjust_sharpness(image, factor) == ImageEnhance.Sharpness(image).enhance(factor)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_tables_give_what_pillow_computes(image: Image.Image) -> None:
    for bits in range(1, 9):
        assert colors.posterize(image, bits) == ImageOps.posterize(image, bits)
    for threshold in (0, 1, 100, 255, 256):
        assert colors.solarize(image, threshold) == ImageOps.solarize(image, threshold)
    assert colors.invert(image) == ImageOps.invert(image)
    assert colors.autocontrast(image) == ImageOps.autocontrast(image)
    assert colors.equalize(image) == ImageOps.equalize(image)


def test_posterize_of_no_bits_is_black() -> None:
    assert colors.posterize(IMAGES["colour"], 0).getextrema() == ((0, 0), (0, 0), (0, 0))


def test_hue_turns_pure_colours() -> None:
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    third = colors.adjust_hue(red, 1 / 3).getpixel((0, 0))
    assert third[1] == 255
    assert max(third[0], third[2]) < 8
    assert colors.adjust_hue(IMAGES["grey"], 0.3) is IMAGES["grey"]


@pytest.mark.parametrize(("image", "mode"), [("colour", "RGB"), ("grey", "L")])
def test_grayscale_keeps_the_mode(image: str, mode: str) -> None:
    grey = RandomGrayscale(1.0)(Sample(IMAGES[image]), random.Random(0)).image
    assert grey.mode == mode
    values = pil_to_tensor(grey)
    assert (values == pil_to_tensor(IMAGES[image].convert("L"))).all()


def test_solarize_and_posterize_are_drawn_with_their_probability() -> None:
    rng = random.Random(0)
    sample = Sample(IMAGES["colour"])
    for transform in (RandomSolarize(100, 0.3), RandomPosterize(3, 0.3), RandomGrayscale(0.3)):
        drawn = sum(transform.draw(sample, rng) is not None for _ in range(2000))
        assert 0.26 < drawn / 2000 < 0.34
    assert RandomPosterize(3, 1.0)(sample, rng).image == ImageOps.posterize(sample.image, 3)
    assert RandomSolarize(100, 1.0)(sample, rng).image == ImageOps.solarize(sample.image, 100)


def test_jitter_draws_factors_evenly_and_in_any_order() -> None:
    rng, jitter = random.Random(3), ColorJitter(0.4, (0.5, 0.7), 1.5, 0.1)
    drawn = [jitter.draw_adjustments(rng) for _ in range(3000)]
    assert len(Counter(tuple(name for name, _ in one) for one in drawn)) == 24
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.5, 0.7),
        ("saturation", 0, 2.5),
        ("hue", -0.1, 0.1),
    ):
        shares = sorted((dict(one)[name] - low) / (high - low) for one in drawn)
        assert 0 <= shares[0] < 0.01
        assert 0.99 < shares[-1] <= 1
        assert abs(shares[1500] - 0.5) < 0.03
    assert ColorJitter().draw(Sample(IMAGES["colour"]), rng) is None


def test_jitter_is_its_adjustments_in_their_order() -> None:
    jitter, image = ColorJitter(0.4, 0.4, 0.4, 0.1), IMAGES["colour"]
    drawn = (("contrast", 0.7), ("hue", 0.05), ("brightness", 1.3))
    expected = colors.adjust_brightness(colors.adjust_hue(colors.adjust_contrast(image, 0.7), 0.05), 1.3)
    assert jitter.apply(Sample(image), drawn).image == expected


def test_all_frames_of_a_clip_change_alike() -> None:
    clip = noise(5, 3, 9, 8)
    changed = ColorJitter(0.4, 0.4, 0.4, 0.1)(Sample(clip), random.Random(0)).image
    assert changed.shape == clip.shape
    assert changed.dtype == torch.uint8
    alone = [ColorJitter(0.4, 0.4, 0.4, 0.1)(Sample(to_pil_image(frame)), random.Random(0)).image for frame in clip]
    assert torch.equal(changed, torch.stack([pil_to_tensor(frame) for frame in alone]))


def test_distortion_has_contrast_in_two_places_and_permutes_channels() -> None:
    rng, distort, sample = random.Random(0), PhotometricDistort(), Sample(IMAGES["colour"])
    drawn = [distort.draw(sample, rng) for _ in range(4000)]
    names = [tuple(name for name, _ in one[0]) if one else () for one in drawn]
    full = Counter(one for one in names if len(one) == 4)
    assert set(full) == {
        ("brightness", "contrast", "saturation", "hue"),
        ("brightness", "saturation", "hue", "contrast"),
    }
    for name in ("brightness", "contrast", "saturation", "hue"):
        assert 0.47 < sum(name in one for one in names) / len(names) < 0.53
    orders = Counter(one[1] for one in drawn if one and one[1])
    assert len(orders) == 6
    assert 0.47 < sum(orders.values()) / len(drawn) < 0.53
    assert 0.02 < drawn.count(None) / len(drawn) < 0.045  # 1 / 32
    permuted = distort.apply(sample, ((), (2, 0, 1))).image
    assert torch.equal(pil_to_tensor(permuted), pil_to_tensor(sample.image)[[2, 0, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"brightness": -1}, "brightness"), ({"contrast": (2, 1)}, "contrast"), ({"hue": 0.7}, "hue")],
)
def test_ranges_are_checked(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ColorJitter(**arguments)
