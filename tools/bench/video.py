"""Each video builder in eval mode on the CPU, alternately with torchvision's: time of a clip, and peak memory.

Before that, the reading of 10, 100 and 1,000 clips from a file: its time against that of one pass over the file, and
what it needs at the most.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only.
"""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import torch

from tools import counterparts, reference_values
from tools.bench.measure import Comparison, compare, in_process, measure_models, table, with_counterpart
from zoo_core.videos import VideoFile
from zoo_video import read_clips

_CLIPS = (10, 100, 1000)
# Most memory above that before, threads and open files while clips are read.
_READING = """
import json, os, torch
from tools.bench.measure import resident
from zoo_video import read_clips
torch.set_num_threads(1)
shrink = lambda frame: frame[:, ::4, ::4].clone()
for clip in read_clips({path!r}, 16, transform=shrink):
    pass
before, threads, files = resident(), 0, 0
for clip in read_clips({path!r}, 16, num_clips={count}, transform=shrink):
    threads = max(threads, len(os.listdir("/proc/self/task")))
    files = max(files, len(os.listdir("/proc/self/fd")))
print(json.dumps([resident(peak=True) - before, threads, files]))
"""
# Peak resident memory while clips are classified, above that before.
_MEMORY = """
import json
import torch
from tools.bench.measure import resident
{imports}
torch.set_num_threads({threads})
with torch.inference_mode():
    model = build().eval()
    x = torch.rand{shape}
    before = resident()
    for _ in range(3):
        model(x)
print(json.dumps(resident(peak=True) - before))
"""
_OURS = "import zoo_video\nbuild = zoo_video.{name}"
_THEIRS = "from tools import oracle\nbuild = oracle.builder({name!r})"


def shape(name: str) -> tuple[int, ...]:
    """Of a clip: 16 frames of the size that the weights are for."""
    size = 112 if name in ("r3d_18", "mc3_18", "r2plus1d_18") else 224
    return 1, 3, 16, size, size


def peak(imports: str, name: str) -> float:
    """MiB. Freed memory goes back to the system at once, so that only what is in use counts."""
    code = _MEMORY.format(imports=imports.format(name=name), shape=shape(name), threads=torch.get_num_threads())
    return in_process(code, MALLOC_MMAP_THRESHOLD_="1048576")


def timed(name: str) -> tuple[Comparison, float]:
    """Times of both, and the largest difference of their outputs relative to the largest output."""
    ours, theirs = counterparts.pair(name)
    x = reference_values.image(1, *shape(name))
    expected = theirs(x)
    error = float((ours(x) - expected).abs().max() / expected.abs().max())
    return compare(lambda: ours(x), lambda: theirs(x), seconds=10.0, at_least=5), error


def measure(name: str) -> list[str]:
    """The row of one builder."""
    result, error = timed(name)
    gc.collect()
    memory = peak(_OURS, name), peak(_THEIRS, name)
    return [
        name,
        f"{1e3 * min(result.ours):.0f}",
        f"{1e3 * min(result.reference):.0f}",
        f"{result.ratio:.2f}",
        f"{result.median_ratio:.2f}",
        f"{error:.0e}",
        *(f"{amount:.0f}" for amount in memory),
        f"{memory[1] / memory[0]:.2f}",
    ]


def write_video(path: Path, *, seconds: int = 20, rate: int = 30, size: tuple[int, int] = (640, 360)) -> None:
    """H.264 of a gradient that moves, with a key frame every two seconds."""
    width, height = size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", 2 * rate
        stream.options = {"preset": "veryfast"}
        for number in range(seconds * rate):
            frame = av.VideoFrame(width, height, "yuv420p")
            frame.planes[0].update(bytes(((x + 2 * y + 5 * number) % 256).flatten().tolist()))
            for plane in frame.planes[1:]:
                plane.update(bytes([128]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def one_pass(path: Path, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Decodes each frame once, and does with it what is done with those of clips."""
    with VideoFile(path) as video:
        for _, frame in video.frames():
            transform(video.pixels(frame).permute(2, 0, 1))


def measure_reading() -> None:
    def shrink(frame: torch.Tensor) -> torch.Tensor:
        return frame[:, ::4, ::4].clone()

    def read(count: int) -> None:
        for _ in read_clips(path, 16, num_clips=count, transform=shrink):
            pass

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path)
        for count in _CLIPS:
            times = compare(lambda count=count: read(count), lambda: one_pass(path, shrink), seconds=6.0)  # type: ignore[misc]
            memory, threads, files = in_process(_READING.format(path=str(path), count=count))
            rows.append(
                [
                    f"{count} clips of 16 frames",
                    f"{1e3 * min(times.ours):.0f}",
                    f"{1e3 * min(times.reference):.0f}",
                    f"{1 / times.ratio:.2f}",
                    *(f"{amount:.0f}" for amount in (memory, threads, files)),
                ]
            )
    table(
        "Reading clips of a video of 600 frames: milliseconds (fastest run), MiB of memory above that before",
        ["", "clips", "one pass", "clips / pass", "memory", "threads", "open files"],
        rows,
    )


def main() -> None:
    import zoo_video

    torch.set_grad_enabled(False)
    measure_reading()
    rows = measure_models(with_counterpart(zoo_video), measure)
    table(
        f"Video, one clip, {torch.get_num_threads()} threads: milliseconds (fastest run), and MiB of peak memory",
        ["model", "ours", "torchvision", "ratio", "of medians", "difference", "ours", "torchvision", "ratio"],
        rows,
    )


if __name__ == "__main__":
    main()
