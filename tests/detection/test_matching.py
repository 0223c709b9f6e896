"""Matching, sampling, box coding and anchors on cases that were worked out by hand."""

import copy
import math
import pickle

import pytest
import torch

from zoo_detection import AnchorGenerator, DefaultBoxGenerator, ImageList
from zoo_detection.box_coding import BoxCoder, BoxLinearCoder
from zoo_detection.matching import BalancedPositiveNegativeSampler, Matcher, SSDMatcher

# Two objects, five predictions.
QUALITY = torch.tensor(
    [
        [0.9, 0.35, 0.1, 0.0, 0.55],
        [0.2, 0.40, 0.2, 0.0, 0.50],
    ]
)


def test_matcher_thresholds():
    matches = Matcher(0.5, 0.3)(QUALITY)
    assert matches.tolist() == [0, Matcher.BETWEEN_THRESHOLDS, Matcher.BELOW_LOW_THRESHOLD, -1, 0]


def test_matcher_counts_the_thresholds_themselves_as_reached():
    matches = Matcher(0.5, 0.3)(torch.tensor([[0.5, 0.3, 0.29999]]))
    assert matches.tolist() == [0, Matcher.BETWEEN_THRESHOLDS, Matcher.BELOW_LOW_THRESHOLD]


def test_matcher_keeps_the_best_prediction_of_each_object():
    """The second object's best prediction keeps its own best object, which is the first one."""
    matches = Matcher(0.7, 0.6, allow_low_quality_matches=True)(QUALITY)
    assert matches.tolist() == [0, -1, -1, -1, 0]


def test_matcher_keeps_all_predictions_that_tie_for_best():
    matches = Matcher(0.7, 0.6, allow_low_quality_matches=True)(torch.tensor([[0.1, 0.4, 0.4, 0.2]]))
    assert matches.tolist() == [-1, 0, 0, -1]


@pytest.mark.parametrize("matcher", [Matcher(0.7, 0.3, allow_low_quality_matches=True), SSDMatcher(0.5)])
def test_matchers_without_objects_or_predictions(matcher):
    assert matcher(torch.zeros(0, 3)).tolist() == [-1, -1, -1]
    assert matcher(torch.zeros(2, 0)).tolist() == []


def test_matcher_refuses_thresholds_in_the_wrong_order():
    with pytest.raises(ValueError, match=r"0\.7 must not be above high_threshold 0\.3"):
        Matcher(0.3, 0.7)


def test_ssd_matcher_gives_each_object_its_best_prediction():
    quality = torch.tensor([[0.9, 0.6, 0.1, 0.2], [0.8, 0.1, 0.1, 0.3]])
    # The second object takes prediction 0, which overlaps the first one more.
    assert SSDMatcher(0.5)(quality).tolist() == [1, 0, -1, -1]


def test_sampler_draws_the_share_it_is_asked_for():
    labels = torch.tensor([1.0] * 30 + [0.0] * 60 + [-1.0] * 10)
    positive, negative = BalancedPositiveNegativeSampler(40, 0.25)([labels])
    assert positive[0].sum() == 10
    assert negative[0].sum() == 30
    assert (labels[positive[0]] == 1).all()
    assert (labels[negative[0]] == 0).all()


def test_sampler_fills_up_with_background():
    labels = torch.tensor([1.0] * 3 + [0.0] * 60)
    positive, negative = BalancedPositiveNegativeSampler(40, 0.5)([labels, torch.full((5,), -1.0)])
    assert [mask.sum().item() for mask in positive] == [3, 0]
    assert [mask.sum().item() for mask in negative] == [37, 0]


def test_sampler_is_deterministic_and_draws_at_random():
    labels = torch.cat((torch.ones(100), torch.zeros(100)))
    sampler = BalancedPositiveNegativeSampler(20, 0.5)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(sampler([labels])[0][0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


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
