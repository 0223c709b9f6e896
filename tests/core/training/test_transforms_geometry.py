"""Boxes, masks, keypoints, label maps and flow move with the image."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.transforms import (
    COCO_KEYPOINT_PAIRS,
    IoUCrop,
    LargeScaleJitter,
    RandomHorizontalFlip,
    RandomResizeAndCrop,
    RandomResizedCrop,
    RandomShortestSize,
    RandomVerticalFlip,
    Resize,
    Sample,
    Sanitize,
    ScaleJitter,
    ZoomOut,
    boxes_of_masks,
    geometry,
)
from zoo_core.training.transforms.sizes import short_side


def noise(height: int, width: int, channels: int = 3) -> Image.Image:
    shape = (channels, height, width)
    return to_pil_image(torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8))


def instances(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> Sample:
    """Filled rectangles: masks equal boxes, keypoints are the corners' pixels."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    points = [[[x1, y1, 2], [x2 - 1, y2 - 1, 2]] for x1, y1, x2, y2 in boxes]
    return Sample(
        noise(height, width),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)),
        masks=masks,
        keypoints=torch.tensor(points, dtype=torch.float32).reshape(-1, 2, 3),
        crowd=torch.zeros(len(boxes), dtype=torch.bool),
    )


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append((x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))))
    return instances(height, width, boxes)


TRANSFORMS = [
    RandomHorizontalFlip(),
    RandomVerticalFlip(),
    ScaleJitter(24, (0.3, 2.0)),
    LargeScaleJitter(24, (0.3, 2.0)),
    RandomResizedCrop((11, 17)),
    RandomShortestSize((9, 15, 30), 40),
    RandomResizeAndCrop(8, 40, 16),
    IoUCrop(),
    ZoomOut(),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(0, 2**32))
def test_truth_stays_in_the_image_and_together(transform: object, sample: Sample, seed: int) -> None:
    before = {
        name: value.clone() for name in ("boxes", "masks", "keypoints") if (value := getattr(sample, name)) is not None
    }
    found = Sanitize()(transform(sample, random.Random(seed)), random.Random(0))
    height, width = found.size
    boxes = found.boxes
    assert len(boxes) == len(found.labels) == len(found.masks) == len(found.keypoints) == len(found.crowd)
    assert found.masks.shape[1:] == (height, width)
    if len(boxes):
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height
        assert (boxes[:, 2:] - boxes[:, :2]).min() >= 1
    # What a mask shows lies in its box, but for the pixel that the nearest one may be off.
    shown = found.masks.bool().flatten(1).any(1)
    tight = boxes_of_masks(found.masks)[shown]
    assert (tight[:, :2] >= boxes[shown][:, :2] - 1.001).all()
    assert (tight[:, 2:] <= boxes[shown][:, 2:] + 1.001).all()
    points = found.keypoints[found.keypoints[..., 2] > 0]
    assert (points[:, :2] >= 0).all()
    assert (points[:, 0] < width).all()
    assert (points[:, 1] < height).all()
    for name, value in before.items():  # what was given stays as it is
        assert torch.equal(getattr(sample, name), value)


@settings(max_examples=60, deadline=None)
@given(samples(), st.data())
def test_windows_of_boxes_are_those_of_masks(sample: Sample, data: st.DataObject) -> None:
    height, width = sample.size
    window = (
        *(data.draw(st.integers(-5, length - 1)) for length in (height, width)),
        *(data.draw(st.integers(1, 45)) for _ in range(2)),
    )
    found = geometry.crop(sample, *window)
    assert found.size == window[2:]
    assert torch.equal(found.boxes, boxes_of_masks(found.masks))
    kept = set(found.labels.tolist())
    expected = geometry.crop(Sample(sample.image, label_map=torch.zeros(height, width)), *window).label_map == 0
    for number, mask in enumerate(sample.masks):
        top, left, h, w = window
        part = mask[max(top, 0) : max(top + h, 0), max(left, 0) : max(left + w, 0)]
        assert (number in kept) == bool(part.any())
    assert not found.masks[:, ~expected].any()


@settings(max_examples=40, deadline=None)
@given(samples())
def test_flipping_twice_changes_nothing(sample: Sample) -> None:
    for flip in (lambda one: geometry.horizontal_flip(one, [(0, 1)]), geometry.vertical_flip):
        once = flip(sample)
        assert torch.equal(once.boxes, boxes_of_masks(once.masks))
        twice = flip(once)
        assert twice.image == sample.image
        for name in ("boxes", "masks", "keypoints"):
            assert torch.equal(getattr(twice, name), getattr(sample, name))


def test_left_and_right_keypoints_change_places() -> None:
    points = torch.arange(17.0).repeat(1, 3, 1).permute(0, 2, 1).contiguous()  # point i at (i, i), visibility i
    points[..., 2] = 2
    points[0, 3] = 0
    sample = Sample(noise(20, 20), boxes=torch.tensor([[0.0, 0, 20, 20]]), labels=torch.tensor([1]), keypoints=points)
    found = RandomHorizontalFlip(1.0, COCO_KEYPOINT_PAIRS)(sample, random.Random(0)).keypoints[0]
    assert found[0].tolist() == [19, 0, 2]  # the nose
    assert found[1].tolist() == [17, 2, 2]  # the left eye is what was the right one
    assert found[2].tolist() == [18, 1, 2]
    assert found[4].tolist() == [0, 0, 0]  # one that is not known
    with pytest.raises(ValueError, match=r"pair of keypoints \(1, 17\) is not among the 17"):
        RandomHorizontalFlip(1.0, [(1, 17)])(sample, random.Random(0))


def test_an_object_at_the_edge_goes_with_less_than_a_pixel() -> None:
    sample = Sample(
        noise(10, 10),
        boxes=torch.tensor([[0.0, 0, 3, 3], [0, 0, 3.5, 9], [2, 2, 9, 9], [9, 9, 10, 10]]),
        labels=torch.tensor([0, 1, 2, 3]),
        keypoints=torch.tensor([[[1.0, 1, 2]], [[3, 3, 2]], [[2, 8, 1]], [[9, 9, 2]]]),
    )
    found = geometry.crop(sample, 0, 3, 10, 7)
    assert found.labels.tolist() == [2, 3]
    assert found.boxes.tolist() == [[0, 2, 6, 9], [6, 9, 7, 10]]
    assert found.keypoints.tolist() == [[[0, 0, 0]], [[6, 9, 2]]]
    assert geometry.crop(sample, 20, 20, 5, 5).labels.tolist() == []


@pytest.mark.parametrize(
    ("old", "new"), [((10, 14), (20, 28)), ((10, 14), (7, 9)), ((10, 14), (3, 40)), ((1, 1), (5, 4))]
)
@pytest.mark.parametrize("window", [(0, 0, 6, 5), (-2, -3, 12, 13), (1, 2, 30, 30), (-9, 1, 10, 3)])
def test_one_step_gives_what_two_do(old: tuple[int, int], new: tuple[int, int], window: tuple[int, ...]) -> None:
    height, width = old
    sample = instances(height, width, [(0, 0, width, height), (0, 0, 1, 1)])
    sample = sample.replace(label_map=torch.arange(height * width).view(height, width) % 200)
    dense = sample.replace(flow=torch.randn(2, height, width))
    sparse = sample.replace(flow=torch.where(torch.rand(height, width) < 0.4, dense.flow, torch.nan))
    for one in (dense, sparse, Sample(noise(height, width, 1))):
        found = geometry.resize_and_crop(one, new, window, fill=7)
        expected = geometry.crop(geometry.resize(one, *new), *window, 7)
        difference = pil_to_tensor(found.image).int() - pil_to_tensor(expected.image).int()
        assert difference.abs().max() <= 1
        assert (difference == 0).float().mean() > 0.8
        for name in ("boxes", "labels", "masks", "keypoints", "label_map", "flow"):
            value, wanted = getattr(found, name), getattr(expected, name)
            if wanted is not None:
                torch.testing.assert_close(value, wanted, equal_nan=True)


def test_nearest_is_torchs() -> None:
    values = torch.rand(3, 1, 13, 17)
    for size in ((5, 40), (26, 34), (1, 1), (13, 17), (100, 3)):
        expected = torch.nn.functional.interpolate(values, size=size, mode="nearest")
        assert torch.equal(geometry.resize_nearest(values, *size), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_label_maps_of_every_integer_type_move(dtype: torch.dtype) -> None:
    sample = Sample(noise(6, 8), label_map=torch.arange(48).view(6, 8).to(dtype))
    for found in (
        geometry.horizontal_flip(sample),
        geometry.resize(sample, 3, 4),
        geometry.crop(sample, -1, -1, 9, 9),
        geometry.resize_and_crop(sample, (12, 16), (-2, 3, 20, 10)),
    ):
        assert found.label_map.dtype == dtype
        assert found.label_map.shape == found.size
    assert geometry.crop(sample, -1, -1, 9, 9).label_map[0].tolist() == [255] * 9


# Flow -----------------------------------------------------------------------------------------------------------------


def displaced(height: int, width: int, x: float, y: float) -> torch.Tensor:
    return torch.tensor([x, y], dtype=torch.float32).view(2, 1, 1).expand(2, height, width).contiguous()


def test_flow_is_scaled_and_its_sign_follows_flips() -> None:
    sample = Sample(noise(8, 10), second=noise(8, 10), flow=displaced(8, 10, 3, -2))
    assert torch.equal(geometry.horizontal_flip(sample).flow, displaced(8, 10, -3, -2))
    assert torch.equal(geometry.vertical_flip(sample).flow, displaced(8, 10, 3, 2))
    torch.testing.assert_close(geometry.resize(sample, 4, 30).flow, displaced(4, 30, 9, -1))


def test_interpolated_flow_is_torchs() -> None:
    flow = torch.randn(2, 9, 13)
    found = geometry.resize(Sample(noise(9, 13), flow=flow), 20, 7).flow
    expected = torch.nn.functional.interpolate(flow[None], size=(20, 7), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected * torch.tensor([7 / 13, 20 / 9]).view(2, 1, 1))


def test_flow_leads_to_the_same_pixel_of_the_second_image() -> None:
    """A bright pixel, and its flow, through flips, sizes and windows: the second image is bright where it leads to."""
    first, second = torch.zeros(3, 20, 24, dtype=torch.uint8), torch.zeros(3, 20, 24, dtype=torch.uint8)
    first[:, 4:8, 6:10] = 255
    second[:, 10:14, 14:18] = 255
    sample = Sample(to_pil_image(first), second=to_pil_image(second), flow=displaced(20, 24, 8, 6))
    for change in (
        geometry.horizontal_flip,
        geometry.vertical_flip,
        lambda one: geometry.resize(one, 40, 36),
        lambda one: geometry.crop(one, 2, 3, 16, 18),
        lambda one: geometry.resize_and_crop(one, (40, 72), (4, 9, 30, 50)),
    ):
        changed = change(sample)
        one, other = pil_to_tensor(changed.image)[0].float(), pil_to_tensor(changed.second)[0].float()
        centers = []
        for image in (one, other):
            y, x = (image > 128).nonzero(as_tuple=True)
            centers.append(torch.stack((x.float().mean(), y.float().mean())))
        x, y = centers[0].round().long().tolist()
        torch.testing.assert_close(centers[0] + changed.flow[:, y, x], centers[1], atol=0.6, rtol=0)


def test_known_flow_stays_known_and_gaps_stay_gaps() -> None:
    flow = torch.full((2, 6, 8), torch.nan)
    flow[:, 1, 2] = torch.tensor([4.0, 2.0])
    flow[:, 5, 7] = torch.tensor([-1.0, 1.0])
    sample = Sample(noise(6, 8), flow=flow)
    larger = geometry.resize(sample, 12, 24).flow
    assert int((~larger.isnan()).all(0).sum()) == 2
    assert larger[:, 3, 7].tolist() == [12, 4]  # the centre (2.5, 1.5) becomes (7.5, 3)
    assert larger[:, 11, 22].tolist() == [-3, 2]
    smaller = geometry.resize(sample, 3, 4).flow
    assert smaller[:, 0, 1].tolist() == [2, 1]
    assert int((~smaller.isnan()).all(0).sum()) == 2
    assert geometry.crop(sample, -1, 0, 7, 8).flow[:, 0].isnan().all()


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "length", "longest", "expected"),
    [
        ((480, 640), 800, None, (800, 1066)),
        ((640, 480), 800, None, (1066, 800)),
        ((100, 1000), 800, 1333, (133, 1333)),
        ((1, 500), 10, 100, (1, 100)),
    ],
)
def test_the_shorter_side(size: tuple[int, int], length: int, longest: int | None, expected: tuple[int, int]) -> None:
    assert short_side(size, length, longest) == expected
    assert Resize(length, max_size=longest).draw(Sample(Image.new("L", size[::-1])), random.Random(0)) == expected


def test_shortest_sizes_are_drawn_from_the_list() -> None:
    rng, sample = random.Random(0), Sample(Image.new("L", (640, 480)))
    drawn = [RandomShortestSize((480, 600, 800), 1000).draw(sample, rng) for _ in range(300)]
    assert set(drawn) == {(480, 640), (600, 800), (750, 1000)}
    jitter = [ScaleJitter(1024, (0.1, 2.0)).draw(sample, rng) for _ in range(3000)]
    scales = sorted(width / 1024 for _, width in jitter)
    assert scales[0] < 0.11
    assert scales[-1] > 1.99
    assert abs(scales[1500] - 1.05) < 0.05
    assert ScaleJitter(8, (0.01, 0.01)).draw(Sample(Image.new("L", (500, 1))), rng) == (1, 1)


def test_sanitize_drops_what_a_data_set_has_wrong() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 9], [-3, -3, 4, 4], [9, 9, 30, 30], [3, 3, 9, 3.5]])
    found = Sanitize()(Sample(noise(12, 12), boxes=boxes, labels=torch.arange(4)), random.Random(0))
    assert found.labels.tolist() == [1, 2]
    assert found.boxes.tolist() == [[0, 0, 4, 4], [9, 9, 12, 12]]
    assert Sanitize(4.0)(found, random.Random(0)).labels.tolist() == [1]
    plain = Sample(noise(3, 3))
    assert Sanitize()(plain, random.Random(0)) is plain
