"""Classification of a video's frames: the labels stand in each frame, whose size stays."""

import json
import subprocess
import sys

from support.painted import encode
from support.tasks import frames_of
from zoo_core.cli import main

WEIGHTS = ("shufflenet_v2_x0_5", "--weights", "FASHIONMNIST_V1")


def test_a_video(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "clip.mp4", count=12, size=(320, 240), first=1023)
    assert main(["predict", *WEIGHTS, "clip.mp4", "--output", "out", "--every", "5", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(result["index"], result["time"]) for result in results] == [(0, 0.0), (5, 0.166667), (10, 0.333333)]
    frames = frames_of(tmp_path / "out" / "clip.mp4")
    assert [frame.size for frame in frames] == [(320, 240)] * 3
    plain = frames_of(tmp_path / "clip.mp4")[0]
    changed = [
        abs(plain.getpixel((x, y))[0] - frames[0].getpixel((x, y))[0]) > 60 for x in (20, 40, 300) for y in (20, 215)
    ]
    assert any(changed), "there are labels"
    assert not all(changed), "and the frame is still there"


def test_without_pyav_the_error_names_this_package(tmp_path):
    (tmp_path / "clip.mp4").touch()
    code = "import sys; sys.modules['av'] = None; from zoo_core.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", *WEIGHTS, "clip.mp4"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "av is needed to read videos and is not installed: pip install 'zoo-classification[video]'" in done.stderr
