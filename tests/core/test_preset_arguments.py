"""What arguments preprocessing refuses, by itself and in catalogues."""

import math

import pytest

from zoo_core import preset_arguments, presets

STATISTICS = [
    ({"std": [0.5, math.nan, 0.5]}, "std must be positive, got"),
    ({"std": [0.5, math.inf, 0.5]}, "std must be positive, got"),
    ({"std": [0.5, 0.0, 0.5]}, "std must be positive, got"),
    ({"std": [0.5, -0.1, 0.5]}, "std must be positive, got"),
    ({"std": ["0.5", 0.5, 0.5]}, "std must be positive, got"),
    ({"mean": [0.5, math.nan, 0.5]}, "mean must be finite numbers, got"),
    ({"mean": [0.5, -math.inf, 0.5]}, "mean must be finite numbers, got"),
    ({"mean": [0.5, None, 0.5]}, "mean must be finite numbers, got"),
    ({"mean": [0.5, True, 0.5]}, "mean must be finite numbers, got"),
    ({"mean": [0.5, 10**400, 0.5]}, "mean must be finite numbers, got"),
    ({"mean": [0.5]}, "mean and std must have one value for each channel"),
    ({"mean": [], "std": []}, "mean and std must have one value for each channel"),
]
SIZES = [0, -2, 2.5, "8", True, None, [], [8, 8, 8], [8, 0], [8, -8], [8.0, 8.0], math.nan]


@pytest.mark.parametrize(("arguments", "message"), STATISTICS)
@pytest.mark.parametrize(
    "preset",
    [
        lambda **k: presets.ImageClassification(crop_size=8, **k),
        lambda **k: presets.SemanticSegmentation(resize_size=8, **k),
        lambda **k: presets.VideoClassification(crop_size=8, resize_size=8, **k),
    ],
    ids=["image", "segmentation", "video"],
)
def test_statistics(preset, arguments, message):
    with pytest.raises(ValueError, match=message):
        preset(**arguments)


@pytest.mark.parametrize("size", SIZES, ids=repr)
def test_sizes(size):
    for make in (
        lambda: presets.ImageClassification(crop_size=size),
        lambda: presets.ImageClassification(crop_size=8, resize_size=size),
        lambda: presets.VideoClassification(crop_size=8, resize_size=size),
    ):
        with pytest.raises(ValueError, match=r"_size must be a positive integer or \(height, width\), got"):
            make()
    check = preset_arguments.PRESETS["ImageClassification"]["crop_size"]
    with pytest.raises(ValueError, match="must be"):
        check(size)


@pytest.mark.parametrize("size", [1, 8, [8], [8, 9], 2**15])
def test_good_sizes(size):
    preset_arguments.PRESETS["ImageClassification"]["crop_size"](size)
    assert presets.ImageClassification(crop_size=size).crop_size == (size if isinstance(size, list) else [size])


def test_catalogues_ask_for_images_that_fit_into_memory():
    for preset, argument, size in (
        ("ImageClassification", "crop_size", 2**15 + 1),
        ("SemanticSegmentation", "resize_size", [8, 10**30]),
        ("VideoClassification", "crop_size", [10**9]),
    ):
        with pytest.raises(ValueError, match="at most 32768 pixels"):
            preset_arguments.PRESETS[preset][argument](size)


def test_interpolations_in_catalogues():
    image = preset_arguments.PRESETS["ImageClassification"]["interpolation"]
    video = preset_arguments.PRESETS["VideoClassification"]["interpolation"]
    for value in preset_arguments.INTERPOLATIONS:
        image(value)
        presets.ImageClassification(crop_size=8, interpolation=value)
    for check, wrong in ((image, "smudge"), (image, 3), (image, None), (video, "lanczos"), (video, "box")):
        with pytest.raises(ValueError, match="must be"):
            check(wrong)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_in_catalogues(channels):
    preset_arguments.check({"mean": (0,) * channels, "std": (1,) * channels})
    with pytest.raises(ValueError, match="1, 3, 4 channels, not 2"):
        preset_arguments.check({"mean": (0, 0), "std": (1, 1)})
