"""Optical flow: where each pixel of an image moves to in the next one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from PIL import Image
from torch import Tensor

from zoo_core.data import Dataset
from zoo_core.drawing import draw_flow
from zoo_core.graphs import Example
from zoo_core.tasks import Sample, Score, Task, example_images
from zoo_core.training.recipes import Recipe
from zoo_flow.data import open_flow_data
from zoo_flow.flo import read_flow, write_flo
from zoo_flow.padding import Padding

if TYPE_CHECKING:
    from zoo_flow.training import FlowTraining

__all__ = ["EndPointError", "Flow", "OpticalFlowTask", "Pair"]

_DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")


class Pair(NamedTuple):
    """Two RGB images of the same size, the second taken after the first."""

    first: Image.Image
    second: Image.Image


@dataclass(frozen=True)
class Flow:
    """The motion from the first image of a pair to the second.

    Args:
        vectors: float32 Tensor[2, H, W] on the CPU: the displacement of each pixel to the right and down, in pixels.
    """

    vectors: Tensor

    @property
    def lengths(self) -> Tensor:
        """The length of each pixel's displacement in pixels, float32 Tensor[H, W]."""
        return self.vectors.square().sum(dim=0).sqrt()


class OpticalFlowTask(Task[tuple[Image.Image, Image.Image], Flow]):
    """Finds the motion between two images, of any size: they are padded to one that RAFT takes."""

    @property
    def forward_arguments(self) -> Mapping[str, Any]:
        return {"num_flow_updates": self.options["updates"], "last_only": True}

    def prepare(self, input: tuple[Image.Image, Image.Image]) -> Sample:
        first, second = input
        if first.size != second.size:
            raise ValueError(
                "the two images of a pair must have the same size, unlike "
                f"{first.width}x{first.height} and {second.width}x{second.height}"
            )
        padding = Padding(first.height, first.width)
        return tuple(padding.pad(image[None])[0] for image in super().prepare(input))

    def result(self, output: Sequence[Tensor], input: tuple[Image.Image, Image.Image]) -> Flow:
        padding = Padding(input[0].height, input[0].width)
        return Flow(padding.crop(output[-1]).float().cpu())

    def describe(self, result: Flow) -> list[str]:
        lengths = result.lengths
        x, y = result.vectors.mean(dim=(1, 2)).tolist()
        mean = f"mean motion {lengths.mean():.2f} px"
        # Motion that cancels out has no direction.
        if math.hypot(x, y) > 0.25 * float(lengths.mean()) and math.hypot(x, y) >= 0.05:
            mean += f", on the whole {_DIRECTIONS[round(math.atan2(y, x) / (math.pi / 4)) % 8]}"
        moving = 100 * float((lengths > 1).float().mean())
        return [mean, f"largest motion {lengths.max():.2f} px", f"{moving:.0f}% of the pixels move by more than 1 px"]

    def draw(self, input: tuple[Image.Image, Image.Image], result: Flow) -> Image.Image:
        return draw_flow(input[0], result.vectors, self.options["max_motion"])

    def draw_frame(self, input: tuple[Image.Image, Image.Image], result: Flow) -> Image.Image:
        """The frame and its flow beside each other."""
        return draw_flow(input[0], result.vectors, self.options["max_motion"], enlarge=False)

    def files(self, result: Flow) -> Mapping[str, Callable[[Path], None]]:
        return {".flo": lambda path: write_flo(result.vectors, path)} if self.options["flo"] else {}

    def record(self, result: Flow) -> dict[str, Any]:
        lengths = result.lengths
        return {
            "height": result.vectors.shape[1],
            "width": result.vectors.shape[2],
            "mean_vector": result.vectors.mean(dim=(1, 2)).tolist(),
            "mean_length": float(lengths.mean()),
            "max_length": float(lengths.max()),
        }

    def example(self, size: Sequence[int] | None = None, batch_size: int = 1) -> Example:
        """Two batches of images, whose height and width are multiples of 8 and at least 128."""
        height, width = (256, 320) if size is None else self.check_size(size, ("height", "width"))
        if (padded := Padding(height, width)).left + padded.right + padded.top + padded.bottom:
            raise ValueError(f"the size must be multiples of 8, at least 128, not {height} x {width}")
        first, second = (
            2 * example_images(self.preprocess, batch_size, height, width, seed=0).roll(motion, (-2, -1)) - 1
            for motion in ((0, 0), (2, 3))
        )
        return Example(
            (first, second),
            names=("image1", "image2"),
            dynamic=({0: "batch", 2: "height", 3: "width"},) * 2,
            output_name="flow",
            forward_arguments=self.forward_arguments,
        )

    def example_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Multiples of 8."""
        height, width = size
        return [(max(height - 64, 128), width + 24), (height + 40, max(width - 72, 128))]

    def check_truth(self, input: tuple[Image.Image, Image.Image], truth: Tensor) -> None:
        if tuple(truth.shape[1:]) != (input[0].height, input[0].width):
            raise ValueError(
                f"the true flow has {truth.shape[2]} x {truth.shape[1]} pixels, and the images "
                f"{input[0].width} x {input[0].height}"
            )

    def score(self) -> "EndPointError":
        return EndPointError()

    def samples(self, folder: Path, split: str | None = None, annotations: Path | None = None) -> Dataset:
        """Sintel, KITTI, FlyingChairs or own pairs; see :func:`~zoo_flow.data.open_flow_data`.

        ``split`` may be ``"clean"`` or ``"final"``, Sintel's passes.
        """
        if annotations is not None:
            raise ValueError("annotations: true flow lies in files of its own, and there is no such file")
        return open_flow_data(folder, split)

    def training(self, recipe: Recipe) -> "FlowTraining":
        """Scales, crops, flips and colours of pairs; the sequence loss."""
        from zoo_flow.training import FlowTraining

        return FlowTraining(self, recipe)


class EndPointError(Score[Flow]):
    """Distances between flow and truth, over the pixels of all pairs whose truth is known.

    ``epe`` is the mean in pixels, and ``per_image_epe`` the mean of the means of the pairs, as some publish it;
    ``1px``, ``3px`` and ``5px`` are the shares, in percent, of pixels that are off by less; ``fl_all`` is KITTI's share
    of outliers, which are off by 3 pixels and by 5 % of the true length at least.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pixels = 0
        # One sum a pair: math.fsum() of them is exact, whatever their order.
        self._distances: list[float] = []
        self._means: list[float] = []
        self._within = dict.fromkeys((1, 3, 5), 0)
        self._outliers = 0

    def contribution(self, result: Flow, truth: Tensor | str | Path) -> dict[str, Any]:
        """How far one result is off.

        Args:
            result: what the model found.
            truth: Tensor[2, H, W] in pixels, NaN where unknown; or a path, of a `.flo` file or of KITTI's PNG.

        Returns:
            ``pixels`` of known flow, the sum of their ``distances`` in pixels, how many are ``within`` 1, 3 and 5
            pixels, and how many are ``outliers``.

        Raises:
            ValueError: the truth has another shape.
        """
        flow = truth if isinstance(truth, Tensor) else read_flow(truth)
        if flow.shape != result.vectors.shape:
            raise ValueError(f"the true flow must have the shape {list(result.vectors.shape)}, not {list(flow.shape)}")
        flow = flow.float().cpu()
        known = flow.isfinite().all(dim=0)
        error = (result.vectors - flow).square().sum(dim=0).sqrt()[known]
        length = flow.square().sum(dim=0).sqrt()[known]
        return {
            "pixels": error.numel(),
            "distances": float(error.double().sum()),
            "within": [int((error < limit).sum()) for limit in self._within],
            "outliers": int(((error >= 3) & (error >= 0.05 * length)).sum()),
        }

    def _add(self, index: int, contribution: Mapping[str, Any]) -> None:
        pixels, distances, outliers = (contribution[key] for key in ("pixels", "distances", "outliers"))
        within = dict(zip(self._within, contribution["within"], strict=True))
        self._pixels += pixels
        self._outliers += outliers
        for limit, count in within.items():
            self._within[limit] += count
        if pixels:
            self._distances.append(distances)
            self._means.append(distances / pixels)

    def _merge(self, other: Self) -> None:
        self._pixels += other._pixels
        self._distances += other._distances
        self._means += other._means
        for limit in self._within:
            self._within[limit] += other._within[limit]
        self._outliers += other._outliers

    def compute(self) -> dict[str, float]:
        if not self._pixels:
            raise ValueError("no pixel of known flow was taken yet, so there is no error")
        within = {f"{limit}px": 100 * count / self._pixels for limit, count in self._within.items()}
        epe = math.fsum(self._distances) / self._pixels
        per_image = math.fsum(self._means) / len(self._means)
        return {"epe": epe, "per_image_epe": per_image} | within | {"fl_all": 100 * self._outliers / self._pixels}
