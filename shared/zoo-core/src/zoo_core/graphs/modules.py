"""What is put around a model to be exported: normalisation, and detections of a fixed number."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core import presets

__all__ = ["FixedDetections", "Normalization", "WithNormalization"]


class Normalization(nn.Module):
    """Levels of pixels, uint8 in 0..255, to what a model takes; what a preset does after resizing and cropping.

    Args:
        mean, std: of each channel, for values in [0, 1].
        dim: which dimension of a batch has the channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], dim: int = 1) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    @classmethod
    def of(cls, preset: Any) -> "Normalization":
        """That of a preset.

        Raises:
            ValueError: it is of a kind that is not known.
        """
        if isinstance(preset, presets.ObjectDetection):
            return cls((0.0,), (1.0,))
        if isinstance(preset, presets.OpticalFlow):
            return cls((0.5,), (0.5,))
        mean, std = getattr(preset, "mean", None), getattr(preset, "std", None)
        if mean is None or std is None:
            raise ValueError(f"a {type(preset).__name__} says nothing of how pixels are normalised")
        return cls(mean, std)

    def forward(self, levels: Tensor) -> Tensor:
        """uint8 Tensor[N, C, ...] -> float32 Tensor[N, C, ...]."""
        mean, std = (self._along(statistic, levels.ndim) for statistic in (self.mean, self.std))
        return (levels.to(torch.float32) / 255 - mean) / std

    def levels(self, values: Tensor) -> Tensor:
        """What gives these values: float32 Tensor[N, C, ...] -> uint8 Tensor[N, C, ...]."""
        mean, std = (self._along(statistic, values.ndim) for statistic in (self.mean, self.std))
        return ((values * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def _along(self, statistic: Tensor, ndim: int) -> Tensor:
        return statistic.reshape([-1 if dim == self.dim else 1 for dim in range(ndim)])


class WithNormalization(nn.Module):
    """A model that takes levels of pixels.

    Args:
        model: takes normalised batches, or lists of images of which detectors take some.
        normalization: of its inputs.
    """

    def __init__(self, model: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self.normalization = normalization

    def forward(self, *inputs: Tensor | Sequence[Tensor], **arguments: Any) -> Any:
        """As the model, of uint8 tensors."""
        normalised = (
            self.normalization(value)
            if isinstance(value, Tensor)
            else [self.normalization(image[None])[0] for image in value]
            for value in inputs
        )
        return self.model(*normalised, **arguments)


class FixedDetections(nn.Module):
    """A detector whose outputs have one size, whatever it finds: rows of zeros follow the detections.

    Args:
        model: a detector.
        most: how many detections there are for each image; of more than these, those with the best scores.
    """

    COUNT = "num_detections"

    def __init__(self, model: nn.Module, most: int) -> None:
        super().__init__()
        self.model = model
        self.most = most

    def forward(self, images: Sequence[Tensor], **arguments: Any) -> dict[str, Tensor]:
        """The detector's outputs by name, Tensor[N, most, ...], and their number, int64 Tensor[N]."""
        found: Sequence[Mapping[str, Tensor]] = self.model(images, **arguments)
        padded = {
            name: torch.stack([self._fixed(item[name]) for item in found]) for name in (found[0] if found else ())
        }
        numbers = torch.stack([self._count(item["scores"]) for item in found])
        return {**padded, self.COUNT: numbers}

    def _fixed(self, rows: Tensor) -> Tensor:
        padding = rows.new_zeros((self.most, *rows.shape[1:]))
        return torch.cat((rows, padding))[torch.arange(self.most, device=rows.device)]

    def _count(self, rows: Tensor) -> Tensor:
        # Of ones, since the size itself is no tensor.
        ones = torch.ones_like(rows, dtype=torch.int64)
        return ones.sum().clamp(max=self.most)
