"""``zoo export`` of optical flow: the file predicts and scores as the model does, with as many updates."""

from pathlib import Path

import pytest
import torch

import zoo_flow
from support.exporting import check_file, runner
from zoo_core.images import write_png
from zoo_flow.flo import write_flo

SAMPLES = sorted((Path(zoo_flow.__file__).parent / "samples").glob("*.png"))


@pytest.fixture
def run(capsys):
    return runner(capsys)


def test_the_command(run, tmp_path):
    data = tmp_path / "data"
    for kind in ("frames", "flow"):
        (data / kind).mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for number in range(2):
        write_png(
            torch.randint(0, 256, (3, 130, 140), dtype=torch.uint8, generator=generator),
            str(data / "frames" / f"{number}.png"),
        )
    write_flo(torch.ones(2, 130, 140), data / "flow" / "0.flo")
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "raft.onnx"
    model = ["raft_small", "--weights", "SYNTHETIC_V1"]
    options = ["--updates", 1]
    exported = check_file(
        run, model, file, SAMPLES[:2], data, options, export=["--updates", 1, "--size", "128x136", "--preprocess"]
    )
    assert [(tensor["name"], tensor["dtype"]) for tensor in exported["inputs"]] == [
        ("image1", "uint8"),
        ("image2", "uint8"),
    ]
    assert [(tensor["name"], tensor["shape"][:2]) for tensor in exported["outputs"]] == [("flow", ["batch", 2])]
    # The number of updates is part of the file.
    error = run("predict", file, *SAMPLES[:2], code=1)
    assert "was exported with num_flow_updates = 1, and cannot run with num_flow_updates = 12" in error
    assert "multiples of 8" in run("export", *model, "--output", tmp_path / "x.pt2", "--size", "100x200", code=1)
