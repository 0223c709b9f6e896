"""Frames of videos that the tests encode: each frame tells its number."""

import struct
import subprocess
import sys
from enum import Flag
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from support.painted import ORIENTATIONS, encode, number, set_display_matrix
from zoo_core.images import pil_to_tensor
from zoo_core.videos import VideoFile, VideoReadError, count_frames, frames
from zoo_core.videos.pyav import is_cover, name_for_ffmpeg, upright


def frame(*matrix):
    """One whose file shows x' = a x + c y and y' = b x + d y."""
    a, b, c, d = (value << 16 for value in matrix)
    return SimpleNamespace(side_data={"DISPLAYMATRIX": struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)})


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [[1, 2, 3], [4, 5, 6]]),
        ((0, 1, -1, 0), [[4, 1], [5, 2], [6, 3]]),  # clockwise
        ((-1, 0, 0, -1), [[6, 5, 4], [3, 2, 1]]),
        ((0, -1, 1, 0), [[3, 6], [2, 5], [1, 4]]),
        ((-1, 0, 0, 1), [[3, 2, 1], [6, 5, 4]]),  # mirrored
    ],
)
def test_upright(matrix, expected):
    pixels = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert upright(pixels, frame(*matrix)).tolist() == expected
    assert upright(pixels.expand(3, 2, 3), frame(*matrix)).tolist() == [expected] * 3


def test_a_frame_of_which_the_file_says_nothing():
    pixels = torch.zeros(3, 2, 2)
    assert upright(pixels, SimpleNamespace(side_data={})) is pixels


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12:30.mp4").touch()
    assert name_for_ffmpeg("12:30.mp4") == "./12:30.mp4"
    assert name_for_ffmpeg(tmp_path / "12:30.mp4") == str(tmp_path / "12:30.mp4")
    assert name_for_ffmpeg("https://example.org/a.mp4") == "https://example.org/a.mp4"


def test_covers():
    assert is_cover(SimpleNamespace(disposition=0x0400 | 0x0001))
    flags = Flag("Disposition", {"default": 0x0001, "attached_pic": 0x0400})
    assert is_cover(SimpleNamespace(disposition=flags.default | flags.attached_pic))
    assert not is_cover(SimpleNamespace(disposition=flags.default))
    assert not is_cover(SimpleNamespace(disposition=0x0001))


# Files that are really there ----------------------------------------------------------------------------------------


def shown(images):
    return [number(pil_to_tensor(image).permute(1, 2, 0)) for image in images]


def test_frames_come_one_after_the_other(tmp_path):
    path = encode(tmp_path / "a.mp4", count=9, b_frames=2)
    images = list(frames(path))
    assert shown(images) == list(range(9))
    assert {(type(image), image.mode, image.size) for image in images} == {(Image.Image, "RGB", (160, 128))}
    assert count_frames(path) == 9
    assert shown(frames(str(path))) == list(range(9))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_frames_are_upright(tmp_path, name):
    matrix, turn = ORIENTATIONS[name]
    path = encode(tmp_path / "a.mp4", count=2, first=37)
    stored = torch.stack([pil_to_tensor(image).permute(1, 2, 0) for image in frames(path)])
    set_display_matrix(path, matrix)
    turned = torch.stack([pil_to_tensor(image).permute(1, 2, 0) for image in frames(path)])
    assert torch.equal(turned, turn(stored))


def test_the_first_stream_that_can_be_decoded_is_read(tmp_path):
    path = encode(tmp_path / "two.mkv", count=5, extra_streams=1)
    assert shown(frames(path)) == [0, 1, 2, 3, 4]
    data = path.read_bytes()
    assert data.count(b"V_MPEG4/ISO/AVC") == 2
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/HAS/IT", 1))
    assert shown(frames(path)) == [500, 501, 502, 503, 504]
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/HAS/IT"))
    with pytest.raises(VideoReadError, match=r"two\.mkv: has no video stream that FFmpeg can decode"):
        next(frames(path))
    assert count_frames(path) == 0


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(frames(tmp_path / "none.mp4"))
    (tmp_path / "text.mp4").write_text("no video, but words")
    with pytest.raises(VideoReadError, match=r"text\.mp4: cannot be decoded: not a video"):
        next(frames(tmp_path / "text.mp4"))
    assert count_frames(tmp_path / "text.mp4") == count_frames(tmp_path / "none.mp4") == count_frames(tmp_path) == 0


def test_a_list_of_other_files_is_not_followed(tmp_path):
    encode(tmp_path / "real.ts", count=5)
    (tmp_path / "hls.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\nreal.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile real.ts\n")
    for name in ("hls", "concat"):
        with pytest.raises(VideoReadError, match=f"{name}.mp4: "):
            next(frames(tmp_path / f"{name}.mp4"))


def test_frames_of_too_many_pixels_are_refused(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", count=2)
    monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", str(160 * 128))
    assert len(list(frames(path))) == 2
    monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", str(160 * 128 - 1))
    with pytest.raises(VideoReadError, match=r"too large: frames of 160 x 128 pixels.*ZOO_MAX_IMAGE_PIXELS"):
        next(frames(path))


def test_passes_over_a_file_end_each_other_and_with_the_file(tmp_path):
    path = encode(tmp_path / "a.mp4", count=30)
    with VideoFile(path) as video:
        first = video.frames()
        next(first)
        assert video.times()[0] == 0
        assert video.extent() == (0, Fraction(29, 30))
        assert [round(time * 30) for time, _ in video.frames(Fraction(20, 30))] == list(range(20, 30))
        assert len(list(first)) <= 2  # what it had decoded already
    with pytest.raises(ValueError, match=r"a\.mp4: the file was closed"):
        next(video.frames())


_GARBAGE = """
import gc, sys
from zoo_core.videos import frames
gc.collect()
gc.disable()
for image in frames(sys.argv[1]):
    pass
del image
gc.set_debug(gc.DEBUG_SAVEALL)
gc.collect()
print(sum(type(left).__module__.startswith("av") for left in gc.garbage))
"""


def test_frames_are_freed_without_the_collector_of_cycles(tmp_path):
    path = encode(tmp_path / "a.mp4", count=40)
    printed = subprocess.run([sys.executable, "-c", _GARBAGE, path], capture_output=True, text=True, check=True).stdout
    assert int(printed) <= 2


def test_without_pyav_the_extra_is_named():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "import zoo_core.images\n"
        "try:\n    import zoo_core.videos\n"
        "except ModuleNotFoundError as error:\n    print(error.name, error)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "av av is needed to read videos and is not installed: pip install 'zoo-core[video]'\n"


def test_the_old_name_warns():
    code = "import zoo_core.videos as new, zoo_core.video_files as old; assert old.frames is new.frames"
    done = subprocess.run([sys.executable, "-Wdefault", "-c", code], capture_output=True, text=True, check=True)
    assert "DeprecationWarning: zoo_core.video_files is called zoo_core.videos now" in done.stderr
