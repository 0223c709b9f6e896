"""Crops: where windows lie, how large they are, and what they show."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.transforms import FixedSizeCrop, IoUCrop, RandomCrop, RandomResizedCrop, Sample, ZoomOut
from zoo_core.training.transforms.crops import Window


def noise(height: int, width: int) -> Image.Image:
    levels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return to_pil_image(levels)


def test_areas_are_even_and_ratios_even_in_their_logarithm() -> None:
    sample, rng = Sample(Image.new("L", (1000, 1000))), random.Random(0)
    crop = RandomResizedCrop(224, (0.1, 0.5), (0.5, 2.0))
    drawn = [crop.draw(sample, rng) for _ in range(4000)]
    areas = sorted(window.height * window.width / 1e6 for window in drawn)
    ratios = sorted(math.log2(window.width / window.height) for window in drawn)
    for quarter in (0, 1, 2, 3):
        assert abs(areas[quarter * 1000] - (0.1 + 0.1 * quarter)) < 0.012
        assert abs(ratios[quarter * 1000] - (quarter - 2) / 2) < 0.06
    assert abs(areas[-1] - 0.5) < 0.002
    places = [window.left / (1000 - window.width) for window in drawn]
    assert abs(sum(places) / 4000 - 0.5) < 0.02


@pytest.mark.parametrize(
    ("size", "window"),
    # No window of ratio 3/4 to 4/3 and of at least 8 % of the area fits into a strip.
    [((10, 1000), Window(0, 493, 10, 13)), ((1000, 10), Window(493, 0, 13, 10)), ((1, 1), Window(0, 0, 1, 1))],
)
def test_a_strip_gives_its_middle(size: tuple[int, int], window: Window) -> None:
    sample = Sample(Image.new("RGB", size[::-1]))
    found = {RandomResizedCrop(8, (0.5, 1.0)).draw(sample, random.Random(seed)) for seed in range(20)}
    assert found == {window}


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32))
def test_windows_lie_inside(height: int, width: int, seed: int) -> None:
    top, left, h, w = RandomResizedCrop(8).draw(Sample(Image.new("L", (width, height))), random.Random(seed))
    assert 0 <= top <= top + h <= height
    assert 0 <= left <= left + w <= width
    assert min(h, w) >= 1


def test_what_is_cut_is_resized() -> None:
    image, window = noise(40, 50), Window(5, 7, 20, 30)
    found = RandomResizedCrop((8, 9)).apply(Sample(image), window).image
    assert found == image.crop((7, 5, 37, 25)).resize((9, 8), Image.Resampling.BILINEAR)
    nearest = RandomResizedCrop((8, 9), interpolation="nearest").apply(Sample(image), window).image
    assert nearest == image.crop((7, 5, 37, 25)).resize((9, 8), Image.Resampling.NEAREST)


def test_a_clip_is_cut_alike_in_all_frames() -> None:
    clip = torch.randint(0, 256, (4, 3, 20, 30), dtype=torch.uint8)
    sample = RandomCrop((8, 9))(Sample(clip), random.Random(0))
    window = RandomCrop((8, 9)).draw(Sample(clip), random.Random(0))
    top, left = window[:2]
    assert torch.equal(sample.image, clip[..., top : top + 8, left : left + 9])


def test_a_small_image_lies_anywhere_in_the_window() -> None:
    image, rng = noise(3, 4), random.Random(0)
    crop = RandomCrop((5, 6), fill=(10, 20, 30))
    places = {(window.top, window.left) for window in (crop.draw(Sample(image), rng) for _ in range(400))}
    assert places == {(-y, -x) for y in range(3) for x in range(3)}
    found = pil_to_tensor(crop.apply(Sample(image), Window(-1, -2, 5, 6)).image)
    assert torch.equal(found[:, 1:4, 2:], pil_to_tensor(image))
    assert (found[:, 0] == torch.tensor([[10], [20], [30]])).all()


def test_padding_comes_before_the_crop() -> None:
    crop, rng = RandomCrop(32, padding=4), random.Random(0)
    drawn = [crop.draw(Sample(Image.new("L", (32, 32))), rng) for _ in range(900)]
    assert {window.top for window in drawn} == set(range(-4, 5))
    assert {(window.height, window.width) for window in drawn} == {(32, 32)}


def test_a_fixed_size_pads_to_the_right_and_below() -> None:
    image, rng = noise(3, 9), random.Random(0)
    windows = {FixedSizeCrop((5, 6)).draw(Sample(image), rng) for _ in range(100)}
    assert windows == {Window(0, left, 5, 6) for left in range(4)}
    found = FixedSizeCrop((5, 6), fill=7).apply(Sample(image), Window(0, 1, 5, 6)).image
    assert torch.equal(pil_to_tensor(found)[:, :3], pil_to_tensor(image)[..., 1:7])
    assert (pil_to_tensor(found)[:, 3:] == 7).all()


def test_a_colour_becomes_brightness_where_the_image_is_grey() -> None:
    grey = Sample(Image.new("L", (2, 2)))
    assert FixedSizeCrop(4, fill=(255, 0, 0))(grey, random.Random(0)).image.getpixel((3, 3)) == 76


def test_zooming_out_leaves_the_image_whole() -> None:
    image, rng = noise(10, 20), random.Random(0)
    zoom = ZoomOut(fill=9, side_range=(1.0, 4.0), p=0.5)
    drawn = [zoom.draw(Sample(image), rng) for _ in range(3000)]
    assert 0.47 < sum(window is not None for window in drawn) / 3000 < 0.53
    heights = sorted(window.height for window in drawn if window)
    assert (heights[0], heights[-1]) == (10, 39)
    assert abs(heights[len(heights) // 2] - 25) <= 1
    window = next(window for window in drawn if window)
    boxes = torch.tensor([[1.0, 2, 5, 6]])
    found = zoom.apply(Sample(image, boxes=boxes, labels=torch.tensor([1])), window)
    x, y = -window.left, -window.top
    assert found.image.crop((x, y, x + 20, y + 10)) == image
    assert torch.equal(found.boxes, boxes + torch.tensor([x, y, x, y]))
    with pytest.raises(ValueError, match="side_range"):
        ZoomOut(side_range=(0.5, 2.0))


def test_sizes_are_checked() -> None:
    for wrong in (0, (3, 0), (1, 2, 3)):
        with pytest.raises(ValueError, match="size must be a positive number, or height and width"):
            RandomCrop(wrong)
    with pytest.raises(ValueError, match="unknown interpolation 'cubic': expected one of nearest"):
        RandomResizedCrop(8, interpolation="cubic")


# The crop of SSD ------------------------------------------------------------------------------------------------------


def objects(boxes: list[list[float]], height: int = 100, width: int = 100) -> Sample:
    return Sample(
        Image.new("RGB", (width, height)),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)),
    )


def overlap(box: list[float], window: Window) -> float:
    x = min(box[2], window.left + window.width) - max(box[0], window.left)
    y = min(box[3], window.top + window.height) - max(box[1], window.top)
    common = max(x, 0) * max(y, 0)
    return common / ((box[2] - box[0]) * (box[3] - box[1]) + window.height * window.width - common)


@pytest.mark.parametrize("least", [0.0, 0.3, 0.7])
def test_a_window_overlaps_with_an_object_whose_centre_it_shows(least: float) -> None:
    boxes, rng = [[10.0, 20, 60, 80], [70, 5, 95, 40]], random.Random(0)
    crop = IoUCrop(sampler_options=[least])
    for _ in range(300):
        window = crop.draw(objects(boxes), rng)
        assert window is not None
        assert 30 <= window.height <= 100
        assert 0.5 <= window.width / window.height <= 2
        seen = [
            box
            for box in boxes
            if window.left < (box[0] + box[2]) / 2 < window.left + window.width
            and window.top < (box[1] + box[3]) / 2 < window.top + window.height
        ]
        assert seen
        assert max(overlap(box, window) for box in seen) >= least


def test_objects_whose_centre_is_outside_go() -> None:
    sample = objects([[0.0, 0, 30, 30], [20, 20, 100, 100], [10, 10, 50, 50]])
    found = IoUCrop().apply(sample, Window(20, 20, 60, 50))
    assert found.labels.tolist() == [1, 2]
    assert found.boxes.tolist() == [[0, 0, 50, 60], [0, 0, 30, 30]]
    assert found.image.size == (50, 60)


def test_the_image_stays_where_no_window_can_do() -> None:
    far_too_small = objects([[50.0, 50, 51, 51]])
    assert IoUCrop(sampler_options=[0.9]).draw(far_too_small, random.Random(0)) is None
    assert IoUCrop(sampler_options=[1.0]).draw(objects([[10.0, 10, 90, 90]]), random.Random(0)) is None
    empty = objects([])
    assert IoUCrop()(empty, random.Random(0)) is empty
    one_pixel = objects([[0.0, 0, 1, 1]], 1, 1)
    assert IoUCrop()(one_pixel, random.Random(0)).boxes.tolist() == [[0, 0, 1, 1]]
    with pytest.raises(ValueError, match="needs boxes"):
        IoUCrop()(Sample(Image.new("RGB", (4, 4))), random.Random(0))
