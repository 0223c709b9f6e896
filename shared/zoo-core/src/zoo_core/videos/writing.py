"""Writes videos: H.264, or MPEG-4 where FFmpeg cannot encode that, with the sound of the video that they come from.

What was written is there whatever happens: a file that was not closed, because the program was killed or the disk is
full, plays up to its last few seconds, under the name ``clip.part.mp4``. A file that was closed has its own name.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from zoo_core.extras import require

if TYPE_CHECKING:
    import av
    from av.bitstream import BitStreamFilterContext
    from av.video.reformatter import VideoReformatter
else:
    av = require("av", extra="video", purpose="to write videos")
    BitStreamFilterContext = require("av.bitstream", extra="video", purpose="to write videos").BitStreamFilterContext
    VideoReformatter = require("av.video.reformatter", extra="video", purpose="to write videos").VideoReformatter

__all__ = ["VideoWriteError", "VideoWriter", "suffix_for"]

# Encoders of H.264 that run on any machine, and what they are told: a quality at which one sees no loss.
_ENCODERS = {"libx264": {"preset": "veryfast", "crf": "20"}, "libopenh264": {"rc_mode": "quality"}}
_FALLBACK = "mpeg4"
_MPEG4_QUALITY = 3  # of 1, the best, to 31
# MPEG-4 counts time in 16 bits.
_FINEST_MPEG4 = 65_535
_FORMATS = {".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
# Fragments that play by themselves are written as they come. Closing makes an ordinary file of them, but with FFmpeg
# 8.0, which gets the places of the frames wrong then.
_MAKES_ORDINARY = av.library_versions["libavformat"] >= (62, 12)
_MP4_OPTIONS = {"movflags": f"{'hybrid_fragmented' if _MAKES_ORDINARY else 'frag_keyframe'}+delay_moov"}
_MKV_OPTIONS = {"cluster_time_limit": "2000"}
# Frames wait for sound, and sound for frames, only for so many microseconds of a video.
_OPTIONS = {"flush_packets": "1", "max_interleave_delta": "3000000"}
# Seconds from a key frame to the next: so much is lost if the program is killed.
_KEY_FRAME_EVERY = 2
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# What is copied of what a file says of itself. The rest is about how it was written.
_METADATA = frozenset(
    {"title", "artist", "album", "comment", "copyright", "creation_time", "date", "description", "genre", "location"}
)
# ITU-R BT.601, with the numbers that FFmpeg has for it, and the narrow range: what players assume of what says nothing.
_SMPTE170M = 6
_NARROW = 1


class VideoWriteError(OSError):
    """A video could not be written; the message names the file and the reason in one line."""


def suffix_for(path: Path) -> str:
    """Ending of the file that shows results on a video: ``".mkv"`` and ``".mov"`` stay, all else becomes ``".mp4"``."""
    return path.suffix.lower() if path.suffix.lower() in _FORMATS else ".mp4"


class VideoWriter:
    """A video file that is being written. Close it, or use it in a ``with`` statement.

    All sizes are written exactly. H.264 halves the resolution of the colours, as all players take it; that takes even
    sizes, and frames with an odd one get their colours in full, which browsers and FFmpeg play and some hardware does
    not.

    Args:
        path: the file, ``.mp4``, ``.mkv`` or ``.mov``; what was there before is replaced when this one is closed.
        size: width and height of the frames; others are scaled to it.
        rate: how many frames there are per second, roughly: their times are their own.
        time_base: the unit in which times are written, in seconds; best that of the video that they come from.
        pixel_ratio: width of a pixel as it is shown, divided by its height.
        sounds: streams of sound, of a file that is open until this one is closed. They are copied where the format
            takes that, and else encoded anew as AAC.
        metadata: what the file is to say of itself, of which the title and the like are taken.

    Raises:
        VideoWriteError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        *,
        rate: Fraction | None = None,
        time_base: Fraction | None = None,
        pixel_ratio: Fraction = Fraction(1),
        sounds: "Sequence[av.AudioStream]" = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.part = path.with_name(f"{path.stem}.part{path.suffix}")
        self.size = size
        self.count = 0
        """How many frames were written."""
        self._last = -1
        self._is_closed = False
        self._reformatter = VideoReformatter()
        kind = _FORMATS[path.suffix.lower()]
        with self._naming_the_file():
            self._container = av.open(
                str(self.part),
                "w",
                format=kind,
                options=_OPTIONS | (_MKV_OPTIONS if kind == "matroska" else _MP4_OPTIONS),
            )
        try:
            self._stream = self._video_stream(rate or Fraction(25), time_base or Fraction(1, 90_000), pixel_ratio)
            self._tracks = {sound.index: _track(self._container, sound) for sound in sounds}
            self._container.metadata.update({k: v for k, v in (metadata or {}).items() if k.lower() in _METADATA})
            with self._naming_the_file():
                self._container.start_encoding()
        except BaseException:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._container.close()
            self.part.unlink(missing_ok=True)
            raise

    def _video_stream(self, rate: Fraction, time_base: Fraction, pixel_ratio: Fraction) -> Any:
        is_odd = any(length % 2 for length in self.size)
        name, pixels = _encoder(is_odd)
        self._step = max(round(1 / (rate * time_base)), 1)
        stream: Any = self._container.add_stream(name, rate=rate)
        stream.width, stream.height = self.size
        stream.pix_fmt = pixels
        if name == _FALLBACK:
            if time_base.denominator > _FINEST_MPEG4:
                time_base = Fraction(1, 60_000)
            stream.codec_context.qmin = stream.codec_context.qmax = _MPEG4_QUALITY
            # Rate control goes by the quality alone.
            stream.bit_rate = max(self.size[0] * self.size[1] * 12, 400_000)
        else:
            stream.options = _ENCODERS[name]
        context = stream.codec_context
        self._time_base = time_base
        stream.time_base = context.time_base = time_base
        context.gop_size = max(round(rate * _KEY_FRAME_EVERY), 1)
        context.sample_aspect_ratio = pixel_ratio
        context.thread_type = "AUTO"
        context.colorspace = context.color_primaries = context.color_trc = _SMPTE170M
        context.color_range = _NARROW
        return stream

    @contextlib.contextmanager
    def _naming_the_file(self) -> Any:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoWriteError(f"{self.path}: cannot be written: {reason[:1].lower()}{reason[1:]}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, image: Image.Image, time: Fraction | float) -> None:
        """Writes the next frame.

        Args:
            image: in RGB.
            time: when it is shown, in seconds; later than the frame before.

        Raises:
            VideoWriteError: it cannot be written.
        """
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.BILINEAR)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_image(image.convert("RGB")),
            format=self._stream.pix_fmt,
            dst_colorspace=_SMPTE170M,
            dst_color_range=_NARROW,
        )
        self._last = max(round(Fraction(time) / self._time_base), self._last + 1)
        frame.pts, frame.time_base, frame.duration = self._last, self._time_base, self._step
        with self._naming_the_file():
            self._container.mux(self._stream.encode(frame))
        self.count += 1

    def write_sound(self, packet: "av.Packet", origin: Fraction = Fraction(0)) -> None:
        """Writes a packet of one of the streams of sound. Packets of others are left out.

        Args:
            packet: of the video that the sound comes from; it is changed.
            origin: the time in that video that is 0 in this one, in seconds.

        Raises:
            VideoWriteError: it cannot be written.
        """
        track = self._tracks.get(packet.stream.index)
        if track is not None:
            with self._naming_the_file():
                self._container.mux(track.packets(packet, origin))

    def close(self) -> None:
        """Finishes the file, and gives it its name. One without a frame is removed.

        Raises:
            VideoWriteError: it cannot be finished. What was written of it stays beside, as ``clip.part.mp4``.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with self._naming_the_file():
            try:
                if self.count:
                    self._container.mux(self._stream.encode(None))
                    for track in self._tracks.values():
                        self._container.mux(track.end())
            finally:
                self._container.close()
            if self.count:
                os.replace(self.part, self.path)
            else:
                self.part.unlink(missing_ok=True)


def _encoder(is_odd: bool) -> tuple[str, str]:
    """An encoder that is there, and the format of pixels that it gets."""
    for name in _ENCODERS:
        try:
            formats = {found.name for found in av.Codec(name, "w").video_formats or ()}
        except (av.codec.codec.UnknownCodecError, ValueError):
            continue
        pixels = "yuv444p" if is_odd else "yuv420p"
        if pixels in formats:
            return name, pixels
    return _FALLBACK, "yuv420p"


class _Copied:
    """A stream of sound that is taken over as it is."""

    def __init__(self, container: Any, sound: "av.AudioStream") -> None:
        self._stream = container.add_stream_from_template(sound)
        # AAC of transport streams, each packet with a header of its own, which other formats keep once.
        is_bare = sound.codec_context.name == "aac" and not sound.codec_context.extradata
        self._filter = BitStreamFilterContext("aac_adtstoasc", sound) if is_bare else None
        self._end = -(10**18)  # where the next packet may begin
        self._shift = 0

    def packets(self, packet: "av.Packet", origin: Fraction) -> "list[av.Packet]":
        if packet.dts is None or packet.is_corrupt:
            return []
        moved = self._shift - round(origin / (packet.time_base or 1))
        if packet.dts + moved < self._end:  # a live stream that begins anew
            self._shift += self._end - packet.dts - moved
            moved = self._end - packet.dts
        packet.dts += moved
        if packet.pts is not None:
            packet.pts += moved
        self._end = packet.dts + max(packet.duration or 0, 1)
        filtered = [packet] if self._filter is None else self._filter.filter(packet)
        for packet in filtered:
            packet.stream = self._stream
        return filtered

    def end(self) -> "list[av.Packet]":
        return []


class _Encoded:
    """A stream of sound that is encoded anew."""

    def __init__(self, container: Any, sound: "av.AudioStream") -> None:
        rate = next((rate for rate in _AAC_RATES if rate >= sound.rate), _AAC_RATES[-1])
        self._decoder = sound.codec_context
        self._stream = container.add_stream("aac", rate=rate)
        layout = "mono" if sound.channels == 1 else "stereo"
        self._stream.layout = layout
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        self._rate = rate
        self._next: int | None = None

    def packets(self, packet: "av.Packet", origin: Fraction) -> "list[av.Packet]":
        try:
            decoded = list(self._decoder.decode(packet))
        except av.FFmpegError:
            return []
        encoded: list[av.Packet] = []
        for frame in decoded:
            if self._next is None:
                time = Fraction(0) if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
                self._next = max(round((time - origin) * self._rate), 0)
            encoded += self._encode(self._resampler.resample(frame))
        return encoded

    def _encode(self, frames: "Sequence[av.AudioFrame]") -> "list[av.Packet]":
        encoded: list[av.Packet] = []
        for frame in frames:
            frame.pts, frame.time_base = self._next, Fraction(1, self._rate)
            self._next = (self._next or 0) + frame.samples
            encoded += self._stream.encode(frame)
        return encoded

    def end(self) -> "list[av.Packet]":
        if self._next is None:
            return []
        return [*self._encode(self._resampler.resample(None)), *self._stream.encode(None)]


def _track(container: Any, sound: "av.AudioStream") -> _Copied | _Encoded:
    taken = sound.codec_context.name in container.supported_codecs
    return (_Copied if taken else _Encoded)(container, sound)
