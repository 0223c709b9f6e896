"""Images of what a model saw, as files: each in the format of its input, whole or not at all."""

import contextlib
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from zoo_core.images.files import ImageReadError, opened
from zoo_core.predicting.failures import Failure
from zoo_core.predicting.saving_videos import VideoSaver
from zoo_core.processes import available_processors
from zoo_core.whole_files import write_beside

if TYPE_CHECKING:
    from zoo_core.predicting.loop import Prediction

__all__ = ["SAVE_FORMATS", "Saver", "image_suffix"]

SAVE_FORMATS = ("png", "jpg", "webp")
"""What the argument ``save`` of :class:`Saver` may be."""

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_KEPT = (*_JPEG, ".png", ".webp")
# Of photographs mostly, which another lossless file would make many times as large; Pillow writes them slowly, if ever.
_LOSSY = (".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".jpc", ".jpf", ".mpo")

_JPEG_QUALITY = 90
# The mean of the numbers by which a JPEG of this quality divides the brightness: coarser files have larger ones.
_JPEG_COARSENESS = 11.6
_SUBSAMPLINGS = 3  # 4:4:4, 4:2:2 and 4:2:0; a file with another scheme gets the last
# Of 0 to 9. More makes files of photographs little smaller, and takes much longer; drawings are compressed fast.
_PNG_LEVEL, _PNG_LEVEL_OF_DRAWINGS = 1, 6
_DRAWING = 0.5  # bytes that a drawing's file has for each pixel, at the most
_WEBP_QUALITY = 90
_WEBP_METHOD = 1  # of 0, fast, to 6, small
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}


def image_suffix(path: str | os.PathLike[str], save: str | None = None) -> str:
    """How the name of the image for an input file ends.

    JPEG, PNG and WebP files keep their ending. Of other formats, those that mostly hold photographs (AVIF, HEIC,
    JPEG 2000, MPO) become JPEG, and all others (TIFF, BMP, GIF, ..., and videos) PNG, which loses nothing. So does an
    image whose side is too long for its format (65,500 pixels for JPEG, 16,383 for WebP).

    Args:
        path: the input file.
        save: one of :data:`SAVE_FORMATS`, whatever the input is.
    """
    if save is not None:
        return f".{save}"
    suffix = Path(path).suffix
    if suffix.lower() in _KEPT:
        return suffix
    return ".jpg" if suffix.lower() in _LOSSY else ".png"


class Saver:
    """Writes images of predictions, and what else the task's options ask for, into a folder.

    Each file is written beside its place and renamed, so that one that is there is whole. JPEG files have quality 90,
    or the input's own numbers where that one is coarser, which keeps the files alike in size; colours are subsampled as
    in the input. PNG files are compressed quickly, WebP files have quality 90. The colour profile of the input stays;
    its other metadata do not, and its pixels are upright.

    Of a video, one video is written; see :class:`~zoo_core.predicting.saving_videos.VideoSaver`. Close the saver, or
    use it in a ``with`` statement, so that it is finished.

    Args:
        directory: the folder; made if it is not there.
        save: the format of all images, ``"png"``, ``"jpg"`` or ``"webp"``; by default that of each input, see
            :func:`~zoo_core.predicting.saving.image_suffix`.
        workers: how many threads draw and encode in :meth:`follow`; by default half as many as there are processors
            to use, up to 8.

    Raises:
        ValueError: ``save`` or ``workers`` is out of range.
    """

    def __init__(self, directory: str | os.PathLike[str], *, save: str | None = None, workers: int | None = None):
        if save is not None and save not in SAVE_FORMATS:
            raise ValueError(f"save must be one of {', '.join(SAVE_FORMATS)}, not {save!r}")
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.directory = Path(directory)
        self._save = save
        self._videos = VideoSaver(self.directory, self._save_files)
        self._workers = workers or max(1, min(available_processors() // 2, 8))

    def save(self, prediction: "Prediction") -> list[Path]:
        """Writes the files of a prediction at once. Returns their paths, the image, or the video, first.

        Raises:
            OSError: a file cannot be written; its ``filename`` says which. Nothing of that file is left.
        """
        if prediction.moment is not None:
            drawn: Future[Image.Image] = Future()
            drawn.set_result(prediction.draw_frame())
            return self._videos.submit(prediction, drawn).result()
        return self.save_image(prediction)

    def save_image(self, prediction: "Prediction") -> list[Path]:
        """As :meth:`save`, with an image for a frame of a video too, which has the frame's number in its name."""
        image, source = prediction.draw(), prediction.source.paths[0]
        suffix = image_suffix(source, self._save)
        if max(image.size) > _LONGEST_SIDE.get(_format(suffix), math.inf):
            suffix = ".png"
        folder = self.directory / prediction.source.folder
        paths = [folder / f"{prediction.stem}{suffix}"]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        write_image(image, paths[0], like=prediction.source.file, profile=_profile(prediction.input))
        return [*paths, *self._save_files(prediction)]

    def _save_files(self, prediction: "Prediction") -> list[Path]:
        """What the task has written beside the image."""
        folder = self.directory / prediction.source.folder
        paths = []
        for ending, write in prediction.task.files(prediction.result).items():
            paths.append(folder / f"{prediction.stem}{ending}")
            write_beside(paths[-1], write)
        return paths

    def follow(
        self, outcomes: Iterable["Prediction | Failure"]
    ) -> Generator[tuple["Prediction | Failure", list[Path]], None, None]:
        """Saves predictions while the next ones are being made.

        Args:
            outcomes: of :func:`zoo_core.predicting.run`.

        Yields:
            Each outcome, in order, once its files are written, with their paths; a failure has none.

        Raises:
            OSError: as for :meth:`save`, where the prediction would have come.
        """
        pending: deque[tuple[Prediction | Failure, Future[list[Path]] | None]] = deque()

        def ready(most: int) -> Iterator[tuple["Prediction | Failure", list[Path]]]:
            while pending and (len(pending) > most or pending[0][1] is None or pending[0][1].done()):
                outcome, future = pending.popleft()
                yield outcome, [] if future is None else future.result()

        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="save")
        try:
            with closing(_closable(outcomes)) as source:
                while True:
                    try:
                        outcome = next(source)
                    except StopIteration:
                        break
                    except BaseException:
                        # Ctrl-C, or an error of the model: what is finished is not lost.
                        yield from ready(0)
                        raise
                    future = None if isinstance(outcome, Failure) else self._begun(outcome, pool)
                    pending.append((outcome, future))
                    yield from ready(2 * self._workers)
            yield from ready(0)
        finally:
            # What has not begun by then never does: somebody has had enough, or a file could not be written.
            pool.shutdown(wait=True, cancel_futures=True)

    def _begun(self, prediction: "Prediction", pool: ThreadPoolExecutor) -> Future[list[Path]]:
        """Has the files of a prediction written by the pool."""
        if prediction.moment is not None:
            # Frames are drawn by many, and written one after the other.
            return self._videos.submit(prediction, pool.submit(prediction.draw_frame))
        self._videos.finish()
        return pool.submit(self.save, prediction)

    def close(self) -> None:
        """Completes videos that are still open. The saver is not used afterwards.

        Raises:
            OSError: one cannot be completed.
        """
        self._videos.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _closable(outcomes: Iterable["Prediction | Failure"]) -> Generator["Prediction | Failure", None, None]:
    yield from outcomes


def write_image(
    image: Image.Image, path: Path, *, like: str | os.PathLike[str] | None = None, profile: bytes | None = None
) -> None:
    """Writes an RGB image, in the format that the ending of the name says.

    Args:
        image: what to write.
        path: where; JPEG, PNG or WebP.
        like: the file that the image was made of, whose compression a JPEG takes over if that is coarser.
        profile: an ICC profile, or none.

    Raises:
        OSError: the file cannot be written. Nothing of it is left.
    """
    format = _format(path.suffix)
    options: dict[str, Any] = {"icc_profile": profile or b"", "exif": b""}
    if format == "JPEG":
        options |= _jpeg_options(like)
    elif format == "WEBP":
        options |= {"quality": _WEBP_QUALITY, "method": _WEBP_METHOD}
    else:
        options |= {"compress_level": _png_level(like, image.width * image.height)}

    def write(temporary: Path) -> None:
        # Given a file, not a name, Pillow encodes JPEG without the interpreter.
        with open(temporary, "wb") as file:
            image.save(file, format, **options)

    write_beside(path, write)


def _format(suffix: str) -> str:
    """Pillow's name of the format that an image with such an ending is written in."""
    suffix = suffix.lower()
    return "JPEG" if suffix in _JPEG else "WEBP" if suffix == ".webp" else "PNG"


def _png_level(like: str | os.PathLike[str] | None, pixels: int) -> int:
    """How much to compress the image of a file: more if that is so small that it must be a drawing or a screenshot."""
    with contextlib.suppress(OSError):
        if like is not None and Path(like).suffix.lower() not in _JPEG and os.path.getsize(like) < _DRAWING * pixels:
            return _PNG_LEVEL_OF_DRAWINGS
    return _PNG_LEVEL


def _jpeg_options(like: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Quality and subsampling for the image of a file."""
    options: dict[str, Any] = {"quality": _JPEG_QUALITY, "subsampling": _SUBSAMPLINGS - 1}
    if like is None or Path(like).suffix.lower() not in _JPEG:
        return options
    with contextlib.suppress(ImageReadError), opened(like, ("JPEG",)) as file:
        from PIL import JpegImagePlugin

        tables: dict[int, list[int]] = getattr(file, "quantization", {})
        subsampling = JpegImagePlugin.get_sampling(file)
        if 0 <= subsampling < _SUBSAMPLINGS:
            options["subsampling"] = subsampling
        brightness = tables.get(0, [])
        colors = tables.get(1, brightness)
        if brightness and sum(brightness) / len(brightness) > _JPEG_COARSENESS and max(brightness + colors) < 256:
            del options["quality"]
            options["qtables"] = [brightness, colors]
    return options


def _profile(input: Any) -> bytes | None:
    """The ICC profile of the image that an input is or begins with, if it is one of RGB."""
    image = input[0] if isinstance(input, tuple) and input else input
    profile = image.info.get("icc_profile") if isinstance(image, Image.Image) else None
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None
