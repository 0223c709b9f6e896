"""Boxes as offsets from reference boxes, on cases that were worked out by hand."""

import math

import pytest
import torch

from zoo_detection.box_coding import BoxCoder, BoxLinearCoder


def test_box_coder_by_hand():
    """From (0, 0, 10, 20), centre (5, 10), to (4, 6, 24, 16), centre (14, 11)."""
    box, target = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[4.0, 6.0, 24.0, 16.0]])
    expected = torch.tensor([[10 * 0.9, 10 * 0.05, 5 * math.log(2), 5 * math.log(0.5)]])
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(coder.encode_single(target, box), expected)
    torch.testing.assert_close(coder.decode_single(expected, box), target)
    both = coder.decode(torch.cat((expected, torch.zeros(1, 4)), 1), [box])
    torch.testing.assert_close(both, torch.stack((target, box), 1))


def test_box_coder_limits_growth():
    decoded = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(
        torch.tensor([[0.0, 0.0, 100.0, 0.0]]), torch.tensor([[0.0, 0.0, 16.0, 2.0]])
    )
    torch.testing.assert_close(decoded, torch.tensor([[8 - 500.0, 0.0, 8 + 500.0, 2.0]]))


def test_box_coder_round_trip():
    generator = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(200, 2, generator=generator)
    boxes = torch.cat((corner, corner + 1 + 50 * torch.rand(200, 2, generator=generator)), 1)
    anchors = boxes.flip(0)
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    decoded = coder.decode_single(coder.encode_single(boxes, anchors), anchors)
    torch.testing.assert_close(decoded, boxes, rtol=1e-4, atol=1e-3)


def test_half_precision_offsets_give_single_precision_boxes():
    decoded = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(
        torch.zeros(1, 4, dtype=torch.bfloat16), torch.tensor([[1001.0, 0.0, 1333.0, 17.0]])
    )
    assert decoded.tolist() == [[1001.0, 0.0, 1333.0, 17.0]]


@pytest.mark.parametrize(("normalize", "expected"), [(True, [0.1, 0.2, 1.9, 0.3]), (False, [1.0, 4.0, 19.0, 6.0])])
def test_linear_coder_by_hand(normalize, expected):
    """From the centre (5, 10) of (0, 0, 10, 20) to the sides of (4, 6, 24, 16)."""
    box, target = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[4.0, 6.0, 24.0, 16.0]])
    coder = BoxLinearCoder(normalize_by_size=normalize)
    codes = torch.tensor([expected])
    torch.testing.assert_close(coder.encode(target, box), codes)
    torch.testing.assert_close(coder.decode(codes, box), target)
