"""Checks of the images and targets that detectors are given, with errors that name the image and the object."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo_detection.precision import in_single_or_better

__all__ = ["check_images", "check_labels", "checked_targets", "sizes_of"]


_TO_TENSOR = (
    "the weights' transforms() make one of an image, and so does "
    "torch.from_numpy(numpy.array(image)).permute(2, 0, 1).float().div(255) of an RGB image"
)


def check_images(images: Sequence[Tensor]) -> None:
    """Checks that the images are Tensor[C, H, W] of a floating dtype.

    Raises:
        ValueError: a wrong shape, or no image at all.
        TypeError: not a list of tensors, or a wrong dtype.
    """
    if torch.compiler.is_compiling():
        return
    if not isinstance(images, Sequence | Tensor):
        raise TypeError(f"images must be a list of Tensor[C, H, W], not {type(images).__name__}; {_TO_TENSOR}")
    if len(images) == 0:
        raise ValueError("there are no images; give a list of at least one Tensor[C, H, W]")
    for index, image in enumerate(images):
        if not isinstance(image, Tensor):
            raise TypeError(f"images[{index}] must be a Tensor[C, H, W], not {type(image).__name__}; {_TO_TENSOR}")
        if image.ndim != 3 or image.numel() == 0:
            hint = "; put it into a list" if isinstance(images, Tensor) and images.ndim == 3 else ""
            raise ValueError(
                f"images[{index}] must be one image, Tensor[C, H, W] that is not empty, not shape "
                f"{list(image.shape)}{hint}"
            )
        if not image.is_floating_point():
            raise TypeError(
                f"images[{index}] must have values in [0, 1] of a floating dtype, not {image.dtype}; convert it as the "
                "weights' transforms() do"
            )


def sizes_of(images: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Height and width of each image."""
    return [(image.shape[-2], image.shape[-1]) for image in images]


def checked_targets(
    images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None
) -> list[dict[str, Tensor]]:
    """Checks the objects of each image: boxes and labels, and masks and keypoints where there are any.

    Args:
        images: as for :func:`check_images`, which has passed.
        targets: for each image ``boxes`` (Tensor[N, 4] of any real dtype), ``labels`` (Tensor[N] of any integer dtype),
            perhaps ``masks`` (Tensor[N, H, W]) and ``keypoints`` (Tensor[N, K, 3] of any real dtype), and others.

    Returns:
        The targets with boxes and keypoints of a floating dtype of at least single precision, and int64 labels.

    Raises:
        ValueError: something is missing, has a wrong shape, lies on another device than the image, or a box is empty or
            not finite.
        TypeError: a wrong type or dtype.
    """
    if targets is None:
        raise ValueError(
            "in training mode a detector needs targets, a dict with boxes and labels for each image; call model.eval() "
            "for detections"
        )
    if len(targets) != len(images):
        raise ValueError(f"there must be one target per image, but there are {len(targets)} for {len(images)} images")
    return [_checked(index, *pair) for index, pair in enumerate(zip(images, targets, strict=True))]


def _checked(index: int, image: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(target, Mapping):
        raise TypeError(f"targets[{index}] must be a dict with boxes and labels, not {type(target).__name__}")
    missing = [key for key in ("boxes", "labels") if key not in target]
    if missing:
        raise ValueError(f"targets[{index}] lacks {' and '.join(missing)}; it has {', '.join(target) or 'nothing'}")
    target = dict(target)
    target["boxes"] = _checked_boxes(index, target["boxes"])
    count = len(target["boxes"])
    target["labels"] = _checked_labels(index, target["labels"], count)
    if "masks" in target:
        size = tuple(image.shape[-2:])
        _check_shape(index, "masks", target["masks"], (count, *size), "[N, H, W] of the image's size")
    if "keypoints" in target:
        target["keypoints"] = _checked_keypoints(index, target["keypoints"], count)
    for key in ("boxes", "labels", "masks", "keypoints"):
        if key in target and target[key].device != image.device:
            raise ValueError(
                f"{key} of targets[{index}] are on {target[key].device}, but the image is on {image.device}; move them "
                "there"
            )
    return target


def _real(name: str, values: Tensor) -> Tensor:
    """Of a floating dtype that can tell the pixels of large images apart."""
    if values.is_complex():
        raise TypeError(f"{name} must be of a real dtype, not {values.dtype}")
    return in_single_or_better(values)


def _checked_boxes(index: int, boxes: object) -> Tensor:
    name = f"boxes of targets[{index}]"
    if not isinstance(boxes, Tensor):
        raise TypeError(f"{name} must be a Tensor[N, 4], not {type(boxes).__name__}")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape [N, 4], not {list(boxes.shape)}; use torch.zeros(0, 4) for no object")
    boxes = _real(name, boxes)
    wrong = ~((boxes[:, 2:] > boxes[:, :2]).all(1) & boxes.isfinite().all(1))
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"box {first} of targets[{index}] is {boxes[first].tolist()}: boxes are [x1, y1, x2, y2], finite, with a "
            "positive width and height; remove the box or correct it"
        )
    return boxes


def _checked_labels(index: int, labels: Tensor, count: int) -> Tensor:
    _check_shape(index, "labels", labels, (count,), "[N]")
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"labels of targets[{index}] must be of an integer dtype such as int64, not {labels.dtype}; convert them "
            "with labels.long()"
        )
    return labels.to(torch.int64)


def _check_shape(index: int, key: str, value: object, shape: tuple[int, ...], meaning: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{key} of targets[{index}] must be a tensor, not {type(value).__name__}")
    if tuple(value.shape) != shape:
        raise ValueError(
            f"{key} of targets[{index}] must have shape {meaning}, here {list(shape)}, not {list(value.shape)}"
        )


def _checked_keypoints(index: int, keypoints: object, count: int) -> Tensor:
    name = f"keypoints of targets[{index}]"
    if not isinstance(keypoints, Tensor):
        raise TypeError(f"{name} must be a Tensor[N, K, 3], not {type(keypoints).__name__}")
    if keypoints.ndim != 3 or keypoints.shape[0] != count or keypoints.shape[2] != 3:
        raise ValueError(
            f"{name} must have shape [N, K, 3] with x, y and visibility, here [{count}, K, 3], not "
            f"{list(keypoints.shape)}"
        )
    return _real(name, keypoints)


def check_labels(targets: Sequence[dict[str, Tensor]], num_classes: int, *, background: bool) -> None:
    """Checks that the labels are classes of the model.

    Args:
        targets: from :func:`checked_targets`.
        num_classes: the number of classes of the model, the background's included where it has one.
        background: class 0 is the background, and no label of an object.

    Raises:
        ValueError: a label is none of them.
    """
    least = 1 if background else 0
    for index, target in enumerate(targets):
        labels = target["labels"]
        wrong = (labels < least) | (labels >= num_classes)
        if wrong.any():
            first = int(wrong.nonzero()[0])
            hint = ", and 0 is the background" if background else ""
            raise ValueError(
                f"the label of box {first} of targets[{index}] is {int(labels[first])}, but this model knows labels "
                f"from {least} to {num_classes - 1}{hint}; correct it, or build the model with another num_classes"
            )
