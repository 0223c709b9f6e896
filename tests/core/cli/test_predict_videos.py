"""``zoo predict`` on videos, cameras and streams: what is written is opened again and looked into."""

import contextlib
import http.server
import io
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from support.painted import ORIENTATIONS, encode, number, paint, set_display_matrix, tone
from zoo_core.images import pil_to_tensor
from zoo_core.predicting import videos as reading
from zoo_core.videos import streams

from .running import environment, read_terminal, zoo


@pytest.fixture(autouse=True)
def _here(toys, pictures):
    """The current directory, and a model of a task that draws what it was given."""


def written(path):
    """What a player finds in a file: sizes, times, and the number painted into each frame."""
    with av.open(str(path)) as container:
        shown = [(frame.width, frame.height, frame.pts * frame.time_base, frame.to_image()) for frame in
                 container.decode(video=0)]  # fmt: skip
    sizes = {(width, height) for width, height, _, _ in shown}
    for *_, image in shown:
        edge = image.getpixel((1, image.height // 2))
        assert max(255 - edge[0], *edge[1:]) < 60, "what the task draws is there, in its colour"
    numbers = [number(pil_to_tensor(image).permute(1, 2, 0)) for *_, image in shown]
    return sizes, [time for _, _, time, _ in shown], numbers


def sound(path):
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(container.streams.audio) if packet.size)


def records(capsys):
    return json.loads(capsys.readouterr().out)["results"]


def test_a_video_with_sound(capsys):
    encode(Path("clip.mp4"), count=30, audio=tone(1.0, rate=16000)[1])
    zoo("predict", "brightnet", "clip.mp4", "--output", "out", "--json")
    found = records(capsys)
    assert [(r["index"], r["time"]) for r in found] == [(i, round(i / 30, 6)) for i in range(30)]
    assert {tuple(r["output"]) for r in found} == {("out/clip.mp4",)}
    assert [path.name for path in Path("out").iterdir()] == ["clip.mp4"]
    assert written("out/clip.mp4") == ({(160, 128)}, [Fraction(i, 30) for i in range(30)], list(range(30)))
    assert sound("out/clip.mp4") == sound("clip.mp4")
    with av.open("out/clip.mp4") as container:
        assert container.streams.video[0].average_rate == 30
        assert container.duration == pytest.approx(1_000_000, abs=70_000)


@pytest.mark.parametrize(
    ("option", "shown"), [(("--every", "7"), [0, 7, 14, 21, 28]), (("--fps", "10"), list(range(0, 30, 3)))]
)
def test_fewer_frames(capsys, option, shown):
    encode(Path("clip.mp4"), count=30)
    zoo("predict", "brightnet", "clip.mp4", "--output", "out", "--json", *option)
    assert [r["index"] for r in records(capsys)] == shown
    assert written("out/clip.mp4") == ({(160, 128)}, [Fraction(i, 30) for i in shown], shown)


def test_options_that_exclude_each_other(capsys):
    zoo("predict", "brightnet", "clip.mp4", "--every", "2", "--fps", "3", expect=2)
    assert "give one of them" in capsys.readouterr().err


def test_turned_frames_are_upright(capsys):
    matrix, _ = ORIENTATIONS["clockwise"]
    encode(Path("clip.mp4"), count=3)
    set_display_matrix(Path("clip.mp4"), matrix)
    zoo("predict", "brightnet", "clip.mp4", "--output", "out")
    sizes, _, _ = written("out/clip.mp4")
    assert sizes == {(128, 160)}
    with av.open("out/clip.mp4") as container:
        assert next(container.decode(video=0)).rotation == 0


def test_odd_sizes_and_variable_rates(capsys):
    ticks = [0, 40, 45, 300, 333, 1700]
    encode(Path("odd.mkv"), "mpeg4", count=6, times=ticks, time_base=Fraction(1, 1000), size=(101, 77))
    zoo("predict", "brightnet", "odd.mkv", "--output", "out")
    sizes, times, numbers = written("out/odd.mkv")
    assert sizes == {(101, 77)}
    assert [float(t) for t in times] == [tick / 1000 for tick in ticks]
    assert numbers == list(range(6))


def test_damage_in_the_middle(capsys):
    path = encode(Path("clip.ts"), count=60, key_frame_every=10)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 188 * 8] = bytes(188 * 8)
    path.write_bytes(data)
    zoo("predict", "brightnet", "clip.ts", "--output", "out", "--json")
    printed = capsys.readouterr()
    found = json.loads(printed.out)["results"]
    assert "clip.ts: damaged: " in printed.err
    assert 40 <= len(found) <= 60
    _, times, _ = written("out/clip.mp4")
    assert [round(float(time), 3) for time in times] == [round(r["time"], 3) for r in found]


def test_files_that_are_no_videos_do_not_stop_the_others(capsys):
    Path("text.mp4").write_text("no video, but words")
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="stereo")
        for frame in tone(0.5, rate=16000)[1]:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    encode(Path("one.mp4"), count=1)
    zoo("predict", "brightnet", "text.mp4", "sound.mp4", "one.mp4", "--output", "out", expect=1)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "error: text.mp4: cannot be decoded: not a video, damaged, or of a format that FFmpeg cannot read",
        "error: sound.mp4: has no video stream that FFmpeg can decode",
    ]
    assert printed.out.startswith("one.mp4 [0]\n")
    assert [path.name for path in Path("out").iterdir()] == ["one.mp4"]


def test_a_video_among_images_and_two_of_one_name(capsys):
    Path("deep").mkdir()
    encode(Path("clip.mp4"), count=3)
    encode(Path("deep/clip.avi"), "mpeg4", count=2)
    zoo("predict", "brightnet", "clip.mp4", "night.png", "deep/clip.avi", "--output", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["clip-2.mp4", "clip.mp4", "night.png"]
    assert written("out/clip.mp4")[2] == [0, 1, 2]
    assert written("out/clip-2.mp4")[2] == [0, 1]


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "clip.mp4"), (signal.SIGKILL, -9, "clip.part.mp4")]
)
def test_what_was_written_before_an_interruption_plays(toys, number, code, name):
    encode(Path("clip.mp4"), "mpeg4", count=1200, size=(80, 64), audio=tone(2.0, rate=16000)[1])
    command = [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", "clip.mp4", "--output", "out"]
    with subprocess.Popen(command, env=environment(toys.path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        heads = 0
        while heads < 300:
            heads += process.stdout.readline().startswith("clip.mp4")
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code
    assert [path.name for path in Path("out").iterdir()] == [name]
    _, times, _ = written(f"out/{name}")
    assert 120 <= len(times) < 1200, "but for what the encoder holds, and the last seconds"
    assert times == [Fraction(index, 30) for index in range(len(times))]


def test_progress_in_a_terminal(toys):
    encode(Path("clip.mp4"), count=60)
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", "clip.mp4", "--every", "2"]
    with subprocess.Popen(
        command, env=environment(toys.path, TERM="xterm", COLUMNS="80"), stdout=subprocess.DEVNULL, stderr=follower
    ) as process:
        os.close(follower)
        shown = read_terminal(leader)
    assert process.returncode == 0
    assert re.search(r"predicting.*/30.*-?\d?:\d\d", shown), "how many frames are looked at, and the time that is left"


def test_animated_images_are_images(capsys):
    frames = [Image.new("RGB", (16, 16), (level,) * 3) for level in (255, 0)]
    for name in ("a.gif", "a.webp"):
        frames[0].save(name, save_all=True, append_images=frames[1:])
    zoo("predict", "brightnet", "a.gif", "a.webp", "--output", "out")
    assert capsys.readouterr().out.splitlines()[:2] == ["a.gif", "  bright"]
    assert sorted(path.suffix for path in Path("out").iterdir()) == [".png", ".webp"]


# Cameras and streams ---------------------------------------------------------------------------------------------


class _Stream(http.server.BaseHTTPRequestHandler):
    """Sends a video again and again, at the speed at which it plays, or images one after the other.

    ``/stalls`` falls silent behind the clip during which :attr:`seen` is set.
    """

    clip = b""
    clip_seconds = 2.0
    seen: threading.Event
    is_over: threading.Event

    def do_GET(self):
        self.send_response(200)
        is_images = self.path.startswith("/images")
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=xx" if is_images else "video/mp2t")
        self.end_headers()
        with contextlib.suppress(OSError):  # nobody listens any more
            if is_images:
                self._send_images()
            else:
                self._send_clips()

    def _send_images(self):
        for index in itertools.count():
            content = io.BytesIO()
            paint(index % 512).save(content, "JPEG", quality=95)
            head = f"--xx\r\nContent-Type: image/jpeg\r\nContent-Length: {content.tell()}\r\n\r\n"
            self.wfile.write(head.encode() + content.getvalue() + b"\r\n")
            time.sleep(1 / 40)

    def _send_clips(self):
        pieces = [self.clip[start : start + 188 * 20] for start in range(0, len(self.clip), 188 * 20)]
        begin = time.monotonic()
        for index in itertools.count():
            for place, piece in enumerate(pieces):
                due = begin + self.clip_seconds * (index + place / len(pieces))
                time.sleep(max(0, due - time.monotonic()))
                self.wfile.write(piece)
            if self.path.startswith("/stalls") and self.seen.is_set():
                self.is_over.wait()
                return

    def log_message(self, *arguments):
        pass


@dataclass(frozen=True)
class _Server:
    """A server of endless streams."""

    address: str
    seen: threading.Event
    """To be set once enough was seen of a stream."""


@pytest.fixture
def server(tmp_path):
    path = encode(tmp_path / "a.ts", count=60, audio=tone(2.0, rate=16000)[1], audio_codec="aac")
    seen, is_over = threading.Event(), threading.Event()
    handler = type("Stream", (_Stream,), {"clip": path.read_bytes(), "seen": seen, "is_over": is_over})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        found.daemon_threads = True
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield _Server(f"http://127.0.0.1:{found.server_address[1]}", seen)
        is_over.set()
        found.shutdown()


@pytest.mark.parametrize(("name", "has_sound"), [("live", True), ("images", False), ("stalls", True)])
def test_a_stream_until_ctrl_c(toys, server, name, has_sound):
    address = f"{server.address}/{name}"
    command = [sys.executable, "-m", "zoo_core.cli", "predict", "brightnet", address, "--output", "out"]
    with subprocess.Popen(
        command, env=environment(toys.path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        heads = []
        while len(heads) < 20:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            heads += [line.strip()] if line.startswith("http") else []
        server.seen.set()
        process.send_signal(signal.SIGINT)
        # Not communicate(), which loses the lines that were read ahead of readline().
        heads += [line.strip() for line in process.stdout if line.startswith("http")]
        errors = process.stderr.read()
    assert process.returncode == 0
    assert errors == ""
    assert heads[0] == f"{address} [0]"
    assert [path.name for path in Path("out").iterdir()] == [f"{name}.mp4"]
    sizes, times, numbers = written(f"out/{name}.mp4")
    assert sizes == {(160, 128)}
    assert len(times) == len(heads)
    assert times == sorted(set(times))
    assert times[0] == 0
    assert -1 not in numbers
    with av.open(f"out/{name}.mp4") as container:
        assert bool(container.streams.audio) == has_sound
        if has_sound:
            length = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
            assert length == pytest.approx(float(times[-1]), abs=2)


def test_a_stream_that_breaks_off(server, monkeypatch, capsys):
    """What was seen of it is kept."""
    monkeypatch.setattr(streams, "_TIMEOUTS", (5.0, 1.0))
    server.seen.set()
    address = f"{server.address}/stalls"
    zoo("predict", "brightnet", address, "--output", "out", "--json", expect=1)
    *found, failure = records(capsys)
    assert failure["error"] == f"{address}: broke off: nothing came for too long"
    sizes, times, _ = written("out/stalls.mp4")
    assert sizes == {(160, 128)}
    assert len(times) == len(found) > 0


def test_a_file_on_a_server_is_read_whole_and_in_order(toys, tmp_path, capsys):
    """Unlike a live stream it waits for the model, and Ctrl-C interrupts."""
    encode(tmp_path / "clip.mp4", count=40, audio=tone(1.0, rate=16000)[1], options={"movflags": "faststart"})
    handler = type("Files", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=tmp_path)) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{found.server_address[1]}/clip.mp4"
        zoo("predict", "brightnet", address, "--output", "out", "--json")
        assert {r["file"] for r in records(capsys)} == {address}
        zoo("predict", "brightnet", address.replace("clip", "none"), expect=1)
        missing = capsys.readouterr().err
        found.shutdown()
    assert written("out/clip.mp4")[2] == list(range(40))
    assert sound("out/clip.mp4") == sound(tmp_path / "clip.mp4")
    assert "none.mp4: cannot be opened: the server has nothing under this address (404)" in missing


def test_a_playlist_on_a_server_opens_no_files(tmp_path, capsys):
    secret = encode(tmp_path / "secret.ts", count=5)
    for name, part in (("list", f"file://{secret}"), ("good", "secret.ts")):
        (tmp_path / f"{name}.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9.0,\n{part}\n#EXT-X-ENDLIST\n"
        )
    handler = type("Files", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=tmp_path)) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        zoo("predict", "brightnet", f"http://127.0.0.1:{found.server_address[1]}/good.m3u8")
        assert capsys.readouterr().out.count("good.m3u8 [") == 5
        zoo("predict", "brightnet", f"http://127.0.0.1:{found.server_address[1]}/list.m3u8", expect=1)
        found.shutdown()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "list.m3u8: " in printed.err


def test_a_camera(monkeypatch, capsys):
    """FFmpeg's pattern generator stands for the camera, which this machine may not have."""
    monkeypatch.setattr(
        streams, "_camera", lambda name: {"file": f"testsrc=size=96x64:rate=20:n={name}", "format": "lavfi"}
    )
    stopped = []

    def stop_later(playback):
        stopped.append(threading.Timer(0.5, playback.stop))
        stopped[-1].start()

    monkeypatch.setattr(reading._live, "add", stop_later)
    zoo("predict", "brightnet", "0", "--output", "out", "--json")
    found = records(capsys)
    assert {r["file"] for r in found} == {"0"}
    sizes, times, _ = written("out/camera0.mp4")
    assert sizes == {(96, 64)}
    assert len(times) == len(found) > 0


def test_a_camera_that_is_not_there(capsys):
    zoo("predict", "brightnet", "37", expect=1)
    assert "error: 37: no camera that can be opened: " in capsys.readouterr().err


def test_passwords_are_not_shown(capsys):
    zoo("predict", "brightnet", "rtsp://me:secret@127.0.0.1:9/live", "--json", expect=1)
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    assert "rtsp://***@127.0.0.1:9/live: cannot be opened: connection refused" in printed.err
