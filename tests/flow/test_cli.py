"""The ``zoo`` command on pairs of pictures and on videos, with the weights that ship in the package."""

import json

import av
import pytest
import torch
from PIL import Image

from zoo_core import predicting, specs
from zoo_core.cli import main
from zoo_core.images import open_image, read_image
from zoo_flow import Padding, raft_small, read_flo
from zoo_flow.task import OpticalFlowTask

WEIGHTS = "Raft_Small_Weights.SYNTHETIC_V1"
SHIFT = (6, -4)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The current directory, with a sequence of three pictures of a fractal that moves by SHIFT."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    whole = Image.effect_mandelbrot((240, 200), (-2, -1.2, 0.6, 1.2), 60).convert("RGB")
    for number in range(3):
        left, top = 30 - number * SHIFT[0], 20 - number * SHIFT[1]
        whole.crop((left, top, left + 173, top + 141)).save(f"frame{number}.png")
    return folder


@pytest.fixture
def clip(pictures):
    """The sequence as a video."""
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 172, 140, "yuv420p", 4_000_000
        for number in range(3):
            picture = open_image(f"frame{number}.png").crop((0, 0, 172, 140))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return pictures / "clip.mp4"


def predict(*words, code=0):
    assert main(["predict", "raft_small", *words, "--weights", "SYNTHETIC_V1", "--updates", "6"]) == code


def test_a_pair(pictures, capsys):
    predict("frame0.png", "frame1.png", "--output", "out", "--flo")
    printed = capsys.readouterr().out
    assert "frame0.png frame1.png" in printed
    assert "mean motion" in printed
    assert read_image("out/frame0.png").shape == (3, 2 * 141, 4 * 173 + 4), "enlarged, the frame and its flow"

    # The same by its own means.
    model = raft_small(weights=WEIGHTS).eval()
    first, second = (read_image(f"frame{i}.png")[None] / 127.5 - 1 for i in (0, 1))
    padding = Padding(141, 173)
    with torch.inference_mode():
        expected = padding.crop(model(padding.pad(first), padding.pad(second), num_flow_updates=6)[-1])[0]
    torch.testing.assert_close(read_flo("out/frame0.flo"), expected, rtol=0, atol=1e-3)


def test_a_sequence_in_a_folder(pictures, capsys):
    predict(".", "--json")
    report = json.loads(capsys.readouterr().out)
    assert [result["files"] for result in report["results"]] == [
        ["frame0.png", "frame1.png"],
        ["frame1.png", "frame2.png"],
    ]
    for result in report["results"]:
        assert (result["height"], result["width"]) == (141, 173)


def test_a_video(clip, capsys):
    predict("clip.mp4", "--output", "out", "--flo", "--json")
    report = json.loads(capsys.readouterr().out)
    assert [(result["file"], result["index"]) for result in report["results"]] == [("clip.mp4", 0), ("clip.mp4", 1)]
    assert [result["time"] for result in report["results"]] == [0.0, 0.1]
    assert report["results"][1]["output"] == ["out/clip.mp4", "out/clip.00001.flo"]
    names = ["clip.00000.flo", "clip.00001.flo", "clip.mp4"]
    assert sorted(path.name for path in (clip.parent / "out").iterdir()) == names
    with av.open("out/clip.mp4") as container:
        assert [float(frame.pts * frame.time_base) for frame in container.decode(video=0)] == [0.0, 0.1]


@pytest.mark.parametrize(("every", "expected"), [(1, 2), (2, 1)])
def test_progress_over_a_video(clip, every, expected):
    """The bar knows how many pairs of frames there are."""
    task = OpticalFlowTask(specs.find("raft_small", weights="SYNTHETIC_V1"))
    sources = predicting.Sources(task.declaration, ["clip.mp4"], sampling=predicting.Sampling(every))
    sources.count_ahead(task)
    assert sources.total == expected


def test_a_picture_alone_is_an_error(pictures, capsys):
    predict("frame0.png", code=1)
    assert "frame0.png: optical flow needs two images" in capsys.readouterr().err


def test_a_broken_video_does_not_stop_the_others(clip, capsys):
    (clip.parent / "broken.mp4").write_bytes(b"no video")
    predict("broken.mp4", "frame0.png", "frame1.png", code=1)
    captured = capsys.readouterr()
    assert "broken.mp4" in captured.err
    assert "mean motion" in captured.out


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert main(["demo", "--task", "flow", "--output", str(tmp_path)]) == 0
    assert "mean motion" in capsys.readouterr().out
    (drawn,) = (tmp_path / "flow" / "raft_small").iterdir()
    assert read_image(drawn).shape == (3, 256, 2 * 256 + 2)
