"""From images of any size to a batch for a detector, and from its results back to the images."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.sizes import floor, larger, ratio, smaller
from zoo_detection.image_list import ImageList
from zoo_detection.masks import crop_masks, paste_masks_in_image

__all__ = ["GeneralizedRCNNTransform", "resize_boxes", "resize_keypoints"]

# Of ImageNet, in RGB.
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class GeneralizedRCNNTransform(nn.Module):
    """Normalises and resizes images and their targets, pads them to a batch, and carries results back.

    An image is resized so that its shorter side is ``min_size``, or its longer side ``max_size`` if that makes it
    smaller. With 800 and 1333, one of 480x640 pixels grows by 800 / 480 to 800x1066, and is padded to 800x1088,
    multiples of 32; one of 400x1200 grows by 1333 / 1200 to 444x1333.

    Args:
        min_size: the shorter side in pixels. Of several, training draws one for each image, and eval takes the last.
        max_size: limit for the longer side.
        image_mean: mean of each channel, in the images' units, that is subtracted.
        image_std: what each channel is divided by then.
        size_divisible: height and width of the batch are multiples of it.
        fixed_size: width and height to resize to instead, whatever the image's aspect ratio.
        **kwargs: ``_skip_resize`` leaves sizes as they are in training mode.

    Raises:
        TypeError: there is no such argument.
    """

    def __init__(
        self,
        min_size: int | Sequence[int],
        max_size: int,
        image_mean: list[float],
        image_std: list[float],
        size_divisible: int = 32,
        fixed_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.min_size = tuple(min_size) if isinstance(min_size, list | tuple) else (min_size,)
        self.max_size = max_size
        self.image_mean = image_mean
        self.image_std = image_std
        self.size_divisible = size_divisible
        self.fixed_size = fixed_size
        self._skip_resize = kwargs.pop("_skip_resize", False)
        if kwargs:
            raise TypeError(f"unknown arguments {', '.join(sorted(kwargs))}")

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Makes a batch.

        Args:
            images: each Tensor[C, H, W] in [0, 1].
            targets: for each image a dict; ``boxes`` (Tensor[N, 4]), ``masks`` (Tensor[N, H, W]) and ``keypoints``
                (Tensor[N, K, 3]) are resized with it. Neither the dicts nor their tensors are changed.

        Returns:
            The batch, and the targets in its coordinates.
        """
        prepared: list[Tensor] = []
        new_targets: list[dict[str, Tensor]] | None = None if targets is None else []
        for index, image in enumerate(images):
            target = None if targets is None else targets[index]
            image, target = self.resize(self.normalize(image), target)
            prepared.append(image)
            if new_targets is not None and target is not None:
                new_targets.append(target)
        image_sizes = [(image.shape[-2], image.shape[-1]) for image in prepared]
        return ImageList(self.batch_images(prepared, self.size_divisible), image_sizes), new_targets

    def normalize(self, image: Tensor) -> Tensor:
        """Subtracts the mean from each channel and divides by the deviation.

        Raises:
            ValueError: the image has another number of channels.
            TypeError: it is not of a floating dtype.
        """
        if not image.is_floating_point():
            raise TypeError(f"images must be of a floating dtype with values in [0, 1], not {image.dtype}")
        channels = len(self.image_mean)
        if channels != 1 and image.shape[-3] != channels:
            raise ValueError(
                f"images must have {channels} channels, as image_mean has, not {image.shape[-3]}; a model for other "
                "images takes an image_mean and an image_std for each of their channels"
            )
        mean = torch.tensor(self.image_mean, dtype=image.dtype, device=image.device)
        std = torch.tensor(self.image_std, dtype=image.dtype, device=image.device)
        return (image - mean[:, None, None]) / std[:, None, None]

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resizes an image, and what its target has of boxes, masks and keypoints."""
        if self._skip_resize and self.training:
            return image, target
        old = (image.shape[-2], image.shape[-1])
        new = self._new_size(*old)
        image = F.interpolate(image[None], size=new, mode="bilinear", align_corners=False)[0]
        if target is None:
            return image, None
        target = dict(target)
        if "boxes" in target:
            target["boxes"] = resize_boxes(target["boxes"], old, new)
        if "masks" in target:
            masks = target["masks"]
            target["masks"] = F.interpolate(masks[:, None].float(), size=new)[:, 0].to(torch.uint8)
        if "keypoints" in target:
            target["keypoints"] = resize_keypoints(target["keypoints"], old, new)
        return image, target

    def _new_size(self, height: Any, width: Any) -> tuple[int, int]:
        if self.fixed_size is not None:
            return self.fixed_size[1], self.fixed_size[0]
        min_size = self.min_size[-1]
        if self.training and len(self.min_size) > 1:
            min_size = self.min_size[int(torch.empty(1).uniform_(0, len(self.min_size)))]
        scale = smaller(ratio(min_size, smaller(height, width)), ratio(self.max_size, larger(height, width)))
        # A long thin image keeps at least one pixel.
        return larger(floor(height * scale), 1), larger(floor(width * scale), 1)

    def batch_images(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        """Pads images with zeros, on the right and at the bottom, to one size of multiples of ``size_divisible``."""
        height, width = images[0].shape[-2:]
        for image in images[1:]:
            height, width = larger(height, image.shape[-2]), larger(width, image.shape[-1])
        height = (height + size_divisible - 1) // size_divisible * size_divisible
        width = (width + size_divisible - 1) // size_divisible * size_divisible
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return torch.stack([F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in images])
        batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
        for index, image in enumerate(images):
            batch[index, :, : image.shape[-2], : image.shape[-1]] = image
        return batch

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
        *,
        masks: str = "full",
    ) -> list[dict[str, Any]]:
        """Carries detections from the resized images to the original ones; masks become as large as the image.

        In training mode nothing is done.

        Args:
            result: for each image its detections; the dicts are changed.
            image_shapes: height and width of the resized images.
            original_image_sizes: height and width of the original ones.
            masks: ``"full"``, or ``"crops"`` for a :class:`~zoo_detection.mask_crops.MaskCrops` instead.
        """
        if self.training:
            return result
        for detections, new, old in zip(result, image_shapes, original_image_sizes, strict=True):
            detections["boxes"] = resize_boxes(detections["boxes"], new, old)
            if "masks" in detections:
                make: Any = crop_masks if masks == "crops" else paste_masks_in_image
                detections["masks"] = make(detections["masks"], detections["boxes"], old)
            if "keypoints" in detections:
                detections["keypoints"] = resize_keypoints(detections["keypoints"], new, old)
        return result

    def extra_repr(self) -> str:
        resize = f"fixed_size={self.fixed_size}" if self.fixed_size else f"{self.min_size=}, {self.max_size=}"
        return f"{resize.replace('self.', '')}, image_mean={self.image_mean}, image_std={self.image_std}"


def normalized_transform(
    min_size: int | Sequence[int],
    max_size: int,
    image_mean: list[float] | None,
    image_std: list[float] | None,
    **kwargs: Any,
) -> GeneralizedRCNNTransform:
    """The transform of a detector, which normalises as for ImageNet by default."""
    return GeneralizedRCNNTransform(
        min_size,
        max_size,
        list(IMAGE_MEAN) if image_mean is None else image_mean,
        list(IMAGE_STD) if image_std is None else image_std,
        **kwargs,
    )


def resize_boxes(boxes: Tensor, original_size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """Boxes, Tensor[N, 4], of an image that is resized from one (height, width) to another."""
    (height, width), (new_height, new_width) = original_size, new_size
    x, y = boxes[:, 0::2] * (new_width / width), boxes[:, 1::2] * (new_height / height)
    return torch.stack((x, y), -1).flatten(1)


def resize_keypoints(keypoints: Tensor, original_size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """Keypoints, Tensor[N, K, 3], of an image that is resized from one (height, width) to another."""
    (height, width), (new_height, new_width) = original_size, new_size
    x, y, visibility = keypoints.unbind(-1)
    return torch.stack((x * (new_width / width), y * (new_height / height), visibility), -1)
