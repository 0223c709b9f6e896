"""Video files: what can be decoded is read, the rest refused in our words, and nothing stays open."""

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

from zoo_core import videos
from zoo_core.videos import VideoReadError
from zoo_video import read_clips, read_video, read_video_timestamps

from .fuzzing import damaged, evidence, fuzz

MAX_PIXELS = 100_000
MAX_FRAMES = 100  # a damaged file may hold a few more than the 12 that were written

_names = itertools.count()


@pytest.fixture(autouse=True, scope="module")
def small_frames() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
        yield


def _open_files() -> int:
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    return len(os.listdir(folder))


def _frames(path: Path) -> None:
    for image in itertools.islice(videos.frames(path), MAX_FRAMES):
        assert image.mode == "RGB"
        assert image.width * image.height <= MAX_PIXELS


def _clips(path: Path) -> None:
    clips = list(read_clips(path, 4, num_clips=5, transform=lambda frame: frame[:, :8, :8].clone()))
    assert 1 <= len(clips) <= 5
    for clip in clips:
        assert clip.frames.dtype == torch.uint8
        assert len(clip.frames) == len(clip.times) <= 4
        assert clip.times == sorted(clip.times)


def _video(path: Path) -> None:
    frames, sound, info = read_video(path)
    assert frames.shape[-1] == 3
    assert sound.ndim == 2
    assert set(info) <= {"video_fps", "audio_fps"}


def _stretch(path: Path) -> None:
    read_video(path, 0.1, 0.2, pts_unit="sec")


def _timestamps(path: Path) -> None:
    times: Any = read_video_timestamps(path)[0]
    assert times == sorted(times)


READERS: tuple[Callable[[Path], None], ...] = (_frames, _clips, _video, _stretch, _timestamps)


@fuzz
@given(damaged("videos"))
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"{next(_names)}.mp4"
    path.write_bytes(content)
    before = _open_files()
    with evidence(content, "video.mp4"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert videos.count_frames(path) >= 0
        for read in READERS:
            try:
                read(path)
            except VideoReadError as error:
                assert str(error).startswith(str(path))
                assert "\n" not in str(error)
    assert _open_files() == before
    path.unlink()
