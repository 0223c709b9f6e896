"""The command on a GPU, as a user runs it, beside the CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def zoo(*arguments: object, cwd: Path) -> Any:
    """The command's JSON."""
    command = [sys.executable, "-m", "zoo_core", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Noise of three contrasts, as classes."""
    for split, count in (("train", 24), ("val", 9)):
        for place, label in enumerate(("Bag", "Coat", "Dress")):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                image = Image.effect_noise((28, 28), 20 + 60 * place)
                image.convert("RGB").save(tmp_path / split / label / f"{number}.png")
    return tmp_path


def test_predictions_equal_those_of_the_cpu(folders: Path) -> None:
    command = ("predict", "shufflenet_v2_x0_5", folders / "val", "--weights", "FASHIONMNIST_V1", "--device")
    there, here = (zoo(*command, device, cwd=folders)["results"] for device in ("cuda", "cpu"))
    assert [image["file"] for image in there] == [image["file"] for image in here]
    assert len(here) == 27
    for ours, wanted in zip(there, here, strict=True):
        best, expected = ours["labels"][0], wanted["labels"][0]
        assert best["label"] == expected["label"]
        assert best["score"] == pytest.approx(expected["score"], abs=2e-3)


@pytest.mark.parametrize("amp_dtype", ["float16", "bfloat16"])
def test_training_in_mixed_precision_in_a_process_of_nccl(folders: Path, amp_dtype: str) -> None:
    values = {"train_crop_size": 32, "val_crop_size": 32, "val_resize_size": 32, "amp": "true", "amp_dtype": amp_dtype}
    zoo(
        *("train", "shufflenet_v2_x0_5", folders, "--weights", "FASHIONMNIST_V1", "--epochs", 5, "--batch-size", 8),
        *(part for key, value in values.items() for part in ("--set", f"{key}={value}")),
        *("--workers", 0, "--device", "cuda", "--nproc-per-node", 1, "--output", "run"),
        cwd=folders,
    )
    epochs = [json.loads(line) for line in (folders / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(epochs) == 5
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    there, here = (
        zoo("evaluate", "run/best.pth", folders, "--device", device, cwd=folders)["metrics"]["acc@1"]
        for device in ("cuda", "cpu")
    )
    assert there == pytest.approx(here, abs=4)  # one image of 27
