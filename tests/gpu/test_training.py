"""Training on a GPU, of every task that is installed: half precision, going on, compiling, processes over nccl."""

import contextlib
import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo_core import specs
from zoo_core.checkpoints import read_content
from zoo_core.training import train

SIZES = {"train_crop_size": 64, "val_crop_size": 64, "val_resize_size": 64}
# By task: a model, and what makes it train quickly on little.
MODELS = {
    "classification": ("resnet18", SIZES | {"batch_size": 8, "lr": 0.001}),
    "detection": ("fasterrcnn_mobilenet_v3_large_320_fpn", {"batch_size": 4, "lr": 0.005, "clip_grad_norm": 1.0}),
    "segmentation": ("lraspp_mobilenet_v3_large", {"base_size": 64, "train_crop_size": 64, "val_resize_size": 64}),
    "video": ("mc3_18", SIZES | {"train_resize_size": [70], "batch_size": 4, "lr": 0.001}),
    "flow": ("raft_small", {"crop_size": [128, 128], "batch_size": 2, "min_scale": 0.0, "max_scale": 0.1}),
}
NEEDED = {"video": ("zoo_video", "av")}
INSTALLED = [
    task for task in MODELS if all(importlib.util.find_spec(name) for name in NEEDED.get(task, (f"zoo_{task}",)))
]
EPOCHS = 6


def paint(task: str, folder: Path) -> Path:
    """A data set that is easily learnt: 8 samples to train on, 4 to evaluate."""
    for split, count in (("train", 8), ("val", 4)):
        globals()[f"paint_{task}"](folder, split, count, random.Random(split))
    return folder


def paint_classification(folder: Path, split: str, count: int, rng: random.Random) -> None:
    for number in range(count):
        label = ("blue", "red")[number % 2]
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        levels = (rng.randrange(100) + 150 * (number % 2), 90, rng.randrange(100) + 150 * (1 - number % 2))
        Image.new("RGB", (80, 72), levels).save(folder / split / label / f"{number}.png")


def paint_segmentation(folder: Path, split: str, count: int, rng: random.Random) -> None:
    (folder / split / "images").mkdir(parents=True)
    (folder / split / "masks").mkdir()
    for number in range(count):
        image, mask = Image.new("RGB", (96, 80), "grey"), Image.new("L", (96, 80))
        left, top, kind = rng.randrange(40), rng.randrange(30), number % 2 + 1
        image.paste("red" if kind == 1 else "blue", (left, top, left + 40, top + 40))
        mask.paste(kind, (left, top, left + 40, top + 40))
        image.save(folder / split / "images" / f"{number}.png")
        mask.save(folder / split / "masks" / f"{number}.png")


def paint_detection(folder: Path, split: str, count: int, rng: random.Random) -> None:
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        image = Image.new("RGB", (160, 120), "grey")
        left, top = rng.randrange(100), rng.randrange(60)
        image.paste("red", (left, top, left + 50, top + 50))
        image.save(folder / split / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 160, "height": 120})
        box = {"bbox": [left, top, 50, 50], "area": 2500, "iscrowd": 0}
        annotations.append({"id": number + 1, "image_id": number, "category_id": 1} | box)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def paint_video(folder: Path, split: str, count: int, rng: random.Random) -> None:
    import av

    for number in range(count):
        path = folder / split / ("dark", "bright")[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=15)
            stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
            for shade in range(20):
                frame = av.VideoFrame(96, 80, "rgb24")
                level = 30 + 140 * (number % 2) + 2 * shade + rng.randrange(10)
                frame.planes[0].update(bytes([level]) * frame.planes[0].buffer_size)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())


def paint_flow(folder: Path, split: str, count: int, rng: random.Random) -> None:
    from zoo_flow.flo import write_flo

    for number in range(count):
        frames, flows = (folder / split / kind / f"scene{number}" for kind in ("frames", "flow"))
        frames.mkdir(parents=True)
        flows.mkdir(parents=True)
        noise = Image.frombytes("RGB", (40, 36), rng.randbytes(40 * 36 * 3)).resize((160, 144))
        noise.crop((4, 0, 156, 144)).save(frames / "0.png")
        noise.crop((0, 0, 152, 144)).save(frames / "1.png")
        write_flo(torch.tensor([4.0, 0.0])[:, None, None].expand(2, 144, 152), flows / "0.flo")


def begin(task, data, output, settings=None, **options):
    name, own = MODELS[task]
    labels = {"labels": ("__background__", "square", "disc")} if task == "segmentation" else {}
    return train(
        *(name, data),
        recipe="finetune",
        from_scratch=True,
        settings={"epochs": EPOCHS, "weights_backbone": "", **own, **(settings or {})},
        output=output,
        device="cuda",
        workers=0,
        **labels,
        **options,
    )


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("task", INSTALLED)
def test_half_precision_lowers_the_loss(task, dtype, tmp_path):
    data = paint(task, tmp_path / "data")
    outcome = begin(task, data, tmp_path / "run", {"amp": True, "amp_dtype": dtype})
    assert outcome.metrics
    found = losses(tmp_path / "run")
    assert len(found) == EPOCHS
    assert min(found[1:]) < found[0], found
    content = read_content(tmp_path / "run" / "last.pth")
    assert (content["training"]["parts"]["scaler"] != {}) is (dtype == "float16")
    assert {value.dtype for value in content["model"].values() if value.is_floating_point()} == {torch.float32}


class Killed(BaseException):
    """Ends a run at once, as a signal does."""


@pytest.mark.parametrize("settings", [{}, {"amp": True, "amp_dtype": "float16", "model_ema": True}], ids=["", "amp"])
@pytest.mark.parametrize("task", [task for task in INSTALLED if task in ("classification", "segmentation")])
def test_a_run_goes_on_bit_for_bit(task, settings, tmp_path, monkeypatch):
    data = paint(task, tmp_path / "data")
    settings = {"epochs": 3, "batch_size": 4, **settings}
    begin(task, data, tmp_path / "whole", settings, deterministic=True)
    kind = {"classification": "ClassificationTraining", "segmentation": "SegmentationTraining"}[task]
    training = getattr(importlib.import_module(f"zoo_{task}.training"), kind)
    loss, calls = training.loss, 0

    def fragile(self, model, batch):
        nonlocal calls
        calls += 1
        if calls in (2, 5):
            raise Killed
        return loss(self, model, batch)

    monkeypatch.setattr(training, "loss", fragile)
    for _ in range(3):
        with contextlib.suppress(Killed):
            begin(task, data, tmp_path / "run", settings, deterministic=True, save_every=1, resume=True)
    assert calls == 6 + 2
    first, second = (read_content(tmp_path / name / "last.pth") for name in ("whole", "run"))
    for key, value in first["model"].items():
        assert torch.equal(value, second["model"][key]), key


@pytest.mark.skipif("classification" not in INSTALLED, reason="needs zoo-classification")
def test_a_compiled_model_trains(tmp_path):
    data = paint("classification", tmp_path / "data")
    begin("classification", data, tmp_path / "run", {"amp": True, "epochs": 4}, compile=True)
    found = losses(tmp_path / "run")
    assert found[-1] < found[0], found
    assert not any("_orig_mod" in key for key in read_content(tmp_path / "run" / "best.pth")["model"])


PROCESS = """
import sys
from pathlib import Path

import torch
from torch import distributed

sys.path.insert(0, sys.argv[1])
from gpu import test_training as tests

distributed.init_process_group("cpu:gloo,cuda:nccl", device_id=torch.device("cuda", 0))
work = Path(sys.argv[2])
settings = {"amp": True, "amp_dtype": "float16", "sync_bn": True, "grad_accum_steps": 2, "batch_size": 2}
tests.begin("classification", work / "data", work / "run", settings)
distributed.destroy_process_group()
"""


@pytest.mark.skipif("classification" not in INSTALLED, reason="needs zoo-classification")
def test_a_process_that_torchrun_starts_trains_over_nccl(tmp_path):
    """A single one: two of them do not share a GPU."""
    paint("classification", tmp_path / "data")
    (tmp_path / "process.py").write_text(PROCESS)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", str(tmp_path / "process.py")]
    tests = Path(__file__).parents[2]
    paths = [str(tests), *filter(None, sys.path)]
    finished = subprocess.run(
        [sys.executable, *words, str(tests), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    found = losses(tmp_path / "run")
    assert len(found) == EPOCHS
    assert min(found[1:]) < found[0], found
    assert specs.find(tmp_path / "run" / "best.pth").labels == ("blue", "red")


@pytest.mark.skipif(not importlib.util.find_spec("zoo_quantized"), reason="needs zoo-quantized")
def test_int8_models_are_trained_on_the_gpu_and_evaluated_on_the_cpu(tmp_path):
    data = paint("classification", tmp_path / "data")
    settings = SIZES | {"batch_size": 8, "epochs": EPOCHS, "backend": torch.backends.quantized.supported_engines[-1]}
    outcome = train(
        *("quantized_resnet18", data),
        recipe="qat",
        from_scratch=True,
        settings=settings | {"lr": 0.02},
        output=tmp_path / "run",
        device="cuda",
        workers=0,
    )
    assert "acc@1" in outcome.metrics
    found = losses(tmp_path / "run")
    assert min(found[1:]) < found[0], found
    model = specs.build(specs.find(tmp_path / "run" / "best.pth"))
    assert type(model.fc).__module__.startswith("torch.ao.nn.quantized")
