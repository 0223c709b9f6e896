"""Videos of what a model saw: the frames that it looked at, with the results drawn on them, and the sound."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from zoo_core.predicting.videos import Moment, open_video

if TYPE_CHECKING:
    from zoo_core.predicting.loop import Prediction
    from zoo_core.videos import Playback

__all__ = ["VideoSaver"]


class VideoSaver:
    """Writes a video for each video that predictions come from, one after the other, in a thread.

    A video has the frames that the model looked at, each at its own time: it is as long as the one that it shows, has
    its sound, and its rate is that at which frames were looked at.

    Args:
        directory: the folder for all.
        save_files: writes what else there is to write for a prediction, and returns the paths.
    """

    def __init__(self, directory: Path, save_files: Callable[["Prediction"], list[Path]]) -> None:
        self._directory = directory
        self._save_files = save_files
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save-video")
        self._recording: _Recording | None = None
        self._playback: Playback | None = None
        self._finished: Future[None] | None = None

    def submit(self, prediction: "Prediction", image: "Future[Image.Image]") -> "Future[list[Path]]":
        """Has a frame written after those before it.

        Args:
            prediction: of a video.
            image: what is drawn for it.

        Returns:
            The paths of the video and of what else was written. It raises OSError if that cannot be.
        """
        assert prediction.moment is not None
        if prediction.moment.playback is not self._playback:
            self.finish()
            self._playback = prediction.moment.playback
        return self._thread.submit(self._write, prediction, image)

    def finish(self) -> None:
        """Has the video finished that is being written, if there is one."""
        if self._playback is not None:
            self._playback = None
            self._finished = self._thread.submit(self._finish)

    def close(self) -> None:
        """Finishes what is open.

        Raises:
            OSError: a video cannot be finished.
        """
        self.finish()
        self._thread.shutdown(wait=True)
        if self._finished is not None:
            self._finished.result()

    def _write(self, prediction: "Prediction", image: "Future[Image.Image]") -> list[Path]:
        drawn = image.result()
        if self._recording is None:
            assert prediction.moment is not None
            self._recording = _Recording(self._directory, prediction, prediction.moment, drawn.size)
        self._recording.write(drawn, prediction.moment)
        return [self._recording.path, *self._save_files(prediction)]

    def _finish(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.finish()


class _Recording:
    """A video that is being written, and the sound that goes into it."""

    def __init__(self, directory: Path, prediction: "Prediction", moment: Moment, size: tuple[int, int]) -> None:
        from zoo_core.videos import FileSound, VideoWriter, suffix_for

        path, playback = prediction.source.paths[0], moment.playback
        video = playback.video
        folder = directory / prediction.source.folder
        folder.mkdir(parents=True, exist_ok=True)
        suffix = ".mp4" if moment.address is not None else suffix_for(path)
        self.path = folder / f"{prediction.source.stem}{suffix}"
        self._sound: FileSound | Playback = playback
        if not playback.is_live:
            self._sound = FileSound(open_video(path, moment.address))
        is_turned = moment.size != (video.shape[1], video.shape[0])
        self._moment = moment
        self._writer: VideoWriter = VideoWriter(
            self.path,
            size,
            rate=playback.sampling.effective_rate(video.rate),
            time_base=video.time_base,
            pixel_ratio=1 / video.pixel_ratio if is_turned else video.pixel_ratio,
            sounds=self._sound.video.sounds,
            metadata=video.metadata,
        )

    def write(self, image: Image.Image, moment: Any) -> None:
        self._moment = moment
        self._write_sound(moment.time)
        self._writer.write(image, moment.time)

    def _write_sound(self, until: Any) -> None:
        for packet in self._sound.take_sound(until):
            self._writer.write_sound(packet, self._sound.video.origin)

    def finish(self) -> None:
        playback = self._moment.playback
        try:
            # Whoever stopped before the end gets no more than was seen.
            self._write_sound(None if playback.is_finished else self._moment.time)
        finally:
            try:
                self._writer.close()
            finally:
                if self._sound is not playback:
                    self._sound.close()
