"""`zoo evaluate` of videos: any number of processes, and interruptions, give the same figures."""

import av

from support import evaluations
from tools import described_checkpoints
from zoo_core import specs
from zoo_core.tasks import task_class

LABELS = ("dark", "middle", "bright")


def videos(folder):
    """101 videos of a few frames, listed in a CSV file."""
    folder.mkdir()
    lines = []
    for number in range(evaluations.COUNT):
        with av.open(str(folder / f"{number:03d}.mp4"), "w") as file:
            stream = file.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for place in range(6):
                frame = av.VideoFrame(32, 32, "rgb24")
                frame.planes[0].update(bytes([(37 * number + 20 * place) % 256]) * frame.planes[0].buffer_size)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        lines.append(f"{number:03d}.mp4,{LABELS[(37 * number % 256) // 86]}\n")
    (folder / "val.csv").write_text("".join(lines))
    return folder


def test_any_number_of_processes_gives_the_same_figures(tmp_path):
    arguments = {"crop_size": (16, 16), "resize_size": (16, 16)}
    model = described_checkpoints.save_fresh(
        tmp_path / "model.pth", "mc3_18", preset_arguments=arguments, labels=LABELS
    )
    options = {"frames": 2, "clips": 1}
    found = evaluations.check(model, videos(tmp_path / "data"), tmp_path, stopped=False, options=options)
    assert 0 < found["acc@1"] < 100
    assert found["acc@5"] == 100


def test_videos_are_scored_by_as_many_clips_as_the_published_accuracy():
    published = {"s3d": 1, "r3d_18": 5, "mvit_v2_s": 5, "swin3d_t": 12}
    for name, clips in published.items():
        spec = specs.find(name)
        task = task_class("video")
        assert task(spec, scoring=True).options["clips"] == clips
        assert task(spec).options["clips"] == 5
        assert task(spec, {"clips": 3}, scoring=True).options["clips"] == 3
        assert f"over {clips} clip" in spec.facts["docs"]
