"""Which predictions learn from which objects, and which of them a training step looks at."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["BalancedPositiveNegativeSampler", "Matcher", "SSDMatcher"]


class Matcher:
    """Assigns to each prediction the object that it overlaps most, if it does so enough.

    From `Faster R-CNN <https://arxiv.org/abs/1506.01497>`__, section 3.1.2. Two objects and four predictions, of which
    the second and third are between the thresholds 0.7 and 0.3; the third is the best of the second object:

    >>> quality = torch.tensor([[0.9, 0.2, 0.5, 0.0],   # of the first object
    ...                         [0.1, 0.4, 0.6, 0.0]])  # of the second
    >>> Matcher(0.7, 0.3)(quality)
    tensor([ 0, -2, -2, -1])
    >>> Matcher(0.7, 0.3, allow_low_quality_matches=True)(quality)
    tensor([ 0, -2,  1, -1])

    Args:
        high_threshold: at least this quality makes a match.
        low_threshold: below it a prediction belongs to the background; in between it belongs to neither.
        allow_low_quality_matches: also let those predictions keep their best object that overlap an object at least as
            much as all others do, so that no object is left without prediction.

    Raises:
        ValueError: ``low_threshold`` is above ``high_threshold``.
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(self, high_threshold: float, low_threshold: float, allow_low_quality_matches: bool = False) -> None:
        if low_threshold > high_threshold:
            raise ValueError(f"low_threshold {low_threshold} must not be above high_threshold {high_threshold}")
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Matches.

        Args:
            match_quality_matrix: Tensor[M, N], how well each of M objects and N predictions fit (their IoU).

        Returns:
            int64 Tensor[N]: the index of the object, or ``BELOW_LOW_THRESHOLD`` or ``BETWEEN_THRESHOLDS``.
        """
        objects, predictions = match_quality_matrix.shape
        if objects == 0:
            return match_quality_matrix.new_full((predictions,), self.BELOW_LOW_THRESHOLD, dtype=torch.int64)
        quality, best = match_quality_matrix.max(dim=0)
        matches = best.masked_fill(quality < self.high_threshold, self.BETWEEN_THRESHOLDS)
        matches.masked_fill_(quality < self.low_threshold, self.BELOW_LOW_THRESHOLD)
        if self.allow_low_quality_matches and predictions:
            best_of_object = match_quality_matrix.max(dim=1, keepdim=True).values
            kept = (match_quality_matrix == best_of_object).any(dim=0)
            matches = torch.where(kept, best, matches)
        return matches


class SSDMatcher(Matcher):
    """Assigns like :class:`Matcher` with one threshold, and then to each object its best prediction.

    From `SSD <https://arxiv.org/abs/1512.02325>`__, section 2.2. The third prediction overlaps no object enough, but is
    the best of the second one:

    >>> quality = torch.tensor([[0.9, 0.2, 0.3],   # of the first object
    ...                         [0.1, 0.2, 0.4]])  # of the second
    >>> Matcher(0.5, 0.5)(quality), SSDMatcher(0.5)(quality)
    (tensor([ 0, -1, -1]), tensor([ 0, -1,  1]))

    Args:
        threshold: at least this quality makes a match.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold, threshold, allow_low_quality_matches=False)

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        matches = super().__call__(match_quality_matrix)
        objects, predictions = match_quality_matrix.shape
        if objects and predictions:
            best_of_object = match_quality_matrix.argmax(dim=1)
            # Where two objects share one best prediction, the later one gets it.
            for index, prediction in enumerate(best_of_object.tolist()):
                matches[prediction] = index
        return matches


class BalancedPositiveNegativeSampler:
    """Draws predictions at random, a given share of which are matched to objects as far as there are enough.

    Args:
        batch_size_per_image: how many to draw.
        positive_fraction: the share of matched ones. Where these are too few, others take their places.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction

    def __call__(self, matched_idxs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Draws.

        Args:
            matched_idxs: for each image Tensor[N]: positive for a match, 0 for the background, negative for predictions
                that are never drawn.

        Returns:
            For each image the masks, bool Tensor[N], of the matched and of the background predictions drawn.
        """
        matched, background = [], []
        for image in matched_idxs:
            positive, negative = torch.where(image >= 1)[0], torch.where(image == 0)[0]
            num_positive = min(positive.numel(), int(self.batch_size_per_image * self.positive_fraction))
            num_negative = min(negative.numel(), self.batch_size_per_image - num_positive)
            matched.append(_draw(positive, num_positive, image))
            background.append(_draw(negative, num_negative, image))
        return matched, background


def _draw(indices: Tensor, count: int, like: Tensor) -> Tensor:
    mask = torch.zeros_like(like, dtype=torch.bool)
    mask[indices[torch.randperm(indices.numel(), device=indices.device)[:count]]] = True
    return mask
