"""Videos that are written, opened again and looked into: size, times, colours, and the sound packet by packet."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from support.painted import encode, number, paint, tone
from zoo_core.images import pil_to_tensor
from zoo_core.sampling import Sampling
from zoo_core.videos import FileSound, Playback, VideoFile, VideoWriteError, VideoWriter, suffix_for, writing

COLORS = ((200, 30, 60), (0, 200, 255), (250, 200, 0))


def patches(size):
    """Three colours side by side."""
    image = Image.new("RGB", size)
    width = size[0] // 3
    for place, color in enumerate(COLORS):
        image.paste(color, (place * width, 0, (place + 1) * width, size[1]))
    return image


def copy(source, target, **sampling):
    """Every frame of a video that is looked at, and its sound."""
    with Playback(VideoFile(source), Sampling(**sampling)) as playback:
        video, sound, writer = playback.video, FileSound(VideoFile(source)), None
        for shown in playback:
            writer = writer or VideoWriter(
                target,
                shown.image.size,
                rate=playback.sampling.effective_rate(video.rate),
                time_base=video.time_base,
                pixel_ratio=video.pixel_ratio,
                sounds=sound.video.sounds,
                metadata=video.metadata,
            )
            for packet in sound.take_sound(shown.time):
                writer.write_sound(packet, video.origin)
            writer.write(shown.image, shown.time)
        assert writer is not None
        for packet in sound.take_sound():
            writer.write_sound(packet, video.origin)
        writer.close()
        sound.close()
    return target


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """60 frames in 2 seconds, with sound."""
    return encode(tmp_path_factory.mktemp("clip") / "a.mp4", audio=tone(2.0, rate=16000)[1])


def times(path):
    """When each frame is shown, in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def numbers(path):
    """The number painted on each frame."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [number(pil_to_tensor(frame.to_image()).permute(1, 2, 0)) for frame in frames]


def sound(path):
    """The packets of the sound: what is in them, and when they begin, in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio) if packet.size]
        return [bytes(packet) for packet in packets], [float(packet.pts * packet.time_base) for packet in packets]


def stream(path):
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return video.codec_context.name, (video.width, video.height), video.codec_context.pix_fmt, video.average_rate


@pytest.mark.parametrize(
    ("size", "encoders", "expected"),
    [
        ((96, 64), None, ("h264", "yuv420p")),
        ((101, 77), None, ("h264", "yuv444p")),
        ((102, 77), None, ("h264", "yuv444p")),
        ((96, 64), {}, ("mpeg4", "yuv420p")),
        ((101, 77), {}, ("mpeg4", "yuv420p")),
    ],
)
def test_sizes_and_colours(tmp_path, monkeypatch, size, encoders, expected):
    if encoders is not None:
        monkeypatch.setattr(writing, "_ENCODERS", encoders)
    path = tmp_path / "a.mp4"
    with VideoWriter(path, size, rate=Fraction(24)) as writer:
        for index in range(5):
            writer.write(patches(size), Fraction(index, 24))
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]
    codec, found, pixels, rate = stream(path)
    assert (codec, pixels) == expected
    assert found == size
    assert rate == 24
    assert times(path) == [Fraction(index, 24) for index in range(5)]
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        image = frame.to_image()
    assert image.size == size
    for place, color in enumerate(COLORS):
        shown = image.getpixel(((2 * place + 1) * size[0] // 6, size[1] // 2))
        assert max(abs(a - b) for a, b in zip(shown, color, strict=True)) <= 8
    assert (int(frame.colorspace), int(frame.color_range)) == (6, 1), "players are told what the colours are"


@pytest.mark.parametrize(
    ("name", "codec", "audio_codec", "rate"),
    [("a.mp4", "libx264", "aac", 44100), ("a.mkv", "libx264", "libopus", 48000), ("a.ts", "libx264", "mp2", 44100),
     ("a.mov", "libx264", "pcm_s16le", 16000), ("a.avi", "mpeg4", "libmp3lame", 44100)],
)  # fmt: skip
def test_times_and_sound_are_those_of_the_source(tmp_path, name, codec, audio_codec, rate):
    source = encode(tmp_path / name, codec, audio=tone(0.8, rate=rate)[1], audio_codec=audio_codec, count=24)
    written = copy(source, tmp_path / f"out{suffix_for(source)}")
    with VideoFile(source) as video:
        expected = [time - video.origin for time, _ in video.frames()]
    assert [float(t) for t in times(written)] == pytest.approx([float(t) for t in expected], abs=0.0011)
    assert numbers(written) == numbers(source)
    packets, begins = sound(source)
    copied, begin = sound(written)
    assert b"".join(copied) == b"".join(packets)
    with VideoFile(source) as video:
        assert begin[0] == pytest.approx(begins[0] - float(video.origin), abs=0.002)


def test_sound_of_transport_streams_loses_its_headers(tmp_path):
    source = encode(tmp_path / "a.ts", audio=tone(0.8, rate=16000)[1], count=24)
    decoded = []
    for path in (source, copy(source, tmp_path / "a.mp4"), copy(source, tmp_path / "a.mkv")):
        with av.open(str(path)) as container:
            decoded.append(b"".join(bytes(frame.planes[0]) for frame in container.decode(audio=0)))
    assert decoded[0]
    assert decoded[1] == decoded[2] == decoded[0]


def test_sound_that_the_format_does_not_take_is_encoded_anew(tmp_path):
    samples, audio = tone(1.5, rate=44100, channels=1)
    source = encode(tmp_path / "a.avi", "mpeg4", audio=audio, audio_codec="adpcm_ms", count=45)
    written = copy(source, tmp_path / "a.mp4")
    with VideoFile(written) as video, av.open(str(written)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = video.samples(Fraction(0), None)[0]
    assert heard.numel() == pytest.approx(samples.shape[1], abs=3000)
    # A ramp: what is heard tells the time.
    middle = heard[heard.numel() // 2 - 200 : heard.numel() // 2 + 200].mean()
    assert float(middle) == pytest.approx(0, abs=0.1)
    assert float(heard[-6000:-4000].mean()) > 0.6


def test_variable_frame_rate(tmp_path):
    ticks = [0, 40, 45, 300, 333, 1700, 1733, 1734]
    source = encode(tmp_path / "a.mkv", count=8, times=ticks, time_base=Fraction(1, 1000))
    for suffix in (".mkv", ".mp4"):
        written = copy(source, tmp_path / f"out{suffix}")
        assert times(written) == [Fraction(tick, 1000) for tick in ticks]
        assert numbers(written) == list(range(8))


def test_pixels_that_are_not_square(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (96, 64), pixel_ratio=Fraction(4, 3)) as writer:
        writer.write(patches((96, 64)), 0)
    with VideoFile(tmp_path / "a.mp4") as video:
        assert video.pixel_ratio == Fraction(4, 3)


@pytest.mark.parametrize(
    ("sampling", "shown", "rate"),
    [({"every": 7}, list(range(0, 60, 7)), Fraction(30, 7)), ({"rate": 10}, list(range(0, 60, 3)), 10),
     ({"rate": 100}, list(range(60)), 30), ({"rate": 0.5}, [0], None), ({"every": 1000}, [0], None)],
)  # fmt: skip
def test_fewer_frames_at_their_own_times(tmp_path, clip, sampling, shown, rate):
    written = copy(clip, tmp_path / "b.mp4", **sampling)
    assert numbers(written) == shown
    assert times(written) == [Fraction(index, 30) for index in shown]
    assert b"".join(sound(written)[0]) == b"".join(sound(clip)[0])
    if rate is not None:
        assert stream(written)[3] == rate


def test_metadata(tmp_path):
    source = encode(tmp_path / "a.mkv", count=2)
    with av.open(str(source)) as read, av.open(str(tmp_path / "b.mkv"), "w") as titled:
        template = read.streams.video[0]
        target = titled.add_stream_from_template(template)
        titled.metadata.update({"title": "Häschen", "encoder": "somebody's"})
        for packet in read.demux(template):
            if packet.size:
                packet.stream = target
                titled.mux(packet)
    with VideoFile(copy(tmp_path / "b.mkv", tmp_path / "c.mkv")) as video:
        named = {key.lower(): value for key, value in video.metadata.items()}
    assert named["title"] == "Häschen"
    assert named["encoder"] != "somebody's"


def test_frames_of_another_size_are_scaled(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (96, 64)) as writer:
        writer.write(patches((96, 64)), 0)
        writer.write(patches((48, 32)), Fraction(1, 25))
    assert stream(tmp_path / "a.mp4")[1] == (96, 64)
    assert len(times(tmp_path / "a.mp4")) == 2


def test_times_that_do_not_rise(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (96, 64), time_base=Fraction(1, 1000)) as writer:
        for time in (0, Fraction(1, 25), Fraction(1, 25), 0):
            writer.write(patches((96, 64)), time)
    assert times(tmp_path / "a.mp4") == [Fraction(t, 1000) for t in (0, 40, 41, 42)]


def test_without_a_frame_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (96, 64)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(VideoWriteError, match=r"none/a\.mp4: cannot be written: no such file"):
        VideoWriter(tmp_path / "none" / "a.mp4", (96, 64))


_FULL = """
import resource, signal
from fractions import Fraction
from pathlib import Path
from PIL import Image
from zoo_core.videos import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer = VideoWriter(Path("a.mp4"), (320, 240))
for index in range(1000):
    writer.write(Image.effect_noise((320, 240), 200), Fraction(index, 5))
"""


def test_a_full_disk_leaves_what_was_written(tmp_path):
    done = subprocess.run([sys.executable, "-c", _FULL], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("VideoWriteError: a.mp4: cannot be written: file too large")
    assert [path.name for path in tmp_path.iterdir()] == ["a.part.mp4"]


_KILLED = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
from support.painted import paint
from zoo_core.videos import VideoWriter
writer = VideoWriter(Path(sys.argv[1]), (160, 128), rate=Fraction(25))
for index in range(300):
    writer.write(paint(index), Fraction(index, 25))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_killed_program_leaves_a_file_that_plays(tmp_path, name):
    tests = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", _KILLED, tmp_path / name], env={"PYTHONPATH": tests}, check=False)
    (part,) = tmp_path.iterdir()
    assert part.name == name.replace("a.", "a.part.")
    shown = numbers(part)
    assert shown == list(range(len(shown)))
    assert len(shown) >= 120, "but for what the encoder holds, and the last seconds"


def test_names():
    assert [suffix_for(Path(name)) for name in ("a.MOV", "b.mkv", "c.webm", "d.mp4", "e")] == [
        ".mov", ".mkv", ".mp4", ".mp4", ".mp4"
    ]  # fmt: skip


def test_painted_frames_survive(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (160, 128)) as writer:
        for index in range(600, 640):
            writer.write(paint(index), Fraction(index - 600, 25))
    assert numbers(tmp_path / "a.mp4") == list(range(600, 640))
