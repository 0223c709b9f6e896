"""Videos whose frames carry their number, in blocks that survive lossy compression."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch
from PIL import Image, ImageDraw
from torch import Tensor

WIDTH, HEIGHT, BITS = 160, 128, 10
COLUMNS = 5


def paint(number: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """An image of the number's bits: blocks in two rows, white for one."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for bit in range(BITS):
        if number >> bit & 1:
            draw.rectangle(block(bit, width, height), fill="white")
    return image


def block(bit: int, width: int, height: int) -> tuple[int, int, int, int]:
    column, row = bit % COLUMNS, bit // COLUMNS
    left, top = column * width // COLUMNS, row * height // 2
    return left, top, (column + 1) * width // COLUMNS - 1, (row + 1) * height // 2 - 1


def number(frame: Tensor) -> int:
    """The number painted into a frame, uint8 Tensor[H, W, 3]; -1 if a block is neither black nor white."""
    height, width = frame.shape[:2]
    found = 0
    for bit in range(BITS):
        left, top, right, bottom = block(bit, width, height)
        margin_x, margin_y = (right - left) // 4, (bottom - top) // 4
        level = frame[top + margin_y : bottom - margin_y, left + margin_x : right - margin_x].float().mean().item()
        if 90 < level < 165:
            return -1
        found |= (level > 128) << bit
    return found


def numbers(frames: Tensor) -> list[int]:
    """The numbers of Tensor[T, H, W, 3]."""
    return [number(frame) for frame in frames]


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    count: int = 60,
    rate: int | Fraction = 30,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    key_frame_every: int = 12,
    b_frames: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    first: int = 0,
    extra_streams: int = 0,
    audio: Iterable[av.AudioFrame] | None = None,
    audio_codec: str = "aac",
    options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Writes a video of the numbers from ``first`` on.

    Args:
        times: of the frames, in units of ``time_base``; by default one after the other at ``rate``.
        extra_streams: further video streams, which show other numbers.
        audio: frames for an audio stream.
    """
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        streams = []
        for _ in range(1 + extra_streams):
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.gop_size = key_frame_every
            stream.max_b_frames = b_frames
            if codec == "libx264":
                stream.options = {"sc_threshold": "0", "preset": "veryfast"}
            if codec == "libvpx-vp9":
                stream.options = {"deadline": "realtime", "cpu-used": "8"}
            if time_base is not None:
                stream.time_base = stream.codec_context.time_base = time_base
            streams.append(stream)
        sound = None
        if audio is not None:
            audio = list(audio)
            sound = container.add_stream(audio_codec, rate=audio[0].sample_rate)
            sound.layout = audio[0].layout
        for index in range(count):
            for offset, stream in enumerate(streams):
                frame = av.VideoFrame.from_image(paint(first + index + 500 * offset, *size))
                frame.pts = index if times is None else times[index]
                if time_base is not None:
                    frame.time_base = time_base
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
        for frame in audio or ():
            container.mux(sound.encode(frame))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def tone(seconds: float, rate: int = 16000, channels: int = 2) -> tuple[Tensor, list[av.AudioFrame]]:
    """A loudness that grows with time, so that a sample tells its time: samples, and frames of them."""
    count = int(seconds * rate)
    ramp = torch.linspace(-0.9, 0.9, count)
    samples = torch.stack([ramp, -ramp][:channels])
    frames = []
    for start in range(0, count, 1000):
        part = samples[:, start : start + 1000].contiguous()
        frame = av.AudioFrame(format="fltp", layout="stereo" if channels == 2 else "mono", samples=part.shape[1])
        for plane, values in zip(frame.planes, part, strict=True):
            padded = torch.zeros(plane.buffer_size // 4)
            padded[: values.shape[0]] = values
            plane.update(bytes(padded.untyped_storage()))
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append(frame)
    return samples, frames


# A display matrix, by which x' = a x + c y and y' = b x + d y, and what it does to frames [T, H, W, 3].
ORIENTATIONS = {
    "as stored": ((1, 0, 0, 1), lambda frames: frames),
    "clockwise": ((0, 1, -1, 0), lambda frames: torch.rot90(frames, -1, (1, 2))),
    "upside down": ((-1, 0, 0, -1), lambda frames: torch.rot90(frames, 2, (1, 2))),
    "counterclockwise": ((0, -1, 1, 0), lambda frames: torch.rot90(frames, 1, (1, 2))),
    "mirrored": ((-1, 0, 0, 1), lambda frames: frames.flip(2)),
    "mirrored vertically": ((1, 0, 0, -1), lambda frames: frames.flip(1)),
    "transposed": ((0, 1, 1, 0), lambda frames: frames.transpose(1, 2)),
}


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes one of the matrices into the header of the track of an MP4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def with_cover(path: Path, codec: str | None) -> Path:
    """Sound with the picture of a record's cover, and with a video if there is a codec for it."""
    _, audio = tone(1.0, rate=44100)
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        sound = container.add_stream("libmp3lame" if path.suffix == ".mp3" else "aac", rate=44100)
        sound.layout = "stereo"
        video = None
        if codec:
            video = container.add_stream(codec, rate=30)
            video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_image(paint(1023, 64, 64))))
        container.mux(cover.encode(None))
        for frame in audio:
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        if video is not None:
            for index in range(9):
                container.mux(video.encode(av.VideoFrame.from_image(paint(index))))
            container.mux(video.encode(None))
    return path
