"""Boxes as offsets from reference boxes, which is what detectors learn to predict."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_detection.precision import single_or_better

__all__ = ["BoxCoder", "BoxLinearCoder"]


class BoxCoder:
    """Shift of the centre relative to the reference box, and logarithms of the ratios of the sides.

    Equations 6 and 7 of `Rich feature hierarchies (R-CNN) <https://arxiv.org/abs/1311.2524>`__. A proposal of 10x20
    pixels with its centre at (5, 10), and a box of 20x10 with its centre at (15, 15): the centre moves by 10 / 10 of
    the width and 5 / 20 of the height, the width doubles (log 2 = 0.69) and the height halves.

    >>> coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    >>> proposal, box = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 10.0, 25.0, 20.0]])
    >>> coder.encode_single(box, proposal)
    tensor([[ 1.0000,  0.2500,  0.6931, -0.6931]])
    >>> coder.decode_single(torch.tensor([[1.0, 0.25, 0.0, 0.0]]), proposal)  # moved alone
    tensor([[10.,  5., 20., 25.]])

    Args:
        weights: factors for the offsets of x, y, width and height.
        bbox_xform_clip: greatest logarithm of a ratio when decoding.
    """

    def __init__(
        self, weights: tuple[float, float, float, float], bbox_xform_clip: float = math.log(1000.0 / 16)
    ) -> None:
        self.weights = weights
        self.bbox_xform_clip = bbox_xform_clip

    def encode(self, reference_boxes: Sequence[Tensor], proposals: Sequence[Tensor]) -> list[Tensor]:
        """The offsets of each image's boxes: see :meth:`encode_single`."""
        return [self.encode_single(boxes, from_) for boxes, from_ in zip(reference_boxes, proposals, strict=True)]

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """The offsets that lead from ``proposals`` to ``reference_boxes``; both and the result are Tensor[N, 4]."""
        from_sides = proposals[:, 2:] - proposals[:, :2]
        to_sides = reference_boxes[:, 2:] - reference_boxes[:, :2]
        shift = (reference_boxes[:, :2] + 0.5 * to_sides - proposals[:, :2] - 0.5 * from_sides) / from_sides
        weights = proposals.new_tensor(self.weights)
        return torch.cat((shift, torch.log(to_sides / from_sides)), 1) * weights

    def decode(self, rel_codes: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """The boxes that offsets lead to.

        Args:
            rel_codes: Tensor[N, 4 * K]: for each reference box the offsets to K boxes.
            boxes: the reference boxes of each image, N in all.

        Returns:
            Tensor[N, K, 4].
        """
        return self.decode_single(rel_codes, torch.cat(list(boxes))).unflatten(-1, (-1, 4))

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """The boxes that offsets lead to.

        Args:
            rel_codes: Tensor[N, 4 * K].
            boxes: Tensor[N, 4].

        Returns:
            Tensor[N, 4 * K], of at least single precision.
        """
        boxes = boxes.to(single_or_better(rel_codes.dtype))
        codes = rel_codes.to(boxes.dtype).unflatten(-1, (-1, 4)) / boxes.new_tensor(self.weights)
        sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
        centres = boxes[:, None, :2] + 0.5 * sides + codes[..., :2] * sides
        half = 0.5 * torch.exp(codes[..., 2:].clamp(max=self.bbox_xform_clip)) * sides
        return torch.cat((centres - half, centres + half), -1).flatten(1)


class BoxLinearCoder:
    """Distances of the four sides from the centre of the reference box.

    Equation 1 of `FCOS <https://arxiv.org/abs/1904.01355>`__. The reference box ``0, 0, 8, 8`` has its centre at
    (4, 4); the box ``2, 0, 12, 8`` has its sides 2, 4, 8 and 4 pixels from there:

    >>> reference, box = torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([[2.0, 0.0, 12.0, 8.0]])
    >>> BoxLinearCoder(normalize_by_size=False).encode(box, reference)
    tensor([[2., 4., 8., 4.]])
    >>> BoxLinearCoder(normalize_by_size=True).encode(box, reference)
    tensor([[0.2500, 0.5000, 1.0000, 0.5000]])

    Args:
        normalize_by_size: give distances relative to the sides of the reference box.
    """

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def encode(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """The distances left, top, right, bottom of ``reference_boxes`` from the centres of ``proposals``.

        Both and the result are Tensor[..., 4].
        """
        centres = 0.5 * (proposals[..., :2] + proposals[..., 2:])
        distances = torch.cat((centres - reference_boxes[..., :2], reference_boxes[..., 2:] - centres), -1)
        return distances / self._sizes(proposals) if self.normalize_by_size else distances

    def decode(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """The boxes at distances ``rel_codes`` from the centres of ``boxes``, both Tensor[..., 4], as is the result."""
        boxes = boxes.to(single_or_better(rel_codes.dtype))
        centres = 0.5 * (boxes[..., :2] + boxes[..., 2:])
        distances = rel_codes * self._sizes(boxes) if self.normalize_by_size else rel_codes
        return torch.cat((centres - distances[..., :2], centres + distances[..., 2:]), -1)

    @staticmethod
    def _sizes(boxes: Tensor) -> Tensor:
        sides = boxes[..., 2:] - boxes[..., :2]
        return torch.cat((sides, sides), -1)
