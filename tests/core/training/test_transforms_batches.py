"""Tensors: conversion and erasing of one image, mixup and CutMix of a batch."""

import random
from collections import Counter

import pytest
import torch
from PIL import Image

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.presets import ImageClassification
from zoo_core.training.transforms import CutMix, MixUp, MixUpOrCutMix, RandomErasing, Sample, ToTensor
from zoo_core.training.transforms.mixing import Patch
from zoo_core.training.transforms.tensors import Erased

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NOISE = to_pil_image(torch.randint(0, 256, (3, 20, 30), generator=torch.Generator().manual_seed(1), dtype=torch.uint8))


def test_a_tensor_is_what_the_preset_makes() -> None:
    found = ToTensor(MEAN, STD)(Sample(NOISE), random.Random(0)).image
    preset = ImageClassification(crop_size=(20, 30), resize_size=(20, 30), mean=MEAN, std=STD)
    torch.testing.assert_close(found, preset(NOISE), rtol=1e-6, atol=1e-6)
    plain = ToTensor()(Sample(NOISE.convert("L")), random.Random(0)).image
    assert plain.shape == (1, 20, 30)
    torch.testing.assert_close(plain, pil_to_tensor(NOISE.convert("L")) / 255)


def test_a_clip_becomes_channels_before_frames() -> None:
    clip = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    before = clip.clone()
    found = ToTensor(MEAN, STD)(Sample(clip), random.Random(0)).image
    assert found.shape == (3, 5, 4, 6)
    alone = ToTensor(MEAN, STD)(Sample(to_pil_image(clip[3])), random.Random(0)).image
    assert torch.equal(found[:, 3], alone)
    assert torch.equal(clip, before)


def test_conversion_names_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="has 1 channels, but mean and std have 3"):
        ToTensor(MEAN, STD)(Sample(NOISE.convert("L")), random.Random(0))
    with pytest.raises(TypeError, match=r"uint8 in 0\.\.255, got torch\.float32"):
        ToTensor()(Sample(torch.zeros(2, 3, 4, 4)), random.Random(0))
    with pytest.raises(ValueError, match="mean and std go together"):
        ToTensor(mean=MEAN)


def test_erasing_draws_areas_and_ratios_evenly() -> None:
    sample, rng = Sample(torch.zeros(3, 400, 400)), random.Random(0)
    drawn = [RandomErasing(0.25, (0.05, 0.2), (0.5, 2.0)).draw(sample, rng) for _ in range(8000)]
    assert 0.23 < sum(one is not None for one in drawn) / 8000 < 0.27
    areas = sorted(one.height * one.width / 160_000 for one in drawn if one)
    assert 0.049 < areas[0] < 0.051
    assert 0.199 < areas[-1] < 0.201
    assert abs(areas[len(areas) // 2] - 0.125) < 0.005
    ratios = sorted(one.height / one.width for one in drawn if one)
    assert 0.49 < ratios[0] < 0.51
    assert abs(ratios[len(ratios) // 2] - 1) < 0.05
    assert all(0 <= one.top <= 400 - one.height and 0 <= one.left <= 400 - one.width for one in drawn if one)
    tiny = Sample(torch.zeros(3, 1, 1))
    assert RandomErasing(1.0).draw(tiny, rng) is None


@pytest.mark.parametrize("shape", [(3, 8, 9), (3, 4, 8, 9)])
def test_erasing_overwrites_the_rectangle_alone(shape: tuple[int, ...]) -> None:
    image = torch.randn(shape)
    before = image.clone()
    erased = RandomErasing(value=(1.0, 2.0, 3.0)).apply(Sample(image), Erased(2, 3, 4, 5)).image
    assert torch.equal(image, before)
    inside = torch.zeros(8, 9, dtype=torch.bool)
    inside[2:6, 3:8] = True
    assert torch.equal(erased[..., ~inside], image[..., ~inside])
    for channel in range(3):
        assert (erased[channel][..., inside] == channel + 1).all()
    noise = RandomErasing(value="random")
    drawn = [noise.apply(Sample(image), Erased(0, 0, 7, 8, seed)).image for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    with pytest.raises(TypeError, match="put it behind ToTensor"):
        RandomErasing().apply(Sample(NOISE), Erased(0, 0, 1, 1))
    with pytest.raises(ValueError, match='or "random", got'):
        RandomErasing(value="noise")


def test_mixup_blends_with_the_one_before() -> None:
    images, classes = torch.rand(4, 3, 5, 6), torch.tensor([0, 2, 2, 1])
    mixed, targets = MixUp(3, 0.2).apply(images, classes, 0.75)
    torch.testing.assert_close(mixed[1], 0.75 * images[1] + 0.25 * images[0])
    torch.testing.assert_close(mixed[0], 0.75 * images[0] + 0.25 * images[3])
    torch.testing.assert_close(targets, torch.tensor([[0.75, 0.25, 0], [0.25, 0, 0.75], [0, 0, 1], [0, 0.75, 0.25]]))
    shares, rng = [MixUp(3, 0.2).draw(images, rng) for rng in [random.Random(0)] for _ in range(4000)], random.Random(1)
    assert abs(sum(shares) / 4000 - 0.5) < 0.02
    # Beta(0.2, 0.2) has most of its mass at the ends: variance 1 / (4 (2 x 0.2 + 1)).
    assert abs(sum((share - 0.5) ** 2 for share in shares) / 4000 - 1 / 5.6) < 0.01
    assert torch.equal(MixUp(3, 0.2)(images, classes, rng)[1].sum(1).round(decimals=4), torch.ones(4))


def test_cutmix_exchanges_the_rectangle() -> None:
    images, classes = torch.rand(3, 3, 4, 5), torch.tensor([0, 1, 2])
    before = images.clone()
    mixed, targets = CutMix(3).apply(images, classes, Patch(1, 2, 2, 3))
    assert torch.equal(images, before)
    expected = images.clone()
    expected[:, :, 1:3, 2:5] = images.roll(1, 0)[:, :, 1:3, 2:5]
    assert torch.equal(mixed, expected)
    torch.testing.assert_close(targets[1], torch.tensor([6 / 20, 14 / 20, 0]))


def test_cutmix_draws_rectangles_that_are_cut_off_at_the_edges() -> None:
    images, rng = torch.rand(2, 3, 40, 60), random.Random(0)
    drawn = [CutMix(3, 1.0).draw(images, rng) for _ in range(3000)]
    assert all(
        one.top >= 0 and one.top + one.height <= 40 and one.left >= 0 and one.left + one.width <= 60 for one in drawn
    )
    # A square of side s in a unit square, around a point anywhere, shows (s - s^2 / 4)^2 of it on average; s^2 is even.
    steps = [((i + 0.5) / 1000) ** 0.5 for i in range(1000)]
    expected = sum((s - s * s / 4) ** 2 for s in steps) / 1000
    assert abs(sum(one.height * one.width / 2400 for one in drawn) / 3000 - expected) < 0.02


def test_mixing_takes_soft_targets_and_clips() -> None:
    clips, soft = torch.rand(2, 3, 4, 5, 6), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    for mixing in (MixUp(2, 0.8), CutMix(2, 1.0)):
        mixed, targets = mixing(clips, soft, random.Random(3))
        assert mixed.shape == clips.shape
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
    with pytest.raises(ValueError, match=r"Tensor\[N, 2\] of shares, not torch.float32 of shape \[2, 3\]"):
        MixUp(2)(clips, torch.rand(2, 3), random.Random(0))
    with pytest.raises(ValueError, match="must be positive"):
        CutMix(2, 0)


def test_one_of_the_two_is_taken_for_each_batch() -> None:
    images, classes = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    both, rng = MixUpOrCutMix(2, 0.4, 1.0, (3.0, 1.0)), random.Random(0)
    kinds = Counter()
    for _ in range(800):
        mixed, _ = both(images, classes, rng)
        kinds["cut" if ((mixed == images) | (mixed == images.roll(1, 0))).all() else "blended"] += 1
    assert 540 < kinds["blended"] < 640
    off, targets = MixUpOrCutMix(2)(images, classes, rng)
    assert off is images
    assert torch.equal(targets, torch.eye(2))
    assert MixUpOrCutMix(2, mixup_alpha=0.2).choices[0].alpha == 0.2


def test_one_pixel_becomes_a_tensor() -> None:
    assert ToTensor(MEAN, STD)(Sample(Image.new("RGB", (1, 1))), random.Random(0)).image.shape == (3, 1, 1)
