"""Matching and sampling on cases that were worked out by hand."""

import pytest
import torch

from zoo_detection import box_iou
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


def test_matcher_as_its_docstring_shows():
    quality = torch.tensor([[0.9, 0.2, 0.5, 0.0], [0.1, 0.4, 0.6, 0.0]])
    assert Matcher(0.7, 0.3)(quality).tolist() == [0, -2, -2, -1]
    assert Matcher(0.7, 0.3, allow_low_quality_matches=True)(quality).tolist() == [0, -2, 1, -1]


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


def test_matching_uses_the_iou():
    """The quality that the matchers are given here is box_iou's: a third for two squares that share half."""
    quality = box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]]))
    assert quality.item() == pytest.approx(1 / 3)
