"""Videos played ahead of one who is slow: how much is in memory, and which frames are left out."""

import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest

from support.painted import encode, number
from zoo_core.images import pil_to_tensor
from zoo_core.sampling import Sampling
from zoo_core.videos import Playback, VideoFile, VideoReadError, streams


def shown(playback):
    return [(frame.index, number(pil_to_tensor(frame.image).permute(1, 2, 0))) for frame in playback]


class Counting(VideoFile):
    """Counts the frames that became images."""

    made = 0

    def image(self, frame):
        self.made += 1
        return super().image(frame)


def test_decoding_waits_for_the_one_who_takes(tmp_path):
    video = Counting(encode(tmp_path / "a.mp4", count=60))
    with Playback(video, depth=3) as playback:
        frames = iter(playback)
        next(frames)
        time.sleep(0.3)
        assert video.made <= 5
        assert [frame.index for frame in frames] == list(range(1, 60))
    assert playback.is_finished
    assert not playback._thread.is_alive()


def test_frames_that_are_not_looked_at_are_not_converted(tmp_path):
    video = Counting(encode(tmp_path / "a.mp4", count=60))
    with Playback(video, Sampling(every=20)) as playback:
        assert shown(playback) == [(0, 0), (20, 20), (40, 40)]
    assert video.made == 3


def test_one_who_has_enough(tmp_path):
    video = VideoFile(encode(tmp_path / "a.mp4", count=60))
    with Playback(video) as playback:
        next(iter(playback))
    assert not playback._thread.is_alive()
    assert not playback.is_finished
    with pytest.raises(ValueError, match="was closed"):
        next(video.frames())


def test_an_error_comes_where_the_frame_would_have(tmp_path):
    class Broken(VideoFile):
        def image(self, frame):
            raise VideoReadError("no image")

    with Playback(Broken(encode(tmp_path / "a.mp4", count=2))) as playback, pytest.raises(VideoReadError):
        next(iter(playback))


def test_a_live_stream_does_not_wait(monkeypatch):
    """Of frames that come meanwhile the newest are kept. A pattern of FFmpeg's stands for the camera."""
    monkeypatch.setattr(streams, "_camera", lambda name: {"file": "testsrc=size=64x48:rate=25", "format": "lavfi"})
    with Playback(streams.VideoStream("0"), depth=2) as playback:
        frames = iter(playback)
        first = next(frames)
        time.sleep(0.4)
        later = next(frames)
        assert first.index == 0
        assert first.time == 0
        assert later.index > 3
        assert later.time == Fraction(later.index, 25)
        threading.Timer(0.1, playback.stop).start()
        assert list(frames) is not None
    assert playback.is_finished


@pytest.mark.parametrize(
    ("sampling", "chosen"),
    [
        (Sampling(), range(10)),
        (Sampling(every=4), [0, 4, 8]),
        (Sampling(rate=10), [0, 3, 5, 8]),  # of 25 in a second
        (Sampling(rate=25), range(10)),
        (Sampling(rate=0.1), [0]),
    ],
)
def test_sampling(sampling, chosen):
    looks = sampling.chooser()
    found = [index for index in range(10) if looks(index, Fraction(index, 25))]
    assert found == list(chosen)
    assert sampling.count(10, Fraction(25)) == pytest.approx(len(chosen), abs=1)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"rate": 0}, {"rate": float("inf")}, {"every": 2, "rate": 3}])
def test_sampling_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=r"must be|chosen by"):
        Sampling(**wrong)


_MEMORY = """
import sys, time
from pathlib import Path
import torch
from support import toy_package
from zoo_core import predicting, specs
from zoo_core.engines import EagerEngine
from zoo_core.tasks import task_class
torch.set_num_threads(1)
folder = Path(sys.argv[1])
peaks = []
with toy_package.installed(folder / "site"):
    spec = specs.find("brightnet", weights="FILE_V1")
    task = task_class(spec.task)(spec)

    class Slow(torch.nn.Module):
        def forward(self, batch):
            time.sleep(0.001 * len(batch))  # slower than the decoder
            return batch.mean(dim=(1, 2, 3))[:, None].expand(-1, 2)

    engine = EagerEngine(Slow())

    for name in ("short.mkv", "short.mkv", "long.mkv"):
        sources, _ = predicting.find_sources(task.declaration, [str(folder / name)])
        with predicting.Saver(folder / name.partition(".")[0]) as saver:
            count = sum(1 for _ in saver.follow(predicting.run(task, engine, sources)))
        # That of getrusage() includes the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        peaks.append(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024)
print(count, *peaks)
"""


def test_memory_does_not_grow_with_length(tmp_path):
    """Ten times the frames, which a slow model looks at and which are drawn on and written, need what a tenth does."""
    from support import toy_package

    toy_package.write(tmp_path / "site")
    encode(tmp_path / "short.mkv", "mpeg4", count=100, key_frame_every=12)
    encode(tmp_path / "long.mkv", "mpeg4", count=1000, key_frame_every=12)
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, tmp_path], env={"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, first, second, longer = map(int, done.stdout.split())
    assert count == 1000
    assert longer - max(first, second) < 20, "MB; the frames alone are 60"
