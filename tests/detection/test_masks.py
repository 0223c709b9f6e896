"""Masks between boxes and images, and their loss, on small cases that were worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from zoo_detection.masks import maskrcnn_loss, paste_masks_in_image, project_masks_on_boxes


def test_masks_in_boxes():
    """A mask of the left half of the image, looked at in a box whose left three quarters it covers."""
    mask = torch.zeros(1, 20, 20, dtype=torch.uint8)
    mask[0, :, :10] = 1
    seen = project_masks_on_boxes(mask, torch.tensor([[4.0, 0, 12, 8]]), torch.tensor([0]), 4)
    assert seen.shape == (1, 4, 4)
    assert torch.equal(seen[0, 0].round(), torch.tensor([1.0, 1, 1, 0]))


def test_mask_loss():
    """The mask of the true class counts: logits of 0 there give log 2, whatever the other class says."""
    mask = torch.ones(1, 20, 20, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0] = -100
    arguments = [torch.tensor([[4.0, 4, 12, 12]])], [mask], [torch.tensor([1])], [torch.tensor([0])]
    assert maskrcnn_loss(logits, *arguments).item() == pytest.approx(math.log(2))
    logits[:, 1] = 100
    assert maskrcnn_loss(logits, *arguments).item() == pytest.approx(0)


def test_mask_loss_without_regions():
    logits = torch.zeros(0, 2, 4, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = maskrcnn_loss(logits, [torch.zeros(0, 4)], [torch.zeros(0, 20, 20)], [none], [none])
    assert loss.item() == 0
    loss.backward()


def test_pasting_masks_interpolates_in_the_box():
    """Against torch's own interpolation, box by box; outside is nothing. Boxes reach over the image's borders."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 1, 28, 28, generator=generator)
    boxes = torch.tensor(
        [[10.2, 5.7, 40.9, 30.1], [-20.5, -8.3, 12.0, 60.0], [55.0, 40.0, 90.0, 80.0], [3, 3, 3.2, 3.1], [0, 0, 64, 48]]
    )
    pasted = paste_masks_in_image(masks, boxes, (48, 64))
    assert pasted.shape == (5, 1, 48, 64)
    for mask, box, ours in zip(masks, boxes, pasted, strict=True):
        expected = torch.zeros(48, 64)
        half = (box[2:] - box[:2]) / 2 * 30 / 28
        centre = (box[2:] + box[:2]) / 2
        (x1, y1), (x2, y2) = (centre - half).long().tolist(), (centre + half).long().tolist()
        size = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        enlarged = F.interpolate(F.pad(mask, (1, 1, 1, 1))[None], size=size, mode="bilinear", align_corners=False)[0, 0]
        for y in range(max(y1, 0), min(y1 + size[0], 48)):
            for x in range(max(x1, 0), min(x1 + size[1], 64)):
                expected[y, x] = enlarged[y - y1, x - x1]
        torch.testing.assert_close(ours[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_pasting_masks_of_other_types(dtype, together):
    """Masks keep the type of the model and lose no more than its digits; doubles stay doubles throughout."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(3, 1, 28, 28, generator=generator).to(dtype)
    boxes = torch.tensor([[10.25, 5.75, 40.5, 30.0], [-20.5, -8.25, 12, 60], [0, 0, 3000, 2000]])
    expected = paste_masks_in_image(masks.double(), boxes.double(), (48, 64))
    pasted = paste_masks_in_image(masks.requires_grad_(together), boxes, (48, 64))
    assert pasted.dtype == dtype
    torch.testing.assert_close(
        pasted.double(), expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 4 * torch.finfo(dtype).eps
    )
