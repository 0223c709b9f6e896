"""Video classification: which labels fit a video best, and when."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from zoo_core.classifying import Accuracy, Classification
from zoo_core.data import Dataset
from zoo_core.drawing import draw_labels
from zoo_core.drawing.fonts import Lettering
from zoo_core.engines import Engine
from zoo_core.graphs import Example
from zoo_core.images import to_pil_image
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Sample, Task, check_finite, example_images
from zoo_core.training.recipes import Recipe
from zoo_core.videos import VideoFile
from zoo_video.data import labels_in, open_video_data
from zoo_video.reading import read_clips

if TYPE_CHECKING:
    from zoo_video.training import VideoTraining

__all__ = ["ClassifiedClip", "ClassifiedVideo", "Video", "VideoClassificationTask", "VideoClip"]

# Of the contact sheet, in pixels.
_THUMBNAIL = (160, 120)
_COLUMNS = 6
_ROWS = 24
_GAP = 4
_TEXT = 15
_GROUND = (24, 26, 31)
_INK = (240, 242, 245)
_FAINT_INK = (170, 176, 186)


@dataclass(frozen=True)
class VideoClip:
    """A clip as it is read.

    Args:
        frames: float32 Tensor[3, T, H, W], preprocessed.
        times: when each frame is shown first, in seconds.
        thumbnails: some of the frames, small, with their times; none if the contact sheet leaves the clip out.
    """

    frames: Tensor
    times: Sequence[float]
    thumbnails: Sequence[tuple[float, Image.Image]]


@dataclass
class Video:
    """A video file, of which a model sees clips.

    The clips are read each time that they are asked for, one after the other: however many they are, only those that
    overlap are in memory.

    Args:
        path: the file.
        clip_length, num_clips, frame_rate: see :func:`~zoo_video.reading.read_clips`.
        prepare: uint8 Tensor[3, H, W] -> float32 Tensor[3, H, W]: what is kept of a frame.

    Attributes:
        spans: times of the first and the last frame of each clip that was read, in seconds.
        thumbnails: those of some clips, by the clip's number.
    """

    path: Path
    clip_length: int
    num_clips: int
    frame_rate: float | None
    prepare: Callable[[Tensor], Tensor]
    spans: list[tuple[float, float]] = field(default_factory=list)
    thumbnails: dict[int, Sequence[tuple[float, Image.Image]]] = field(default_factory=dict)

    def clips(self) -> Iterator[VideoClip]:
        """Reads the clips."""
        self.spans.clear()
        self.thumbnails.clear()
        shown = _spread(self.num_clips, _ROWS)
        frames: dict[float, Image.Image] = {}

        def watch(time: float, frame: Tensor) -> None:
            frames[time] = _thumbnail(frame)

        found = read_clips(
            self.path,
            self.clip_length,
            num_clips=self.num_clips,
            frame_rate=self.frame_rate,
            transform=self.prepare,
            watch=watch,
        )
        for number, clip in enumerate(found):
            times = list(dict.fromkeys(clip.times))
            chosen = [(times[index], frames[times[index]]) for index in _spread(len(times), _COLUMNS)]
            # Clips that come later begin later.
            for time in [time for time in frames if time < times[0]]:
                del frames[time]
            self.spans.append((times[0], times[-1]))
            if number in shown:
                self.thumbnails[number] = chosen
            yield VideoClip(clip.frames.transpose(0, 1), clip.times, chosen if number in shown else ())


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, evenly spread, the first and the last among them.

    >>> _spread(10, most=4)
    [0, 3, 6, 9]
    """
    if count <= most:
        return list(range(count))
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})


@dataclass(frozen=True, repr=False)
class ClassifiedClip(Classification):
    """What a classifier makes of one clip.

    Args:
        probabilities, labels: see :class:`~zoo_core.classifying.Classification`.
        start, end: times of the clip's first and last frame, in seconds.
    """

    start: float
    end: float


@dataclass(frozen=True, repr=False)
class ClassifiedVideo(Classification):
    """What a classifier makes of one video: its probabilities are the mean over the clips.

    Args:
        probabilities, labels: see :class:`~zoo_core.classifying.Classification`.
        clips: the clips, in order.
    """

    clips: Sequence[ClassifiedClip]


@dataclass(frozen=True)
class _Clips:
    """The prepared clips of a video, read anew each time."""

    video: Video

    def __iter__(self) -> Iterator[Tensor]:
        return (clip.frames for clip in self.video.clips())


class VideoClassificationTask(Task[Video, ClassifiedVideo]):
    """Finds the ``topk`` most likely labels of a video from clips of it, and when they fit best.

    Results that are going to be scored are of as many clips as the weights' published accuracy, unless the options say
    how many.
    """

    def __init__(self, spec: ModelSpec, options: Mapping[str, Any] | None = None, *, scoring: bool = False) -> None:
        published = spec.facts.get("clips_per_video") if scoring else None
        super().__init__(spec, ({"clips": published} if published else {}) | dict(options or {}), scoring=scoring)

    def read(self, path: Path) -> Video:
        with VideoFile(path):  # says now what cannot be opened
            pass
        return Video(
            path,
            self.clip_length,
            self.options["clips"],
            self.options["frame_rate"] or self.spec.facts.get("frame_rate"),
            self._prepare_frame,
        )

    @property
    def clip_length(self) -> int:
        """Frames of a clip."""
        facts = self.spec.facts
        return self.options["frames"] or facts.get("clip_length") or facts.get("min_temporal_size") or 16

    def _prepare_frame(self, frame: Tensor) -> Tensor:
        """Large frames are not kept: only what the model takes of them."""
        assert self.preprocess is not None
        prepared: Tensor = self.preprocess(frame[None])[:, 0]
        return prepared

    def prepare(self, input: Video) -> Sample:
        """The clips, float32 Tensor[3, T, H, W] each, as they are read."""
        return _Clips(input)

    def run(self, engine: Engine, samples: Sequence[Sample]) -> list[Tensor]:
        """Runs one clip at a time, so that memory does not grow with their number.

        Returns:
            The class scores of each clip, float32 Tensor[clips, num_classes] on the CPU, for each sample.
        """
        outputs = [torch.stack([engine(clip[None])[0].float().cpu() for clip in clips]) for clips in samples]
        check_finite(outputs, self.spec)
        return outputs

    def result(self, output: Tensor, input: Video) -> ClassifiedVideo:
        probabilities = output.softmax(dim=1)
        labels = self.labels_for(probabilities.shape[1])
        clips = [
            ClassifiedClip(row, labels, start, end)
            for row, (start, end) in zip(probabilities, input.spans, strict=True)
        ]
        return ClassifiedVideo(probabilities.mean(dim=0), labels, clips)

    def describe(self, result: ClassifiedVideo) -> list[str]:
        top = result.top(self.options["topk"])
        width = max(len(label) for _, label, _ in top)
        lines = []
        for index, label, score in top:
            best = max(result.clips, key=lambda clip: float(clip.probabilities[index]))
            when = _span(best)
            if len(result.clips) > 1:
                when = f"best {best.probabilities[index]:.1%} at {when}"
            lines.append(f"{score:6.1%}  {label.ljust(width)}  {when}")
        return lines

    def draw(self, input: Video, result: ClassifiedVideo) -> Image.Image:
        lines = [(label, score) for _, label, score in result.top(self.options["topk"])]
        return draw_labels(_contact_sheet(input, result), lines)

    def record(self, result: ClassifiedVideo) -> dict[str, Any]:
        topk = self.options["topk"]
        return {
            "labels": result.record(topk),
            "clips": [{"start": clip.start, "end": clip.end, "labels": clip.record(topk)} for clip in result.clips],
        }

    def example(self, size: Sequence[int] | None = None, batch_size: int = 1) -> Example:
        """A batch of clips of so many frames, height and width."""
        frames, height, width = (
            self.example_size if size is None else self.check_size(size, ("frames", "height", "width"))
        )
        clips = example_images(self.preprocess, batch_size, frames, height, width)
        dynamic = {0: "batch", 2: "frames", 3: "height", 4: "width"}
        return Example((clips,), names=("clips",), dynamic=(dynamic,), output_name="logits")

    @property
    def example_size(self) -> tuple[int, ...]:
        """Frames, height and width of the clips that the weights were made for."""
        return (self.clip_length, *super().example_size)

    def score(self) -> Accuracy[ClassifiedVideo]:
        return Accuracy()

    def samples(self, folder: Path, split: str | None = None, annotations: Path | None = None) -> Dataset:
        """A folder for each class, or a CSV file; see :func:`~zoo_video.data.open_video_data`."""
        return open_video_data(folder, self.labels, split or "val", annotations)

    def labels_in(self, folder: Path, split: str | None = None) -> tuple[str, ...] | None:
        """The names of the folders; ``None`` for a CSV file, whose labels may be numbers."""
        return labels_in(folder, split or "val")

    def training(self, recipe: Recipe) -> "VideoTraining":
        """A random clip of each video, crops and flips; cross-entropy of classes, or of mixtures of them."""
        from zoo_video.training import VideoTraining

        return VideoTraining(self, recipe)


def _time(seconds: float) -> str:
    """``"1:02.3"``, or ``"1:01:02.3"`` from an hour on."""
    tenths = round(seconds * 10)
    sign, tenths = ("-", -tenths) if tenths < 0 else ("", tenths)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{clock}:{tenths // 10:02d}.{tenths % 10}"


def _span(clip: ClassifiedClip) -> str:
    return f"{_time(clip.start)} - {_time(clip.end)}"


def _thumbnail(frame: Tensor) -> Image.Image:
    """uint8 Tensor[3, H, W] -> an image that fits the contact sheet."""
    image = to_pil_image(frame)
    scale = min(_THUMBNAIL[0] / image.width, _THUMBNAIL[1] / image.height)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    return image.resize(size, Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.BOX)


def _contact_sheet(video: Video, result: ClassifiedVideo) -> Image.Image:
    """A row of frames for each clip, or for some of many, under the clip's time and likeliest label."""
    rows = [(result.clips[number], thumbnails) for number, thumbnails in sorted(video.thumbnails.items())]
    images = [image for _, thumbnails in rows for _, image in thumbnails]
    width, height = max(image.width for image in images), max(image.height for image in images)
    caption = math.ceil(1.6 * _TEXT)
    row_height = caption + height + caption + _GAP
    columns = max(len(thumbnails) for _, thumbnails in rows)
    captions = [Lettering.of("{}: {} {:.1%}".format(_span(clip), *clip.top(1)[0][1:]), _TEXT) for clip, _ in rows]
    sheet_width = max(columns * (width + _GAP), *(math.ceil(text.width) for text in captions)) + _GAP
    sheet = Image.new("RGB", (sheet_width, _GAP + len(rows) * row_height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for row, ((_, thumbnails), text) in enumerate(zip(rows, captions, strict=True)):
        top = _GAP + row * row_height
        text.draw(draw, _GAP, top + _TEXT, _INK)
        for column, (time, image) in enumerate(thumbnails):
            left = _GAP + column * (width + _GAP)
            sheet.paste(image, (left + (width - image.width) // 2, top + caption + (height - image.height) // 2))
            Lettering.of(_time(time), _TEXT).draw(draw, left, top + caption + height + 2 + _TEXT, _FAINT_INK)
    return sheet
