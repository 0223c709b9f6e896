"""Adds to the toy package a model that can be trained, its training and recipes.

Environment variables make it misbehave: ``TOY_KILL=rank:step:marker`` ends a process by SIGKILL before that step (from
1 on), once; ``TOY_PAUSE=step:marker`` writes a file in that step and waits until it is gone; ``TOY_NAN=step`` makes a
loss NaN. With ``TOY_PLAIN`` the model is in float64, and has neither batch norm nor dropout; ``TOY_PLAIN=norm`` leaves
it batch norm. ``TOY_GRADIENTS=folder`` keeps the gradients of each step in a file for each process.
"""

import os
import sys
from pathlib import Path

from PIL import Image

from support.toy_package import ToyPackage

CATALOG = """
[dimnet]
builder = "toyzoo.dimnet:dimnet"
weights = "DimNet_Weights"
default = "FILE_V1"

[dimnet.checkpoints.FILE_V1]
url = "file:///nowhere/dimnet.pth"
transforms = { preset = "ImageClassification", crop_size = 8, resize_size = 8 }
categories = ["dark", "bright"]
num_params = 100
"""

MODULE = """
import os
from enum import auto
from typing import Any

from torch import nn

from zoo_core.builders import build
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum


class DimNet(nn.Module):
    def __init__(self, num_classes: int = 2, width: int = 64) -> None:
        super().__init__()
        plain = "TOY_PLAIN" in os.environ
        without_norm = os.environ.get("TOY_PLAIN", "norm") != "norm"
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.Identity() if without_norm else nn.BatchNorm2d(width)
        self.drop = nn.Identity() if plain else nn.Dropout(0.2)
        self.fc = nn.Linear(width, num_classes)
        if plain:
            self.double()

    def forward(self, x):
        x = self.norm(self.conv(x.to(self.fc.weight.dtype))).relu()
        return self.fc(self.drop(x.mean((2, 3))))


class DimNet_Weights(WeightsEnum):
    FILE_V1 = auto()
    DEFAULT = FILE_V1


@register_model
def dimnet(*, weights: DimNet_Weights | None = None, progress: bool = True, **kwargs: Any) -> DimNet:
    return build(DimNet, weights, progress, **kwargs)
"""

ADAPTER = """

    def samples(self, folder, split=None, annotations=None):
        return ClassFolders(folder, self.labels or None, self.declaration.suffixes, split or "val")

    def labels_in(self, folder, split=None):
        return tuple(ClassFolders(folder, None, self.declaration.suffixes, split or "val").labels)

    def training(self, recipe):
        from toyzoo.training import ToyTraining

        return ToyTraining(self, recipe)
"""

TRAINING = """
import os
import signal
import time
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from zoo_core.training.contract import Training


class ToyTraining(Training):
    keys = frozenset({"label_smoothing"})

    def __init__(self, task, recipe):
        super().__init__(task, recipe)
        self.step = 0

    def sample(self, input, truth, rng):
        if input.width == 13:
            raise ValueError("images 13 pixels wide bring bad luck")
        (image,) = self.task.prepare(input)
        return image + rng.gauss(0, 0.1), truth

    def classes(self, truth):
        return (truth,)

    def parameter_groups(self, model):
        if folder := os.environ.get("TOY_GRADIENTS"):
            kept = []

            def keep(optimizer, *rest):
                if os.environ.get("TOY_GRADIENTS") != folder:
                    return
                kept.append({name: p.grad.clone() for name, p in model.named_parameters()})
                torch.save(kept, Path(folder, f"{os.environ.get('RANK', '0')}.pt"))

            register_optimizer_step_pre_hook(keep)
        return super().parameter_groups(model)

    def collate(self, samples, rng):
        images = torch.stack([image for image, _ in samples])
        return images, torch.tensor([truth for _, truth in samples])

    def loss(self, model, batch):
        self.step += 1
        if kill := os.environ.get("TOY_KILL"):
            rank, step, marker = kill.split(":")
            if os.environ.get("RANK", "0") == rank and self.step == int(step) and not Path(marker).exists():
                Path(marker).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if pause := os.environ.get("TOY_PAUSE"):
            step, marker = pause.split(":")
            if self.step == int(step):
                Path(marker).touch()
                while Path(marker).exists():
                    time.sleep(0.01)
        images, truths = batch
        loss = F.cross_entropy(model(images), truths, label_smoothing=self.recipe.label_smoothing)
        return loss * float("nan") if os.environ.get("TOY_NAN") == str(self.step) else loss
"""

RECIPE = """
# A comment that is part of the file.
description = "Two epochs for toys"
source = "set by hand"
epochs = 3
batch_size = 4
lr = 0.1
lr_warmup_epochs = 1
label_smoothing = 0.1
model_ema = true
model_ema_decay = 0.9
channels_last = false
"""


def add(package: ToyPackage) -> None:
    """Adds all this to a package that was written but is not installed yet."""
    (package.root / "catalog" / "dimnet.toml").write_text(CATALOG)
    (package.root / "dimnet.py").write_text(MODULE)
    (package.root / "training.py").write_text(TRAINING)
    adapter = package.root / "adapter.py"
    adapter.write_text(adapter.read_text().rstrip() + ADAPTER)
    (package.root / "recipes").mkdir()
    (package.root / "recipes" / "finetune.toml").write_text(RECIPE)
    (package.root / "recipes" / "big.toml").write_text(
        'description = "Large"\nmodels = ["dim*"]\nbatch_size = 8\nlr = 0.2\nlr_base_size = 64\n'
    )


def paint(folder: Path, count: int, labels: tuple[str, ...] = ("bright", "dark")) -> None:
    """Writes as many images for each label, of levels that do not tell all of them apart."""
    for place, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            level = (150 - 60 * place + 37 * number % 80) % 256
            Image.new("RGB", (10, 10), (level, level, 255 - level)).save(folder / label / f"{number}.png")


def environment(package: ToyPackage, **variables: str) -> dict[str, str]:
    """For a process in which the package is installed."""
    paths = [str(package.path), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | variables


def command(*words: object) -> list[str]:
    """``zoo`` as a process."""
    return [sys.executable, "-m", "zoo_core", *map(str, words)]
