"""``zoo export`` of video classifiers: the file predicts and scores as the model does."""

import av
import pytest
import torch

from support.exporting import check_file, runner, saved
from zoo_video import mc3_18

LABELS = ("dark", "middle", "bright")


@pytest.fixture
def run(capsys):
    return runner(capsys)


def test_the_command(run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    lines = []
    for number in range(2):
        with av.open(str(data / f"{number}.mp4"), "w") as file:
            stream = file.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for place in range(12):
                frame = av.VideoFrame(32, 32, "rgb24")
                frame.planes[0].update(bytes([90 * number + 7 * place]) * frame.planes[0].buffer_size)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        lines.append(f"{number}.mp4,{LABELS[number]}\n")
    (data / "val.csv").write_text("".join(lines))
    torch.manual_seed(0)
    arguments = {"crop_size": (32, 32), "resize_size": (36, 40)}
    fields = {"preset": "VideoClassification", "preset_arguments": arguments, "labels": LABELS}
    path = saved(tmp_path, "mc3_18", mc3_18(num_classes=3), arguments={"num_classes": 3}, **fields)
    (tmp_path / "out").mkdir()
    videos = sorted(data.glob("*.mp4"))
    options = ["--frames", 8, "--clips", 2]
    file = tmp_path / "out" / "mc3.pt2"
    exported = check_file(run, [path], file, videos, data, options, export=["--frames", 8, "--preprocess"])
    (clips,) = exported["inputs"]
    assert (clips["name"], clips["dtype"]) == ("clips", "uint8")
    assert [clips["shape"][place] for place in (0, 1, 3, 4)] == ["batch", 3, "height", "width"]
    assert exported["outputs"] == [{"name": "logits", "dtype": "float32", "shape": ["batch", 3]}]
