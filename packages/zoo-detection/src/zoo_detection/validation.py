"""Detections and losses of one pass, for validation while a detector is trained."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo_detection.dense import DenseDetector
from zoo_detection.generalized_rcnn import GeneralizedRCNN
from zoo_detection.roi_heads import RoIHeads
from zoo_detection.rpn import RegionProposalNetwork
from zoo_detection.targets import check_images, checked_targets

__all__ = ["detections_and_losses"]


def detections_and_losses(
    model: nn.Module,
    images: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    *,
    seed: int = 0,
    with_grad: bool = False,
    masks: str = "full",
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """What a detector finds, and the losses that it would be trained with, from one pass in eval mode.

    Batch normalisation uses its running statistics and leaves them as they are, and dropout does nothing. Where a
    two-stage detector draws the anchors and regions that it learns from, the draw comes from ``seed``, so that the
    losses of two epochs compare; torch's own generators stay as they were. All else is as in training mode: the losses
    equal those of training mode with the normalisation in eval mode, after ``torch.manual_seed(seed)``, where
    ``min_size`` is one number.

    Args:
        model: a detector of this package, in either mode, which it is in afterwards too; unwrapped
            (``parallel.module``).
        images: each Tensor[C, H, W] with values in [0, 1], of any size.
        targets: for each image what the detector learns from, as in training mode.
        seed: of what is drawn.
        with_grad: keep what gradients of the losses need. By default nothing requires gradients.
        masks: of a Mask R-CNN, ``"crops"`` for masks in their boxes alone, see :class:`~zoo_detection.MaskRCNN`.

    Returns:
        For each image a dict of its detections, as in eval mode; and the losses by name, as in training mode. Their sum
        is what training minimises.

    Raises:
        TypeError: ``model`` is no detector of this package, or has parts of somebody else's in it that do not say how
            proposals and losses come apart.
        ValueError: an image or a target is not as it should be; the message names it.

    Example::

        detections, losses = detections_and_losses(model, images, targets)
        loss += float(sum(losses.values()))
    """
    _check(model)
    if masks not in ("full", "crops"):
        raise ValueError(f"masks must be 'full' or 'crops', not {masks!r}")
    arguments = {"masks": masks} if isinstance(model, GeneralizedRCNN) else {}
    check_images(images)
    checked = checked_targets(images, targets)
    with _in_eval_mode(model), _drawing_from(seed, images), torch.set_grad_enabled(with_grad):
        return model._validate(images, checked, **arguments)  # type: ignore[operator]


def _check(model: nn.Module) -> None:
    if isinstance(model, DenseDetector):
        return
    if not isinstance(model, GeneralizedRCNN):
        raise TypeError(
            f"expected a detector of zoo_detection, not {type(model).__name__}; of a model that is wrapped or "
            "compiled, give the one inside (model.module, model._orig_mod)"
        )
    for part, kind in ((model.rpn, RegionProposalNetwork), (model.roi_heads, RoIHeads)):
        if not isinstance(part, kind):
            raise TypeError(f"the model has a {type(part).__name__} in the place of its {kind.__name__}")


@contextlib.contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _drawing_from(seed: int, images: Sequence[Tensor]) -> Iterator[None]:
    devices = {image.device for image in images if image.is_cuda}
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
