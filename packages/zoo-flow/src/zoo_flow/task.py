"""Optical flow on the command line: how far and whereto each pixel of a picture moves in the next one."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo_core.drawing import flow_to_image
from zoo_core.images import open_image, write_png
from zoo_core.tasks import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Option, Score, Task
from zoo_core.weights import WeightsEnum
from zoo_flow import video
from zoo_flow.flo import read_flo, write_flo
from zoo_flow.padding import Padding

__all__ = ["EndPointError", "Flow", "OpticalFlowTask", "Pair"]

_DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")


@dataclass(frozen=True)
class Pair:
    """Two RGB pictures of the same size, the second taken after the first."""

    first: Image.Image
    second: Image.Image


@dataclass(frozen=True)
class Flow:
    """The motion from the first picture of a pair to the second.

    Args:
        vectors: float32 Tensor[2, H, W] on the CPU: how far each pixel moves to the right and down, in pixels.
    """

    vectors: Tensor

    @property
    def lengths(self) -> Tensor:
        """How far each pixel moves, as float32 Tensor[H, W]."""
        return self.vectors.square().sum(dim=0).sqrt()


class OpticalFlowTask(Task[Pair, Flow]):
    """Runs RAFT on pairs of pictures, and on the frames of videos. Pictures of any size are padded to one it takes.

    Two pictures are a pair. More of them are the frames of a sequence, folder by folder: each makes a pair with the
    next one.
    """

    suffixes: ClassVar[frozenset[str]] = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    example_files: ClassVar[str] = "first.png second.png"
    extra_options: ClassVar[tuple[Option, ...]] = (
        Option("--flo", bool, False, "Write the flow as .flo files as well."),
        Option("--updates", int, 12, "How many times the flow is refined.", minimum=1),
        Option(
            "--max-motion",
            float,
            None,
            "Motion of so many pixels has the full colour; by default the largest in each picture has.",
            minimum=1e-3,
        ),
    )
    batch_size: ClassVar[int] = 1

    def __init__(
        self, model: nn.Module, weights: WeightsEnum, device: torch.device, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(model, weights, device, options)
        self._preprocess = weights.transforms()

    @classmethod
    def group(cls, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        groups: list[tuple[Path, ...]] = [(path,) for path in paths if _is_video(path)]
        pictures = [path for path in paths if not _is_video(path)]
        if len(pictures) == 2:
            return [*groups, (pictures[0], pictures[1])]
        folders: dict[Path, list[Path]] = {}
        for path in pictures:
            folders.setdefault(path.parent, []).append(path)
        for sequence in folders.values():
            if len(sequence) == 1:
                raise ValueError(f"{sequence[0]}: optical flow needs two pictures (or a video), and this one is alone")
            groups += itertools.pairwise(sequence)
        return groups

    def inputs(self, paths: tuple[Path, ...]) -> Iterator[Pair]:
        if len(paths) == 2:
            yield self.read(paths)
            return
        found = 0
        for first, second in itertools.pairwise(video.frames(paths[0])):
            yield Pair(first, second)
            found += 1
        if not found:
            raise ValueError(f"{paths[0]}: optical flow needs at least two frames, and this video has fewer")

    def count(self, paths: tuple[Path, ...]) -> int:
        return 1 if len(paths) == 2 else max(2, video.count_frames(paths[0]) - 1)

    def read(self, paths: tuple[Path, ...]) -> Pair:
        if len(paths) != 2:
            return next(self.inputs(paths))
        first, second = (open_image(path) for path in paths)
        if first.size != second.size:
            sizes = " and ".join(
                f"{path} ({p.width}x{p.height})" for path, p in zip(paths, (first, second), strict=True)
            )
            raise ValueError(f"the two pictures of a pair must have the same size, unlike {sizes}")
        return Pair(first, second)

    def run(self, inputs: Sequence[Pair]) -> list[Flow]:
        results: dict[int, Flow] = {}
        # Pairs of the same size go together.
        sizes: dict[tuple[int, int], list[int]] = {}
        for position, pair in enumerate(inputs):
            sizes.setdefault(pair.first.size, []).append(position)
        for (width, height), positions in sizes.items():
            padding = Padding(height, width)
            tensors = [self._preprocess(inputs[i].first, inputs[i].second) for i in positions]
            first, second = (padding.pad(torch.stack(part).to(self.device)) for part in zip(*tensors, strict=True))
            flow = self.model(first, second, num_flow_updates=self.options["updates"], last_only=True)[-1]
            flow = padding.crop(flow).float().cpu()
            if not flow.isfinite().all():
                raise ValueError(
                    f"{self.weights} gave a flow that is no numbers; are the weights damaged? Try `zoo verify`"
                )
            results |= {i: Flow(vectors) for i, vectors in zip(positions, flow, strict=True)}
        return [results[i] for i in range(len(inputs))]

    def describe(self, result: Flow) -> list[str]:
        lengths = result.lengths
        x, y = result.vectors.mean(dim=(1, 2)).tolist()
        mean = f"mean motion {lengths.mean():.2f} px"
        # Motion that cancels out has no direction.
        if math.hypot(x, y) > 0.25 * float(lengths.mean()) and math.hypot(x, y) >= 0.05:
            mean += f", on the whole {_DIRECTIONS[round(math.atan2(y, x) / (math.pi / 4)) % 8]}"
        moving = 100 * float((lengths > 1).float().mean())
        return [mean, f"largest motion {lengths.max():.2f} px", f"{moving:.0f}% of the pixels move by more than 1 px"]

    def save(self, input: Pair, result: Flow, directory: Path, stem: str) -> list[Path]:
        path = directory / f"{stem}.png"
        write_png(self._draw(result), path)
        if not self.options["flo"]:
            return [path]
        flo = directory / f"{stem}.flo"
        write_flo(result.vectors, flo)
        return [path, flo]

    def _draw(self, result: Flow) -> Tensor:
        limit = self.options["max_motion"]
        if limit is None:
            return flow_to_image(result.vectors)
        scale = (limit / result.lengths.clamp(min=1e-6)).clamp(max=1)
        # A column that moves by the limit sets the scale, and is cut off.
        return flow_to_image(F.pad(result.vectors * scale, (0, 1), value=limit / math.sqrt(2)))[..., :-1]

    def to_json(self, result: Flow) -> dict[str, Any]:
        lengths = result.lengths
        return {
            "height": result.vectors.shape[1],
            "width": result.vectors.shape[2],
            "mean_vector": result.vectors.mean(dim=(1, 2)).tolist(),
            "mean_length": float(lengths.mean()),
            "max_length": float(lengths.max()),
        }

    def score(self) -> "EndPointError":
        return EndPointError()


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


class EndPointError(Score[Flow]):
    """Distances between flow and truth, over the pixels of all pairs whose truth is known.

    ``epe`` is the mean in pixels; ``1px``, ``3px`` and ``5px`` are the shares, in percent, of pixels that are off by
    less; ``fl_all`` is KITTI's share of outliers, which are off by 3 pixels and by 5 % of the true length at least.
    """

    def __init__(self) -> None:
        self._pixels = 0
        self._distance = 0.0
        self._within = dict.fromkeys((1, 3, 5), 0)
        self._outliers = 0

    def update(self, result: Flow, truth: Tensor | str | Path) -> None:
        """Takes one result.

        Args:
            result: what the model found.
            truth: Tensor[2, H, W] in pixels, NaN where unknown; or the path of a `.flo` file.

        Raises:
            ValueError: the truth has another shape.
        """
        flow = truth if isinstance(truth, Tensor) else read_flo(truth)
        if flow.shape != result.vectors.shape:
            raise ValueError(f"the true flow must have the shape {list(result.vectors.shape)}, not {list(flow.shape)}")
        flow = flow.float().cpu()
        known = flow.isfinite().all(dim=0)
        error = (result.vectors - flow).square().sum(dim=0).sqrt()[known]
        length = flow.square().sum(dim=0).sqrt()[known]
        self._pixels += error.numel()
        self._distance += float(error.double().sum())
        for limit in self._within:
            self._within[limit] += int((error < limit).sum())
        self._outliers += int(((error >= 3) & (error >= 0.05 * length)).sum())

    def compute(self) -> dict[str, float]:
        if not self._pixels:
            raise ValueError("no pixel of known flow was taken yet, so there is no error")
        within = {f"{limit}px": 100 * count / self._pixels for limit, count in self._within.items()}
        return {"epe": self._distance / self._pixels} | within | {"fl_all": 100 * self._outliers / self._pixels}
