"""Reading video files that the tests encode: each frame tells its number."""

import inspect
import itertools
import random
import struct
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from support.painted import ORIENTATIONS, encode, numbers, paint, set_display_matrix, tone, with_cover
from zoo_video import VideoReadError, read_clips, read_video, read_video_timestamps

from .video_formats import FORMATS, clip_numbers


@pytest.mark.parametrize("name", FORMATS)
def test_all_frames_in_order(folder, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames, sound, info = read_video(folder / name)
    assert frames.shape == (60, 128, 160, 3)
    assert frames.dtype == torch.uint8
    assert numbers(frames) == list(range(60))
    assert sound.shape == (1, 0)
    assert info == {"video_fps": 30.0}


@pytest.mark.parametrize("name", FORMATS)
def test_times_select_exactly_the_frames_that_are_shown(folder, name):
    times, rate = read_video_timestamps(str(folder / name), pts_unit="sec")
    assert rate == 30.0
    assert len(times) == 60
    assert all(isinstance(time, Fraction) for time in times)
    # Matroska rounds to milliseconds.
    assert all(abs(b - a - Fraction(1, 30)) <= Fraction(1, 1000) for a, b in itertools.pairwise(times))
    for first, last in ((0, 0), (1, 2), (11, 13), (12, 12), (24, 47), (29, 59), (59, 59)):
        expected = list(range(first, last + 1))
        assert numbers(read_video(folder / name, times[first], times[last], pts_unit="sec")[0]) == expected
        assert (
            numbers(read_video(folder / name, float(times[first]), float(times[last]), pts_unit="sec")[0]) == expected
        )
        # A little later the same frame is still shown, and just before the next one begins, that is not.
        later, before = times[first] + Fraction(1, 90), times[last] + Fraction(1, 90)
        assert numbers(read_video(folder / name, later, before, pts_unit="sec")[0]) == expected
    assert numbers(read_video(folder / name, times[50], pts_unit="sec")[0]) == list(range(50, 60))


def test_units_and_formats(folder):
    path = folder / "h264_b_frames.mp4"
    pts, _ = read_video_timestamps(path, pts_unit="pts")
    assert all(isinstance(time, int) for time in pts)
    frames, _, _ = read_video(path, pts[7], pts[9], pts_unit="pts", output_format="TCHW")
    assert frames.shape == (3, 3, 128, 160)
    assert numbers(frames.permute(0, 2, 3, 1)) == [7, 8, 9]
    assert read_video(path, 0.5, float("inf"), pts_unit="sec")[0].shape[0] == 45
    nothing, _, _ = read_video(path, 100.0, pts_unit="sec")
    assert nothing.shape == (0, 128, 160, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pts_unit": "ms"}, "'sec' or 'pts', not 'ms'"),
        ({"output_format": "CTHW"}, "'THWC' or 'TCHW', not 'CTHW'"),
        ({"start_pts": 2, "end_pts": 1}, "end_pts must not be less than start_pts=2, but is 1"),
        ({"start_pts": float("nan")}, "start_pts must be a time"),
    ],
)
def test_impossible_arguments(folder, arguments, words):
    with pytest.raises(ValueError, match=words):
        read_video(folder / "h264.mp4", **arguments)


def test_parameters_are_those_of_torchvision():
    expected = {
        read_video: {"filename": ..., "start_pts": 0, "end_pts": None, "pts_unit": "pts", "output_format": "THWC"},
        read_video_timestamps: {"filename": ..., "pts_unit": "pts"},
    }
    for function, parameters in expected.items():
        found = inspect.signature(function).parameters
        assert {
            name: ... if parameter.default is parameter.empty else parameter.default
            for name, parameter in found.items()
        } == parameters


def test_times_are_in_the_files_own_unit_by_default(folder):
    path = folder / "h264_b_frames.mp4"
    pts, rate = read_video_timestamps(path)
    seconds, _ = read_video_timestamps(path, pts_unit="sec")
    assert all(isinstance(time, int) for time in pts)
    assert pts[1] - pts[0] == Fraction(1, 30) / (seconds[1] / pts[1])
    assert (len(pts), rate) == (60, 30.0)
    assert numbers(read_video(path, pts[7], pts[9])[0]) == [7, 8, 9]
    assert numbers(read_video(path, end_pts=pts[2])[0]) == [0, 1, 2]
    assert read_video(path, pts[7], pts[9], output_format="tchw")[0].shape == (3, 3, 128, 160)
    with pytest.warns(UserWarning, match="pts_unit='sec'"):
        read_video(path, 0.5, 1.5)


def test_the_parameter_that_was_called_path(folder):
    with pytest.warns(FutureWarning, match=r"read_video\(filename=\.\.\.\)"):
        assert read_video(path=folder / "h264.mp4")[0].shape[0] == 60
    with pytest.warns(FutureWarning, match="filename"):
        assert len(read_video_timestamps(path=folder / "h264.mp4")[0]) == 60


def test_colours(tmp_path):
    path = tmp_path / "red.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "bgr0"
        picture = paint(0, 64, 32)
        picture.paste((250, 20, 90), (0, 0, 20, 10))
        container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    (frame,), _, _ = read_video(path)
    assert frame.shape == (32, 64, 3)
    assert frame[5, 10].tolist() == [250, 20, 90]
    assert frame[20, 40].tolist() == [0, 0, 0]


def test_a_width_that_is_no_multiple_of_anything(tmp_path):
    frames, _, _ = read_video(encode(tmp_path / "a.mp4", count=5, size=(186, 122)))
    assert frames.shape == (5, 122, 186, 3)
    assert numbers(frames) == [0, 1, 2, 3, 4]


VARIABLE = [0, 40, 80, 700, 740, 1500, 1510, 1520, 2999, 3000]


@pytest.mark.parametrize("name", ["variable.mp4", "variable.mkv"])
def test_variable_frame_rate(tmp_path, name):
    path = encode(tmp_path / name, count=10, times=VARIABLE, time_base=Fraction(1, 1000), b_frames=2, rate=25)
    times, _ = read_video_timestamps(path, "sec")
    assert times == [Fraction(time, 1000) for time in VARIABLE]
    for start, end, expected in (
        (0.7, 0.74, [3, 4]),
        (0.3, 0.5, [2]),
        (0.3, 0.7, [2, 3]),
        (1.505, 1.52, [5, 6, 7]),
        (2.9, 2.9995, [7, 8]),
    ):
        assert numbers(read_video(path, start, end, pts_unit="sec")[0]) == expected
    # What is shown every half second.
    (clip,) = read_clips(path, 7, frame_rate=2)
    assert clip_numbers(clip) == [0, 2, 4, 5, 7, 7, 9]
    assert clip.times == [0.0, 0.08, 0.74, 1.5, 1.52, 1.52, 3.0]


def test_rate_that_is_no_whole_number(tmp_path):
    path = encode(tmp_path / "ntsc.mp4", rate=Fraction(30000, 1001), b_frames=2)
    times, rate = read_video_timestamps(path, "sec")
    assert times[30] == Fraction(30 * 1001, 30000)
    assert rate == pytest.approx(29.97, abs=1e-3)
    assert numbers(read_video(path, float(times[30]), float(times[31]), pts_unit="sec")[0]) == [30, 31]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_orientation(tmp_path, name):
    matrix, turn = ORIENTATIONS[name]
    path = encode(tmp_path / "a.mp4", count=3, first=37)
    stored, _, _ = read_video(path)
    set_display_matrix(path, matrix)
    shown, _, _ = read_video(path)
    assert torch.equal(shown, turn(stored))
    (clip,) = read_clips(path, 3)
    assert torch.equal(clip.frames, shown.permute(0, 3, 1, 2))


def test_a_name_that_begins_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "12:30.mp4")
    assert numbers(read_video("12:30.mp4")[0]) == list(range(60))
    with pytest.raises(VideoReadError, match=r"12:31\.mp4: no such file"):
        read_video("12:31.mp4")


def test_the_first_of_several_streams(tmp_path):
    path = encode(tmp_path / "two.mkv", extra_streams=1, b_frames=2)
    assert numbers(read_video(path)[0]) == list(range(60))
    assert len(read_video_timestamps(path)[0]) == 60
    assert clip_numbers(next(read_clips(path, 60))) == list(range(60))


def test_sound(tmp_path):
    samples, audio = tone(2.0)
    path = encode(tmp_path / "sound.mkv", audio=audio, audio_codec="flac")
    frames, sound, info = read_video(path)
    assert info == {"video_fps": 30.0, "audio_fps": 16000}
    assert sound.dtype == torch.float32
    assert sound.shape == samples.shape
    torch.testing.assert_close(sound, samples, rtol=0, atol=1e-4)
    frames, sound, _ = read_video(path, 0.5, 1.25, pts_unit="sec")
    assert numbers(frames) == list(range(15, 38))
    torch.testing.assert_close(sound, samples[:, 8000:20001], rtol=0, atol=1e-4)


def test_lossy_sound_keeps_its_time(tmp_path):
    samples, audio = tone(2.0, channels=1)
    path = encode(tmp_path / "sound.mp4", audio=audio, audio_codec="aac")
    _, sound, info = read_video(path, 1.0, 1.5, pts_unit="sec")
    assert info["audio_fps"] == 16000
    assert sound.shape == (1, 8001)
    assert (sound[0, 100:-100] - samples[0, 16100:23901]).abs().mean() < 0.05


def test_the_picture_of_a_cover_is_no_video(tmp_path):
    assert numbers(read_video(with_cover(tmp_path / "both.mp4", "libx264"))[0]) == list(range(9))
    with pytest.raises(VideoReadError, match=r"song\.mp4: has no video"):
        read_video(with_cover(tmp_path / "song.mp4", None))


def without_video(path: Path) -> Path:
    _, audio = tone(0.5)
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        sound.layout = "stereo"
        for frame in audio:
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("read", [read_video, read_video_timestamps, lambda path: next(read_clips(path))])
def test_what_cannot_be_read(tmp_path, folder, read):
    with pytest.raises(VideoReadError, match=r"sound\.mp4: has no video"):
        read(without_video(tmp_path / "sound.mp4"))
    with pytest.raises(VideoReadError, match=r"nothing\.mp4: no such file"):
        read(tmp_path / "nothing.mp4")
    with pytest.raises(VideoReadError, match="is a directory"):
        read(tmp_path)
    for name, data in {
        "empty.mp4": b"",
        "text.mp4": b"These are words, and no pictures. " * 100,
        # An MP4 file whose index would have followed.
        "cut.mp4": (folder / "h264.mp4").read_bytes()[:3000],
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(
            VideoReadError, match=f"{path.name}: cannot be decoded: not a video, damaged, or of a format"
        ):
            read(path)


TRUNCATED = {
    "faststart.mp4": {"codec": "libx264", "b_frames": 3, "options": {"movflags": "faststart"}},
    "mjpeg.avi": {"codec": "mjpeg"},
    "h264.mkv": {"codec": "libx264", "b_frames": 3},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg.ts": {"codec": "libx264"},
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_truncated(tmp_path, name):
    path = encode(tmp_path / name, **TRUNCATED[name])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.warns(UserWarning, match=f"{name}: damaged: "):
        frames, _, _ = read_video(path)
    found = numbers(frames)
    assert 15 <= len(found) < 50
    # The last ones may be made up from what is left of them.
    assert found[:-3] == list(range(len(found) - 3))

    with pytest.warns(UserWarning, match=f"{name}: damaged: "):
        clips = list(read_clips(path, 4, num_clips=3, frame_rate=15))
    assert [len(clip.times) for clip in clips] == [4, 4, 4]
    assert clip_numbers(clips[0]) == [0, 2, 4, 6]
    assert clips[-1].times[-1] <= len(found) / 30 + 0.1


def test_truncated_between_two_frames(tmp_path):
    path = encode(tmp_path / "a.mp4", options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    path.write_bytes(data[: positions[24]])
    with pytest.warns(UserWarning, match=r"a\.mp4: damaged: its end is missing"):
        assert numbers(read_video(path)[0]) == list(range(24))


@pytest.mark.parametrize("name", ["mjpeg.avi", "h264.mkv", "faststart.mp4"])
def test_damaged_in_the_middle(tmp_path, name):
    path = encode(tmp_path / name, **TRUNCATED[name])
    data = bytearray(path.read_bytes())
    dice = random.Random(1)
    for _ in range(8):
        at = dice.randrange(len(data) * 3 // 10, len(data) * 6 // 10)
        data[at : at + 60] = dice.randbytes(60)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=f"{name}: damaged: "):
        frames, _, _ = read_video(path)
    found = numbers(frames)
    assert found[:4] == [0, 1, 2, 3]
    assert found != list(range(60))


def test_no_warning_for_what_a_file_leaves_out_on_purpose(tmp_path):
    """A trimmed copy without a new encoding begins before the frame that is shown first."""
    whole = encode(tmp_path / "whole.mp4", b_frames=2, key_frame_every=30)
    data = bytearray(whole.read_bytes())
    at = data.index(b"elst")
    entry = at + 4 + 8  # version and flags, number of entries
    duration, media_time = struct.unpack(">Ii", data[entry : entry + 8])
    base = read_video_timestamps(whole, "pts")[0][1]  # ticks of a frame
    data[entry : entry + 8] = struct.pack(">Ii", duration * 50 // 60, media_time + 10 * base)
    trimmed = tmp_path / "trimmed.mp4"
    trimmed.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames, _, _ = read_video(trimmed)
    assert numbers(frames) == list(range(10, 60))


@pytest.mark.parametrize(("codec", "format"), [("libx264", "h264"), ("mjpeg", "mjpeg")])
def test_streams_without_a_container(tmp_path, codec, format):
    """They have neither times nor an index."""
    path = encode(tmp_path / f"raw.{format}", codec, format=format, b_frames=2 if codec == "libx264" else 0)
    frames, _, info = read_video(path)
    assert numbers(frames) == list(range(60))
    rate = info["video_fps"]
    assert numbers(read_video(path, 20 / rate, 22 / rate, pts_unit="sec")[0]) == [20, 21, 22]
    clips = list(read_clips(path, 3, num_clips=3))
    assert [clip_numbers(clip) for clip in clips] == [[0, 1, 2], [28, 29, 30], [57, 58, 59]]


def test_no_file_stays_open(folder):
    open_files = Path("/proc/self/fd")
    if not open_files.exists():
        open_files = Path("/dev/fd")
    path = folder / "h264.mp4"
    clips = read_clips(path, 4, num_clips=3)
    next(clips)
    del clips
    read_video(path, 0, 0.1, pts_unit="sec")

    def is_ours(entry):
        try:
            return entry.resolve() == path.resolve()
        except OSError:
            return False

    assert not any(map(is_ours, open_files.iterdir()))


def test_numpy_is_not_needed(folder):
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "from zoo_video import read_clips, read_video\n"
        f"path = {str(folder / 'h264.mp4')!r}\n"
        "print(read_video(path, 0, 1, pts_unit='sec')[0].shape[0], len(list(read_clips(path))))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["31", "1"]
