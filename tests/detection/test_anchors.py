"""Anchors and default boxes on cases that were worked out by hand, and what is kept of them."""

import copy
import pickle

import pytest
import torch

from zoo_detection import AnchorGenerator, DefaultBoxGenerator, ImageList
from zoo_detection.box_coding import BoxCoder


def batch(height, width, count=1):
    return ImageList(torch.zeros(count, 3, height, width), [(height, width)] * count)


def test_anchors_by_hand():
    """Size 4 at height over width 0.25 and 1 is 8x2 and 4x4; a 1x2 map on an image of 8x20 has strides 8 and 10."""
    generator = AnchorGenerator(((4,),), ((0.25, 1.0),))
    assert generator.num_anchors_per_location() == [2]
    (anchors,) = generator(batch(8, 20), [torch.zeros(1, 5, 1, 2)])
    assert anchors.tolist() == [
        [-4.0, -1.0, 4.0, 1.0],
        [-2.0, -2.0, 2.0, 2.0],
        [6.0, -1.0, 14.0, 1.0],
        [8.0, -2.0, 12.0, 2.0],
    ]


def test_default_boxes_by_hand():
    """One map of 1x2 at scale 0.5, the next scale being 0.98: squares of 0.5 and 0.7, and 2:1 in both directions."""
    generator = DefaultBoxGenerator([[4]], scales=[0.5, 0.98], clip=False)
    assert generator.num_anchors_per_location() == [4]
    (boxes,) = generator(batch(100, 200), [torch.zeros(1, 5, 1, 2)])
    first = [[0, 25, 100, 75], [-20, 15, 120, 85], [-50, 37.5, 150, 62.5], [25, 0, 75, 100]]
    second = [[x1 + 100, y1, x2 + 100, y2] for x1, y1, x2, y2 in first]
    torch.testing.assert_close(boxes[4:], torch.tensor(second, dtype=torch.float32) + 0.0)
    torch.testing.assert_close(boxes[:4], torch.tensor(first, dtype=torch.float32))


def test_default_boxes_with_steps_and_clipping():
    generator = DefaultBoxGenerator([[]], scales=[0.9, 1.6], steps=[40], clip=True)
    (boxes,) = generator(batch(80, 80), [torch.zeros(1, 5, 1, 1)])
    # The centre is half a step from the corner; sqrt(0.9 * 1.6) = 1.2 is cut to 1.
    torch.testing.assert_close(boxes, torch.tensor([[-16.0, -16.0, 56.0, 56.0], [-20.0, -20.0, 60.0, 60.0]]))


@pytest.mark.parametrize(
    "generator", [AnchorGenerator(((16,),), ((1.0,),)), DefaultBoxGenerator([[2]], scales=[0.1, 0.2])]
)
def test_boxes_are_kept_for_the_last_shapes_only(generator):
    first = generator(batch(32, 32), [torch.zeros(1, 1, 2, 2)])[0]
    assert generator(batch(32, 32, count=3), [torch.zeros(3, 1, 2, 2)])[2] is first
    for size in range(3, 30):
        generator(batch(32, 32), [torch.zeros(1, 1, size, size)])
    assert len(generator._cache) <= 4
    assert generator(batch(32, 32), [torch.zeros(1, 1, 2, 2)])[0] is not first
    assert not pickle.loads(pickle.dumps(generator))._cache
    assert not copy.deepcopy(generator)._cache


def test_boxes_made_in_inference_mode_serve_training():
    generator = AnchorGenerator(((16,),), ((1.0,),))
    with torch.inference_mode():
        generator(batch(32, 32), [torch.zeros(1, 1, 2, 2)])
    anchors = generator(batch(32, 32), [torch.zeros(1, 1, 2, 2)])[0]
    offsets = torch.zeros(4, 4, requires_grad=True)
    BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(offsets, anchors).sum().backward()
    assert offsets.grad is not None


def test_anchors_of_half_precision_maps_are_exact():
    generator = AnchorGenerator(((16,),), ((1.0,),))
    anchors = generator(batch(8, 8192), [torch.zeros(1, 1, 1, 1024, dtype=torch.bfloat16)])[0]
    assert anchors.dtype == torch.float32
    assert anchors[-1].tolist() == [8184.0 - 8, -8.0, 8184.0 + 8, 8.0]


def test_wrong_number_of_feature_maps():
    with pytest.raises(ValueError, match="for 1 feature maps, but got 2"):
        AnchorGenerator(((16,),), ((1.0,),))(batch(32, 32), [torch.zeros(1, 1, 2, 2)] * 2)
    with pytest.raises(ValueError, match="1 sizes and 2 aspect ratios"):
        AnchorGenerator(((16,),), ((1.0,), (2.0,)))
    with pytest.raises(ValueError, match="one step for each of the 2"):
        DefaultBoxGenerator([[2], [2]], steps=[8])
