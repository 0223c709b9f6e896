"""Clips of video files: which frames they hold, and that none is decoded twice or kept longer than it is needed."""

import subprocess
import sys

import av
import pytest
import torch

from support.painted import encode
from zoo_video import read_clips

from .video_formats import clip_numbers


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "one_key_frame.mp4", "vp9.webm", "mjpeg.avi"])
def test_clips_are_spread_evenly(folder, name):
    clips = list(read_clips(folder / name, 4, num_clips=3, frame_rate=10))
    assert [clip_numbers(clip) for clip in clips] == [[0, 3, 6, 9], [25, 28, 31, 34], [50, 53, 56, 59]]
    assert clips[1].frames.shape == (4, 3, 128, 160)
    assert clips[1].frames.dtype == torch.uint8
    assert clips[1].times == pytest.approx([25 / 30, 28 / 30, 31 / 30, 34 / 30], abs=1e-3)
    (middle,) = read_clips(folder / name, 4)
    assert clip_numbers(middle) == [28, 29, 30, 31]
    overlapping = list(read_clips(folder / name, 40, num_clips=3))
    assert [clip_numbers(clip) for clip in overlapping] == [list(range(first, first + 40)) for first in (0, 10, 20)]


def test_a_video_shorter_than_a_clip(folder):
    clips = list(read_clips(folder / "h264.mp4", 5, num_clips=4, frame_rate=1))
    assert [clip_numbers(clip) for clip in clips] == [[0, 14, 29, 44, 59]]
    (long,) = read_clips(folder / "h264.mp4", 200, num_clips=2)
    assert clip_numbers(long) == sorted(clip_numbers(long))
    assert set(clip_numbers(long)) == set(range(60))


def test_a_single_frame(tmp_path):
    path = encode(tmp_path / "one.mp4", count=1, first=5)
    (clip,) = read_clips(path, 16, num_clips=3)
    assert clip_numbers(clip) == [5] * 16
    assert clip.times == [0.0] * 16


def test_transform_is_given_each_frame_once(folder):
    seen = []

    def shrink(frame):
        seen.append(frame.shape)
        return frame[:, ::16, ::16].float()

    clips = list(read_clips(folder / "h264.mp4", 6, num_clips=2, frame_rate=60, transform=shrink))
    assert [clip.frames.shape for clip in clips] == [(6, 3, 8, 10)] * 2
    # At twice the video's rate, frames repeat.
    assert sum(len(set(clip.times)) for clip in clips) == len(seen) <= 8
    assert set(seen) == {(3, 128, 160)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"clip_length": 0}, "at least 1, not 0 and 1"),
        ({"num_clips": 0}, "at least 1, not 16 and 0"),
        ({"frame_rate": 0}, "frame_rate must be more than 0, not 0"),
    ],
)
def test_impossible_clips(folder, arguments, words):
    with pytest.raises(ValueError, match=words):
        read_clips(folder / "h264.mp4", **arguments)


@pytest.fixture
def packets(monkeypatch):
    """How many packets went to decoders, and how many files are open; counted at the boundary to PyAV."""
    counts = {"packets": 0, "open": 0, "most open": 0, "opened": 0}

    class Container:
        def __init__(self, *args, **options):
            self._inner = av_open(*args, **options)
            counts["opened"] += 1
            counts["open"] += 1
            counts["most open"] = max(counts["most open"], counts["open"])

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def demux(self, *args):
            for packet in self._inner.demux(*args):
                counts["packets"] += packet.size > 0
                yield packet

        def close(self):
            counts["open"] -= 1
            self._inner.close()

    av_open = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: (av_open if "w" in args else Container)(*args, **options))
    return counts


def test_only_what_a_clip_needs_is_decoded(tmp_path, packets):
    path = encode(tmp_path / "long.mp4", count=900, key_frame_every=30, b_frames=2, size=(80, 64))
    clips = list(read_clips(path, 4, num_clips=4))
    assert [clip_numbers(clip)[0] for clip in clips] == [0, 298, 597, 896]
    # At most a clip, what lies between it and the key frame before it, a frame of each end; and the end of the file.
    assert packets["packets"] <= 4 * (30 + 4 + 2) + 30


@pytest.mark.parametrize(("num_clips", "key_frame_every"), [(20, 12), (300, 12), (300, 1000), (40, 1000), (9, 1000)])
def test_nothing_is_decoded_twice(tmp_path, packets, num_clips, key_frame_every):
    """Clips overlap, lie side by side, or are farther apart than key frames are, or nearer."""
    path = encode(tmp_path / "a.mp4", count=900, key_frame_every=key_frame_every, size=(80, 64))
    clips = list(read_clips(path, 8, num_clips=num_clips))
    firsts = [clip_numbers(clip)[0] for clip in clips]
    assert firsts == [int(892 * index / (num_clips - 1) + 0.06) for index in range(num_clips)]
    for clip, first in zip(clips[:: len(clips) // 8], firsts[:: len(clips) // 8], strict=True):
        assert clip_numbers(clip) == list(range(first, first + 8))
    # One pass over the file; a look for its end, from the last key frame on; and one seek that turned out needless.
    assert packets["packets"] <= 900 + min(key_frame_every, 900) + 120
    assert (packets["open"], packets["most open"]) == (0, 1)


def test_clips_share_the_frames_that_they_have_in_common(folder):
    seen = []
    clips = list(read_clips(folder / "h264.mp4", 16, num_clips=50, transform=lambda frame: seen.append(0) or frame))
    assert len(clips) == 50
    assert len(seen) == 60


_GROWTH = """
import gc, os, resource, sys
from zoo_video import read_clips
def entries(*folders):
    return len(next((os.listdir(folder) for folder in folders if os.path.exists(folder)), ()))
def resources():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return peak, entries("/proc/self/task"), entries("/proc/self/fd", "/dev/fd")
gc.disable()  # nothing waits for it
for count in (10, 10, 1000):
    most = (0, 0, 0)
    for clip in read_clips(sys.argv[1], 4, num_clips=count, transform=lambda frame: frame[:, ::8, ::8].clone()):
        most = tuple(map(max, most, resources()))
    print(*most, *resources()[1:])
"""


def test_threads_files_and_memory_do_not_grow_with_the_number_of_clips(tmp_path):
    path = encode(tmp_path / "long.mp4", "mpeg4", count=300, size=(640, 480))
    printed = subprocess.run([sys.executable, "-c", _GROWTH, path], capture_output=True, text=True, check=True).stdout
    _, few, many = ([float(value) for value in line.split()] for line in printed.splitlines())
    assert many[0] - few[0] < 40  # MiB, where 1,000 clips have 3.5 GB of pixels
    assert many[1:] == few[1:]


_MEMORY = """
import resource, sys
from zoo_video import read_clips
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
list(read_clips(sys.argv[1], 2))
before = peak()
count = sum(len(clip.times) for clip in read_clips(sys.argv[2], 8, num_clips=40))
print(count, peak() - before)
"""


def test_memory_does_not_grow_with_the_video(tmp_path):
    short = encode(tmp_path / "short.mp4", "mpeg4", count=10, size=(640, 480))
    long = encode(tmp_path / "long.mp4", "mpeg4", count=400, size=(640, 480))  # 370 MB of pixels
    printed = subprocess.run(
        [sys.executable, "-c", _MEMORY, short, long], capture_output=True, text=True, check=True
    ).stdout
    count, growth = printed.split()
    assert int(count) == 320
    assert float(growth) < 120
