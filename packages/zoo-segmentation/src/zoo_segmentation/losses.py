"""The losses of segmentation models, also together with the scores of one pass, for validation during training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_segmentation.masks import VOID

__all__ = ["scores_and_losses", "segmentation_losses"]

# Of the loss of the auxiliary classifier.
_AUXILIARY_WEIGHT = 0.5


def segmentation_losses(
    outputs: Mapping[str, Tensor], truths: Tensor, *, label_smoothing: float = 0.0
) -> dict[str, Tensor]:
    """The mean cross-entropy over the pixels that count, as the published models were trained with.

    Args:
        outputs: what a model gives: the scores ``"out"``, Tensor[N, K, H, W], and perhaps those of the auxiliary
            classifier, ``"aux"``.
        truths: the class of each pixel, int64 Tensor[N, H, W]; 255 (void) for those that do not count.
        label_smoothing: share of the truth that is spread over all classes.

    Returns:
        The losses ``"out"`` and, where there are such scores, ``"aux"``, which has half the weight. Their sum is what
        training minimises. Zero where no pixel counts.
    """
    losses = {"out": _cross_entropy(outputs["out"], truths, label_smoothing)}
    if "aux" in outputs:
        losses["aux"] = _AUXILIARY_WEIGHT * _cross_entropy(outputs["aux"], truths, label_smoothing)
    return losses


def _cross_entropy(logits: Tensor, truths: Tensor, label_smoothing: float) -> Tensor:
    if not bool((truths != VOID).any()):
        return logits[:0].sum()  # zero, with a gradient; the mean over no pixel would be NaN
    if torch.are_deterministic_algorithms_enabled():  # torch has no such one for maps on GPUs
        logits, truths = logits.movedim(1, -1).flatten(0, 2), truths.flatten()
    return F.cross_entropy(logits, truths, ignore_index=VOID, label_smoothing=label_smoothing)


def scores_and_losses(
    model: nn.Module, images: Tensor, truths: Tensor, *, label_smoothing: float = 0.0, with_grad: bool = False
) -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
    """The scores of each pixel, and the losses that a model would be trained with, from one pass in eval mode.

    Batch normalisation uses its running statistics and leaves them as they are, and dropout does nothing; nothing is
    drawn at random.

    Args:
        model: a segmentation model, in either mode, which it is in afterwards too; it may be wrapped or compiled.
        images: normalised, Tensor[N, C, H, W].
        truths, label_smoothing: see :func:`segmentation_losses`; any dtype of integers will do.
        with_grad: keep what gradients of the losses need. By default nothing requires gradients.

    Returns:
        What the model gives in eval mode, and the losses by name.

    Raises:
        ValueError: ``truths`` have not the images' number and size, or a class that the model does not have.
        TypeError: ``truths`` are no integers, or the model is none of segmentation.
    """
    if truths.dtype.is_floating_point or truths.dtype.is_complex or truths.dtype == torch.bool:
        raise TypeError(f"truths must be of integers, the class of each pixel, not {truths.dtype}")
    if truths.shape != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"truths must have a class for each pixel, here shape {[images.shape[0], *images.shape[2:]]}, not "
            f"{list(truths.shape)}"
        )
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.set_grad_enabled(with_grad):
            outputs = model(images)
            if not isinstance(outputs, Mapping) or "out" not in outputs:
                raise TypeError(f"{type(model).__name__} is no segmentation model: it gives no scores 'out' of pixels")
            truths = _checked(truths.long(), outputs["out"].shape[1])
            return outputs, segmentation_losses(outputs, truths, label_smoothing=label_smoothing)
    finally:
        for module, training in modes:
            module.training = training


def _checked(truths: Tensor, classes: int) -> Tensor:
    wrong = truths[((truths < 0) | (truths >= classes)) & (truths != VOID)]
    if wrong.numel():
        raise ValueError(
            f"truths has the class {int(wrong[0])}, and the model has those from 0 to {classes - 1}; {VOID} stands for "
            "pixels that do not count"
        )
    return truths
