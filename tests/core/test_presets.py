"""Preprocessing: equal to the reference, right on cases computed by hand, clear on bad input."""

import copy
import functools
import inspect
import json
import pickle
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from support.reference import ASSETS, noise
from zoo_core import catalog, presets
from zoo_core.images import to_pil_image
from zoo_core.presets import (
    ImageClassification,
    InterpolationMode,
    ObjectDetection,
    OpticalFlow,
    SemanticSegmentation,
    VideoClassification,
)

GOLDEN = json.loads((ASSETS / "golden" / "presets_and_drawing.json").read_text())
SINGLE_IMAGE_PRESETS = ("ImageClassification", "SemanticSegmentation", "ObjectDetection", "VideoClassification")


def identity(**arguments: Any) -> ImageClassification:
    """A preset that does not normalise, so that values stay readable."""
    return ImageClassification(**{"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), **arguments})


def assert_equal_to(output: Tensor, summary: dict[str, Any], tolerance: float) -> None:
    assert list(output.shape) == summary["shape"]
    assert output.dtype == torch.float32
    sampled = output.flatten()[torch.tensor(summary["index"])]
    torch.testing.assert_close(sampled, torch.tensor(summary["value"]), rtol=0, atol=tolerance)
    assert abs(output.double().mean().item() - summary["mean"]) <= tolerance


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}-{case['arguments']}-{case['input']}-seed{case['seed']}")
        for name in SINGLE_IMAGE_PRESETS
        for case in GOLDEN[name]
    ],
)
def test_equals_the_reference(name: str, case: dict[str, Any]) -> None:
    preset = getattr(presets, name)(**case["arguments"])
    picture: Any = noise(case["seed"], *case["shape"])
    tolerance = 1e-5
    if case["input"] == "float":
        picture = picture / 255
    elif case["input"] == "pil":
        picture = to_pil_image(picture)
        tolerance = 1.01 / 255 / min(getattr(preset, "std", [1.0]))  # one grey level
    assert_equal_to(preset(picture), case["output"], tolerance)


def test_optical_flow_equals_the_reference() -> None:
    (case,) = GOLDEN["OpticalFlow"]
    outputs = OpticalFlow()(*(noise(seed, *case["shape"]) for seed in case["seeds"]))
    for output, summary in zip(outputs, case["output"], strict=True):
        assert_equal_to(output, summary, 1e-5)


# Geometry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "resize", "expected"),
    [
        (300, 401, 520, (520, 695)),  # 520 * 401 / 300 = 695.07
        (401, 300, 520, (695, 520)),
        (100, 199, 50, (50, 99)),  # 99.5 is cut, not rounded
        (7, 7, 3, (3, 3)),
        (1, 1, 9, (9, 9)),
        (3, 900, 2, (2, 600)),
        (40, 60, (10, 30), (10, 30)),
        (40, 60, None, (40, 60)),
    ],
)
@pytest.mark.parametrize("kind", ["tensor", "pil"])
def test_the_shorter_side_is_matched_and_the_longer_one_cut(
    height: int, width: int, resize: Any, expected: tuple[int, int], kind: str
) -> None:
    picture = noise(0, 3, height, width)
    output = SemanticSegmentation(resize_size=resize)(to_pil_image(picture) if kind == "pil" else picture)
    assert output.shape == (3, *expected)


@pytest.mark.parametrize("kind", ["tensor", "pil"])
@pytest.mark.parametrize(
    ("length", "crop", "expected"),
    [
        (6, 4, [1, 2, 3, 4]),
        (7, 4, [2, 3, 4, 5]),  # 1.5 rounds to the even 2
        (5, 4, [0, 1, 2, 3]),  # 0.5 rounds to the even 0
        (4, 4, [0, 1, 2, 3]),
        (2, 4, [-1, 0, 1, -1]),
        (2, 5, [-1, 0, 1, -1, -1]),  # the odd pixel of padding goes after
    ],
)
def test_central_crop(length: int, crop: int, expected: list[int], kind: str) -> None:
    """Pixels are numbered from 0; -1 stands for the padding."""
    row = torch.arange(1, length + 1, dtype=torch.uint8)
    picture: Any = row.expand(3, length, length).contiguous()
    if kind == "pil":
        picture = to_pil_image(picture)
    output = identity(crop_size=crop, resize_size=length)(picture)
    shown = (output * 255).round().int() - 1
    padding = torch.tensor(expected) == -1
    assert shown[0, crop // 2 - (crop > length)].tolist() == expected
    assert (shown[:, padding] == -1).all()  # rows
    assert (shown[:, :, padding] == -1).all()  # columns


def test_crop_may_be_wider_than_the_picture_and_lower() -> None:
    picture = torch.full((3, 8, 4), 255, dtype=torch.uint8)
    for input in (picture, to_pil_image(picture)):
        output = identity(crop_size=(2, 8), resize_size=(8, 4))(input)
        assert output.shape == (3, 2, 8)
        assert output[0].tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]] * 2


def test_a_single_pixel_fills_the_crop() -> None:
    picture = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)
    for input in (picture, to_pil_image(picture)):
        output = identity(crop_size=224)(input)
        torch.testing.assert_close(output, (picture / 255).expand(3, 224, 224))


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)], ids=["wide", "high"])
def test_a_long_strip_costs_no_more_than_what_is_seen(size: tuple[int, int]) -> None:
    strip = Image.linear_gradient("L").resize(size).convert("RGB")
    output = identity(crop_size=224)(strip)  # 15 million by 256 pixels, were it resized as a whole
    assert output.shape == (3, 224, 224)
    across = output[0].mean(dim=0 if size[0] > size[1] else 1)
    assert (across - across.mean()).abs().max() < 0.02  # a strip this long hardly changes within the crop


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_part_of_a_long_strip_equals_the_crop_of_the_whole(
    interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strip = to_pil_image(noise(0, 3, 12, 300))
    preset = identity(crop_size=(30, 20), resize_size=24, interpolation=interpolation)
    whole = preset(strip)
    monkeypatch.setattr(presets, "_MAX_RESIZED_PIXELS", 0)
    torch.testing.assert_close(preset(strip), whole, rtol=0, atol=3 / 255)


# Values --------------------------------------------------------------------------------------------------------------


def test_bilinear_downscaling_smooths_as_computed_by_hand() -> None:
    """Halving with antialias weighs four pixels by a triangle: 1/8, 3/8, 3/8, 1/8 (at the edge 3/7, 3/7, 1/7)."""
    row = torch.tensor([0, 0, 64, 255, 255, 0, 0, 0], dtype=torch.float32)
    picture = (row / 255).expand(3, 8, 8)
    output = identity(crop_size=4, resize_size=4)(picture)[0, 0] * 255
    expected = [(0 * 3 + 0 * 3 + 64) / 7, (64 * 3 + 255 * 3 + 255) / 8, (255 + 255 * 3) / 8, 0.0]
    torch.testing.assert_close(output, torch.tensor(expected))


def test_without_antialias_only_two_neighbours_count() -> None:
    row = torch.tensor([0, 0, 64, 255, 255, 0, 0, 0], dtype=torch.float32)
    picture = (row / 255).expand(3, 8, 8)
    for antialias in (False, None):
        output = identity(crop_size=4, resize_size=4, antialias=antialias)(picture)[0, 0] * 255
        torch.testing.assert_close(output, torch.tensor([0.0, 159.5, 127.5, 0.0]))


def test_uint8_pictures_are_rounded_to_grey_levels_after_resizing() -> None:
    output = identity(crop_size=50, resize_size=50)(noise(3, 3, 97, 64)) * 255
    torch.testing.assert_close(output, output.round(), rtol=0, atol=1e-4)


def test_bicubic_overshoot_of_uint8_pictures_is_clamped_but_not_of_float_ones() -> None:
    edge = torch.zeros(3, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 255
    preset = identity(crop_size=16, resize_size=16, interpolation="bicubic")
    assert preset(edge).min() == 0
    assert preset(edge).max() == 1
    assert preset(edge / 255).max() > 1.01


def test_normalisation() -> None:
    picture = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4)
    output = ImageClassification(crop_size=4, resize_size=4, mean=(0.0, 0.1, 0.5), std=(1.0, 0.5, 0.25))(picture)
    torch.testing.assert_close(output[:, 2, 2], torch.tensor([0.0, 0.2, 2.0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_floating_dtype_gives_float32(dtype: torch.dtype) -> None:
    picture = noise(1, 3, 40, 50) / 255
    preset = ImageClassification(crop_size=24, resize_size=32)
    tolerance = 0.05 if dtype == torch.bfloat16 else 0.01 if dtype == torch.float16 else 1e-5
    output = preset(picture.to(dtype))
    torch.testing.assert_close(output, preset(picture), rtol=0, atol=tolerance)


def test_16_bit_tensors_and_pictures() -> None:
    levels = noise(1, 1, 40, 50).to(torch.int32) * 257
    tensor = levels.to(torch.uint16)
    expected = noise(1, 1, 40, 50) / 255
    torch.testing.assert_close(ObjectDetection()(tensor), expected)
    torch.testing.assert_close(ObjectDetection()(to_pil_image(tensor)), expected.expand(3, -1, -1))
    preset = identity(crop_size=20, resize_size=20)
    resized = preset(levels.expand(3, -1, -1).to(torch.uint16))
    torch.testing.assert_close(resized, preset(expected.expand(3, -1, -1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_pil_pictures_of_any_mode_become_rgb(mode: str) -> None:
    white = Image.new("L", (30, 20), 255)
    picture = to_pil_image(torch.full((20, 30), 65535, dtype=torch.uint16)) if mode[0] == "I" else white.convert(mode)
    if mode == "I":
        picture = picture.convert("I")
    assert picture.mode == mode
    output = identity(crop_size=16, resize_size=16)(picture)
    assert output.shape == (3, 16, 16)
    torch.testing.assert_close(output, torch.ones(3, 16, 16), rtol=0, atol=2 / 255)
    assert ObjectDetection()(picture).shape == (3, 20, 30)


def test_one_channel_statistics_make_grey_pictures() -> None:
    preset = ImageClassification(crop_size=28, resize_size=28, mean=(0.5,), std=(0.5,))
    picture = to_pil_image(noise(0, 3, 28, 28))
    assert preset(picture).shape == (1, 28, 28)
    torch.testing.assert_close(preset(picture), preset(picture.convert("L")))


# Batches, layouts, devices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("floating", [False, True])
def test_batches_equal_single_pictures(floating: bool) -> None:
    batch = noise(5, 2, 4, 3, 37, 53)
    batch = batch / 255 if floating else batch
    for preset in (ImageClassification(crop_size=40, resize_size=32), SemanticSegmentation(resize_size=30)):
        output = preset(batch)
        for i in range(2):
            for j in range(4):
                torch.testing.assert_close(output[i, j], preset(batch[i, j]), rtol=0, atol=1e-6)


def test_empty_batches() -> None:
    assert ImageClassification(crop_size=8, resize_size=10)(torch.empty(0, 3, 20, 30)).shape == (0, 3, 8, 8)
    assert ImageClassification(crop_size=8, resize_size=20)(torch.empty(0, 3, 20, 30)).shape == (0, 3, 8, 8)
    assert SemanticSegmentation(resize_size=10)(torch.empty(0, 3, 20, 30, dtype=torch.uint8)).shape == (0, 3, 10, 15)
    assert VideoClassification(crop_size=8, resize_size=10)(torch.empty(0, 4, 3, 20, 30)).shape == (0, 3, 4, 8, 8)


def test_memory_layout_does_not_matter() -> None:
    picture = noise(6, 3, 33, 47)
    preset = ImageClassification(crop_size=24, resize_size=30)
    expected = preset(picture)
    for same in (
        picture.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        picture.transpose(1, 2).contiguous().transpose(1, 2),
        noise(6, 3, 33, 47).repeat_interleave(2, dim=2)[..., ::2],
    ):
        assert not same.is_contiguous()
        torch.testing.assert_close(preset(same), expected, rtol=0, atol=0)
    batch = picture[None].expand(2, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(preset(batch), expected.expand(2, -1, -1, -1))


@pytest.mark.parametrize("picture", [noise(7, 3, 32, 32), noise(7, 3, 32, 32) / 255], ids=["uint8", "float"])
@pytest.mark.parametrize("resize", [32, 20])
def test_the_input_is_left_alone(picture: Tensor, resize: int) -> None:
    original = picture.clone()
    ImageClassification(crop_size=16, resize_size=resize)(picture)
    SemanticSegmentation(resize_size=None)(picture)
    ObjectDetection()(picture)
    OpticalFlow()(picture, picture)
    VideoClassification(crop_size=16, resize_size=resize)(picture[None])
    assert torch.equal(picture, original)


def test_gradients_reach_a_float_picture() -> None:
    picture = (noise(8, 3, 20, 20) / 255).requires_grad_()
    ImageClassification(crop_size=10, resize_size=10)(picture).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_exports_with_a_dynamic_batch() -> None:
    preset = ImageClassification(crop_size=24, resize_size=30)
    batch = noise(9, 2, 3, 40, 50)
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(preset, (batch,), dynamic_shapes=dynamic)
    larger = noise(10, 5, 3, 40, 50)
    torch.testing.assert_close(program.module()(larger), preset(larger))


# Video and flow ------------------------------------------------------------------------------------------------------


def test_video_puts_channels_before_frames_and_does_not_smooth() -> None:
    frames = noise(1, 5, 3, 40, 60)
    arguments: dict[str, Any] = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    output = VideoClassification(crop_size=(16, 20), resize_size=(20, 30), **arguments)(frames)
    assert output.shape == (3, 5, 16, 20)
    as_image = ImageClassification(crop_size=(16, 20), resize_size=(20, 30), antialias=False, **arguments)
    for t in range(5):
        torch.testing.assert_close(output[:, t], as_image(frames[t]))


def test_flow_takes_pil_pictures_and_scales_to_minus_one_to_one() -> None:
    black, white = Image.new("RGB", (8, 6)), Image.new("L", (8, 6), 255)
    first, second = OpticalFlow()(black, white)
    assert torch.equal(first, torch.full((3, 6, 8), -1.0))
    assert torch.equal(second, torch.ones(3, 6, 8))


def test_flow_refuses_pictures_of_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"same shape, got \[3, 8, 8\] and \[3, 8, 9\]"):
        OpticalFlow()(noise(0, 3, 8, 8), noise(0, 3, 8, 9))


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("input", "error", "message"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.int64), TypeError, r"int64.*\.to\(torch\.uint8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.bool), TypeError, "bool"),
        ("cat.jpg", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
        ([torch.zeros(3, 8, 8)], TypeError, "got list"),
        (torch.zeros(8, 8), ValueError, r"shape \[\.\.\., C, H, W\], got shape \[8, 8\]"),
        (torch.zeros(1, 8, 8), ValueError, "3 channels.*got 1.*expand"),
        (torch.zeros(4, 8, 8), ValueError, "3 channels.*got 4.*alpha"),
        (torch.zeros(2, 8, 9, 3), ValueError, "channels come last"),
        (torch.zeros(5, 8, 8), ValueError, "3 channels.*got 5"),
        (torch.zeros(3, 0, 8), ValueError, "empty"),
        (Image.new("RGB", (0, 8)), ValueError, "empty: 0 x 8"),
        (Image.new("F", (8, 8)), ValueError, "no defined range"),
    ],
)
def test_wrong_inputs(input: Any, error: type[Exception], message: str) -> None:
    for preset in (ImageClassification(crop_size=4, resize_size=4), SemanticSegmentation(resize_size=4)):
        with pytest.raises(error, match=message):
            preset(input)


def test_arrays_are_refused_with_the_way_to_convert_them() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError, match=r"numpy\.ndarray.*torch\.from_numpy"):
        ObjectDetection()(numpy.zeros((8, 8, 3), dtype="uint8"))


def test_wrong_videos() -> None:
    preset = VideoClassification(crop_size=4, resize_size=4)
    with pytest.raises(ValueError, match=r"\[\.\.\., T, C, H, W\], got shape \[3, 8, 8\]"):
        preset(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"3 channels in a tensor of shape \[\.\.\., T, C, H, W\], got 16"):
        preset(torch.zeros(3, 16, 8, 8))
    with pytest.raises(TypeError, match="expected a tensor, got PIL"):
        preset(Image.new("RGB", (8, 8)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_size": 0}, "crop_size must be a positive"),
        ({"crop_size": -3}, "crop_size"),
        ({"crop_size": (1, 2, 3)}, "crop_size"),
        ({"crop_size": 8, "resize_size": 2.5}, "resize_size"),
        ({"crop_size": 8, "resize_size": None}, "resize_size"),
        ({"crop_size": 8, "resize_size": "8"}, "resize_size"),
        ({"crop_size": True}, "crop_size"),
        ({"crop_size": 8, "mean": (0.5, 0.5)}, "one value for each channel"),
        ({"crop_size": 8, "std": (0.0, 1.0, 1.0)}, "std must be positive"),
        ({"crop_size": 8, "interpolation": "cubic"}, "unknown interpolation 'cubic'.*bicubic"),
        ({"crop_size": 8, "interpolation": 3}, "unknown interpolation 3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageClassification(**arguments)


def test_interpolations_for_pil_pictures_only() -> None:
    preset = identity(crop_size=8, resize_size=8, interpolation="lanczos")
    assert preset(Image.new("RGB", (20, 20))).shape == (3, 8, 8)
    with pytest.raises(ValueError, match="LANCZOS exists for PIL images only"):
        preset(noise(0, 3, 20, 20))


@pytest.mark.parametrize("interpolation", ["nearest", "nearest-exact"])
def test_nearest_neighbours(interpolation: str) -> None:
    picture = noise(0, 3, 4, 4)
    preset = identity(crop_size=8, resize_size=8, interpolation=interpolation)
    expected = (picture / 255).repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(preset(picture), expected)
    torch.testing.assert_close(preset(to_pil_image(picture)), expected)


# How users meet them -------------------------------------------------------------------------------------------------


class _ForeignInterpolationMode:
    """Stands for the enum of another library."""

    value = "bicubic"


def test_interpolation_is_a_string_a_member_or_a_foreign_member() -> None:
    for interpolation in ("bicubic", "BICUBIC", InterpolationMode.BICUBIC, _ForeignInterpolationMode()):
        preset = ImageClassification(crop_size=8, interpolation=interpolation)  # type: ignore[arg-type]
        assert preset.interpolation is InterpolationMode.BICUBIC


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(ImageClassification, crop_size=224, interpolation="bicubic"),
        functools.partial(SemanticSegmentation, resize_size=520),
        ObjectDetection,
        functools.partial(VideoClassification, crop_size=(112, 112), resize_size=(128, 171)),
        OpticalFlow,
    ],
)
def test_presets_survive_pickle_and_deepcopy(make: Any) -> None:
    preset = make()
    assert isinstance(preset, nn.Module)
    inputs = (noise(1, 2, 3, 40, 50),) * (2 if isinstance(preset, OpticalFlow) else 1)
    for twin in (pickle.loads(pickle.dumps(preset)), copy.deepcopy(preset), pickle.loads(pickle.dumps(make))()):
        assert repr(twin) == repr(preset)
        torch.testing.assert_close(twin(*inputs), preset(*inputs))


def test_arguments_are_readable_as_attributes() -> None:
    preset = ImageClassification(crop_size=224)
    assert (preset.crop_size, preset.resize_size) == ([224], [256])
    assert (preset.mean, preset.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (preset.interpolation, preset.antialias) == (InterpolationMode.BILINEAR, True)


def test_arguments_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        ImageClassification(224)  # type: ignore[call-arg]


def test_repr_and_description_tell_the_arguments() -> None:
    preset = ImageClassification(crop_size=224, resize_size=232)
    for text in (repr(preset), preset.describe()):
        for part in (
            "crop_size=[224]",
            "resize_size=[232]",
            "mean=[0.485, 0.456, 0.406]",
            "InterpolationMode.BILINEAR",
        ):
            assert part in text
    assert repr(preset).startswith("ImageClassification(\n")
    assert repr(ObjectDetection()) == "ObjectDetection()"
    assert "[0.0, 1.0]" in ObjectDetection().describe()
    assert "[-1.0, 1.0]" in OpticalFlow().describe()
    assert "``(..., C, T, H, W)``" in VideoClassification(crop_size=112, resize_size=128).describe()
    assert "resize_size=[520]" in SemanticSegmentation(resize_size=520).describe()
    assert "size is kept" in SemanticSegmentation(resize_size=None).describe()


def test_the_catalogue_knows_the_arguments_of_each_preset() -> None:
    for name, known in catalog.PRESETS.items():
        parameters = inspect.signature(getattr(presets, name)).parameters.values()
        # Of a checkpoint for other channels, mean and std say how many.
        assert set(known) == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"in_channels"}, name


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_images_of_other_channels(channels):
    """The normalisation is that of the channels in turn, or their mean for one; the message says how to ask for it."""
    image = torch.rand(channels, 40, 50)
    turns = [0, 1, 2] * 4
    for preset in (
        functools.partial(presets.ImageClassification, crop_size=32, resize_size=32),
        functools.partial(presets.SemanticSegmentation, resize_size=32),
        functools.partial(presets.VideoClassification, crop_size=32, resize_size=32),
    ):
        of_rgb, made = preset(), preset(in_channels=channels)
        for values, found in ((of_rgb.mean, made.mean), (of_rgb.std, made.std)):
            assert found == ([sum(values) / 3] if channels == 1 else [values[i] for i in turns[:channels]])
        given = image.expand(2, -1, -1, -1) if preset.func is presets.VideoClassification else image
        assert made(given).shape[0] == channels
        with pytest.raises(ValueError, match=rf"weights\.transforms\(in_channels={channels}\)"):
            of_rgb(given)


def test_images_of_no_channels():
    with pytest.raises(ValueError, match="in_channels must be an integer of at least 1, not 0"):
        presets.SemanticSegmentation(resize_size=32, in_channels=0)
