"""What ships with the package runs without network: the weights of motions, and clips that are named by theirs."""

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import zoo_video
from zoo_core.predicting import predict
from zoo_video import X3D_XS_Weights, x3d_xs

CLIPS = sorted((Path(zoo_video.__file__).parent / "samples").glob("*.mp4"))


def test_as_a_user_calls_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "zoo_core.cli", "demo", "--task", "video"],
        cwd=tmp_path,
        env=os.environ | {"ZOO_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(re.findall(r"^(\w+)\.mp4\n +[\d.]+%  (\w+)  ", done.stdout, re.MULTILINE))
    assert found == {clip.stem: clip.stem for clip in CLIPS}
    assert len(found) == 4
    folder = tmp_path / "zoo-demo"
    assert done.stdout.endswith("All of them on one page: zoo-demo/index.html\n")
    assert (folder / "index.html").read_text().count("<img") == len(found)
    assert (folder / "contact-sheet.png").is_file()
    drawn = {path.name for path in (folder / "video" / "x3d_xs").iterdir()}
    assert {name.partition(".")[0] for name in drawn} == set(found)


def test_a_clip_played_backwards_moves_the_other_way(tmp_path):
    """The weights have learnt motion, not garments."""
    import av

    opposite = {"left": "right", "up": "down", "growing": "shrinking"}
    for clip in CLIPS:
        if clip.stem not in opposite:
            continue
        with av.open(str(clip)) as file:
            frames = [frame.to_rgb() for frame in file.decode(video=0)]
        path = tmp_path / f"{clip.stem}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=15)
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
            stream.bit_rate = 4_000_000
            for number, frame in enumerate(reversed(frames)):
                frame.pts, frame.time_base = number, Fraction(1, 15)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        (found,) = predict("x3d_xs", path)
        assert found.result.top(1)[0][1] == opposite[clip.stem]


def test_weights_and_a_new_head():
    weights = X3D_XS_Weights.DEFAULT
    assert weights.meta["categories"] == ["down", "growing", "left", "right", "shrinking", "still", "turning", "up"]
    model = x3d_xs(weights=weights)
    assert sum(parameter.numel() for parameter in model.parameters()) == weights.meta["num_params"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match=r"num_classes=8, not 37.*new_head=True"):
        x3d_xs(weights="DEFAULT", num_classes=37)
    with pytest.warns(UserWarning, match="37 classes"):
        new = x3d_xs(weights="DEFAULT", num_classes=37, new_head=True, freeze_body=True)
    state = model.state_dict()
    for key, value in new.state_dict().items():
        assert key.startswith("fc2.") or torch.equal(value, state[key]), key
    assert {key for key, parameter in new.named_parameters() if parameter.requires_grad} == {"fc2.weight", "fc2.bias"}
    with pytest.warns(UserWarning, match="first layer"):
        grey = x3d_xs(weights="DEFAULT", in_channels=1)
    assert grey.conv1[0].weight.shape[1] == 1
