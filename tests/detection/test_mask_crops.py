"""Masks as crops of their boxes: exactly what is above the threshold on the whole image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import zoo_detection
from zoo_core.drawing import draw_objects
from zoo_detection.coco import records, run_lengths
from zoo_detection.detections import Detections
from zoo_detection.mask_crops import MaskCrops
from zoo_detection.masks import _paste_together, crop_masks, paste_masks_in_image
from zoo_detection.rendering import render_detections

from . import toy


def objects(seed, count=12, size=(60, 90)):
    """Masks and boxes, some of which reach over the edge, and some of which lie outside or are tiny."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 1, 28, 28, generator=generator)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([size[1] + 40, size[0] + 40]) - 20
    sides = torch.rand(count, 2, generator=generator).square() * torch.tensor([size[1], size[0]])
    return masks, torch.cat((corners, corners + sides), 1)


@pytest.mark.parametrize("seed", range(20))
def test_pixels_are_those_of_the_whole_image(seed):
    masks, boxes = objects(seed)
    full = paste_masks_in_image(masks, boxes, (60, 90))
    crops = crop_masks(masks, boxes, (60, 90))
    assert torch.equal(crops.full(), full[:, 0] > 0.5)
    torch.testing.assert_close(full, _paste_together(masks, boxes, (60, 90), 1), rtol=1e-5, atol=1e-6)
    for index in range(len(crops)):
        assert torch.equal(crops[index], full[index, 0] > 0.5)
        assert crops.run_lengths(index) == run_lengths(crops[index])
    assert sum(crop.numel() for crop in crops.crops) < full.numel() / 2


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 2**36 - 1),
)
def test_run_lengths_of_any_crop(height, width, top, left, rows, columns, bits):
    """Crops at every edge, full columns that go on in the next one, nothing and all."""
    top, left = min(top, height), min(left, width)
    rows, columns = min(rows, height - top), min(columns, width - left)
    crop = torch.tensor([bits >> i & 1 for i in range(rows * columns)], dtype=torch.bool).view(rows, columns)
    masks = MaskCrops((height, width), [(left, top)], [crop])
    assert masks.run_lengths(0) == run_lengths(masks[0])


def test_a_sequence_of_masks():
    masks = crop_masks(*objects(3), (60, 90))
    full = masks.full()
    assert masks.shape == full.shape
    assert [torch.equal(a, b) for a, b in zip(masks, full, strict=True)] == [True] * 12
    assert torch.equal(masks[-1], full[-1])
    chosen = torch.arange(12) % 3 == 0
    assert torch.equal(masks[chosen].full(), full[chosen])
    assert torch.equal(masks[torch.tensor([5, 2])].full(), full[[5, 2]])
    assert torch.equal(masks[2:4].full(), full[2:4])
    assert masks[:0].full().shape == (0, 60, 90)
    assert repr(masks) == "MaskCrops(12 masks of 60x90 pixels)"
    with pytest.raises(ValueError, match="a place for each crop"):
        MaskCrops((4, 4), [], [torch.ones(1, 1, dtype=torch.bool)])


def test_chosen_by_a_list_and_moved():
    masks = crop_masks(*objects(3), (60, 90))
    assert torch.equal(masks[[2, 0]].full(), torch.stack((masks[2], masks[0])))
    assert len(masks[[]]) == 0
    assert torch.equal(masks[[True, *[False] * (len(masks) - 1)]].full(), masks[:1].full())
    # As loops of training move all that a model gives.
    moved = {key: value.to("meta") for key, value in {"masks": masks, "scores": torch.rand(2)}.items()}
    assert all(crop.is_meta for crop in moved["masks"].crops)
    assert moved["masks"].shape == masks.shape
    assert isinstance(masks, zoo_detection.MaskCrops)


def test_a_model_gives_them_on_request():
    torch.manual_seed(0)
    model = toy.mask_rcnn().eval()
    images, _ = toy.pictures()
    with torch.inference_mode():
        full, crops = model(images), model(images, masks="crops")
    for one, other in zip(full, crops, strict=True):
        assert len(one["boxes"])
        assert torch.equal(other["masks"].full(), one["masks"][:, 0] > 0.5)
        assert torch.equal(one["boxes"], other["boxes"])
        ours, expected = (Detections.of(found, ["a", "b", "c"], threshold=0.3) for found in (other, one))
        assert torch.equal(ours.masks.full(), expected.masks)
        assert records(ours) == records(expected)
        picture = Image.new("RGB", (64, 64), (90, 120, 60))
        for scale in (1, 3):
            large = picture.resize((64 * scale, 64 * scale))
            assert (
                render_detections(large, ours, scale).tobytes() == render_detections(large, expected, scale).tobytes()
            )
    with pytest.raises(ValueError, match="masks must be 'full' or 'crops', not 'runs'"):
        model(images, masks="runs")


def test_programs_have_full_masks():
    torch.manual_seed(0)
    model = toy.mask_rcnn().eval().requires_grad_(False)
    image = toy.pictures()[0][:1]
    with torch.no_grad():
        traced = torch.jit.trace(
            lambda x: model([x], masks="crops")[0]["masks"], image, check_trace=False, strict=False
        )
        torch.testing.assert_close(traced(image[0]), model(image)[0]["masks"])


def test_drawing_takes_parts_of_the_image():
    masks = torch.zeros(2, 40, 50, dtype=torch.bool)
    masks[0, 5:20, 10:30] = True
    masks[1, 15:40, 20:50] = True
    image = Image.new("RGB", (50, 40), (200, 200, 200))
    arguments = (image, torch.tensor([[10.0, 5, 30, 20], [20, 15, 50, 40]]), [1, 1], ["", ""])
    parts = [(10, 5, masks[0, 5:20, 10:30]), (18, 12, masks[1, 12:40, 18:50])]
    assert draw_objects(*arguments, masks=parts).tobytes() == draw_objects(*arguments, masks=masks).tobytes()
    nothing = [(60, 3, torch.zeros(4, 0, dtype=torch.bool))] * 2
    assert draw_objects(*arguments, masks=nothing).tobytes() == draw_objects(*arguments, masks=masks & False).tobytes()
