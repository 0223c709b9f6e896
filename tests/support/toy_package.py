"""A small package from outside that joins the zoo: a catalogue, a model, a task with its declaration, and entry points.

The model tells dark images from bright ones, with parameters set by hand, so that its results are known.
"""

import hashlib
import importlib
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from zoo_core import catalog, declarations, registration

CATALOG = """
[brightnet]
builder = "toyzoo.brightnet:brightnet"
weights = "BrightNet_Weights"
default = "HAND_V1"

[brightnet.checkpoints.HAND_V1]
url = "package:toyzoo/checkpoints/{embedded}"
sha256_prefix = "{sha256}"
transforms = {{ preset = "ImageClassification", crop_size = 8, resize_size = 8, mean = [0, 0, 0], std = [1, 1, 1] }}
categories = ["dark", "bright"]
num_params = 8
min_size = [1, 1]
metrics = {{ "Toys" = {{ "acc@1" = 87.5, "acc@5" = 100.0 }} }}
ops = 0.25
file_size = 0.5
recipe = "set by hand"

[brightnet.checkpoints.FILE_V1]
url = "{file_url}"
transforms = {{ preset = "ImageClassification", crop_size = 8, resize_size = 8 }}
categories = ["dark", "bright"]
metrics = {{ "Toys" = {{ "acc@1" = nan }} }}

[brightnet.checkpoints.REMOTE_V1]
url = "{host}/models/brightnet-{sha256}.pth"
sha256_prefix = "{sha256}"
transforms = {{ preset = "ImageClassification", crop_size = 8 }}
categories = ["dark", "bright"]
file_size = 3.0
"""

MODULE = """
from enum import auto
from typing import Any

from torch import nn

from zoo_core.builders import build
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum


class BrightNet(nn.Module):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.body = nn.Linear(3, 1)
        self.fc = nn.Linear(1, num_classes)

    def forward(self, x):
        return self.fc(self.body(x.mean((2, 3))))


class BrightNet_Weights(WeightsEnum):
    HAND_V1 = auto()
    FILE_V1 = auto()
    REMOTE_V1 = auto()
    DEFAULT = HAND_V1


@register_model
def brightnet(*, weights: BrightNet_Weights | None = None, progress: bool = True, **kwargs: Any) -> BrightNet:
    return build(BrightNet, weights, progress, **kwargs)
"""

ADAPTER = """
import os
import pathlib
import signal
import time

import torch
from PIL import Image

from zoo_core.data import ClassFolders
from zoo_core.drawing import draw_labels
from zoo_core.tasks import Score, Task


class ToyScore(Score):
    def __init__(self):
        super().__init__()
        self.right = {}

    def contribution(self, result, truth):
        return {"right": (result >= 0.5) == bool(truth)}

    def _add(self, index, contribution):
        self.right[index] = contribution["right"]

    def _merge(self, other):
        self.right |= other.right

    def compute(self):
        return {"acc@1": 100 * sum(self.right.values()) / len(self.right)}


class ToyTask(Task):
    def prepare(self, input):
        if input.width == 13:
            raise ValueError("images 13 pixels wide bring bad luck")
        return super().prepare(input)

    def run(self, engine, samples):
        if os.environ.get("TOY_KILLED_RANK", "none") == os.environ.get("RANK"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "TOY_PIDS" in os.environ:
            pids, rank = pathlib.Path(os.environ["TOY_PIDS"]), os.environ.get("RANK", "0")
            beside = pids.with_name(f"{pids.name}.{rank}")
            beside.write_text(str(os.getpid()))
            beside.replace(pids / rank)
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        assert torch.is_inference_mode_enabled() and not engine.model.training
        return super().run(engine, samples)

    def result(self, output, input):
        return float(output.softmax(0)[1])

    def describe(self, result):
        label = self.labels[result >= self.options["level"]]
        label = label.upper() if self.options["shout"] else label
        return [f"{self.options['prefix'] or ''}{label}"]

    def draw(self, input, result):
        return draw_labels(input, self.describe(result))

    def draw_frame(self, input, result):
        # The frame with a red edge, three pixels wide.
        drawn = Image.new("RGB", input.size, (255, 0, 0))
        drawn.paste(input.crop((3, 3, input.width - 3, input.height - 3)), (3, 3))
        return drawn

    def record(self, result):
        return {"brightness": result}

    def score(self):
        return ToyScore()

    def samples(self, folder, split=None, annotations=None):
        return ClassFolders(folder, self.labels, self.declaration.suffixes, split or "val")
"""

DECLARATION = """
title = "Telling day from night"
images = 1
files = ["image"]
batch_size = 8
examples = "photo.jpg"
metric = { name = "acc@1", better = "higher" }

[options.level]
type = "float"
default = 0.5
minimum = 0
maximum = 1
help = "From which probability on an image counts as bright."

[options.shout]
type = "bool"
help = "Write in capitals."

[options.prefix]
type = "str"
help = "Text before the label."

[csv]
columns = { brightness = "brightness" }
"""


@dataclass(frozen=True)
class ToyPackage:
    """Where the package was written.

    Args:
        path: to be put on ``sys.path`` or ``PYTHONPATH``.
        root: the package's own folder.
        embedded: the checkpoint that ships in it.
        file: the checkpoint that a ``file:`` url names.
        remote: name of the checkpoint that would have to be downloaded; it is the same file.
    """

    path: Path
    root: Path
    embedded: Path
    file: Path
    remote: str


def write(
    path: Path,
    task: str = "toys",
    adapter: str | None = "toyzoo.adapter:ToyTask",
    host: str = "https://example.invalid",
) -> ToyPackage:
    """Writes the package as an installer would.

    Args:
        path: an empty folder for it.
        task: the task that its catalogue is for.
        adapter: entry point of the task's class, if the package brings one.
        host: where the one checkpoint is that is not on this machine.
    """
    root = path / "toyzoo"
    (root / "catalog").mkdir(parents=True)
    (root / "checkpoints").mkdir()
    parameters = {
        "body.weight": torch.full((1, 3), 1 / 3),
        "body.bias": torch.tensor([-0.5]),
        "fc.weight": torch.tensor([[-10.0], [10.0]]),
        "fc.bias": torch.zeros(2),
    }
    file = path / "elsewhere" / "bright net.pth"
    file.parent.mkdir()
    torch.save(parameters, file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    embedded = root / "checkpoints" / f"brightnet-{sha256}.pth"
    embedded.write_bytes(file.read_bytes())

    (root / "__init__.py").write_text("")
    (root / "brightnet.py").write_text(MODULE)
    (root / "adapter.py").write_text(ADAPTER)
    (root / "adapter.toml").write_text(DECLARATION)
    (root / "catalog" / "brightnet.toml").write_text(
        CATALOG.format(embedded=embedded.name, sha256=sha256, file_url=file.as_uri(), host=host)
    )
    info = path / "toyzoo-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toyzoo\nVersion: 1.2\n")
    entry_points = f"[zoo.catalogs]\n{task} = toyzoo:catalog\n"
    if adapter is not None:
        entry_points += f"\n[zoo.tasks]\n{task} = {adapter}\n"
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    return ToyPackage(path, root, embedded, file, embedded.name)


@contextmanager
def installed(path: Path) -> Iterator[None]:
    """Makes a folder of packages part of this process while the ``with`` block runs."""
    sys.path.insert(0, str(path))
    importlib.invalidate_caches()
    catalog.clear_cache()
    declarations.clear_cache()
    try:
        yield
    finally:
        sys.path.remove(str(path))
        names = {entry.stem if entry.suffix == ".py" else entry.name for entry in path.iterdir()}
        for name, module in list(sys.modules.items()):
            # A folder that is called like a package from elsewhere, such as torch's cache, is not that package.
            if name.partition(".")[0] in names and any(Path(place).is_relative_to(path) for place in _places(module)):
                del sys.modules[name]
        for model in [
            n for n, builder in registration._registered.items() if builder.__module__.partition(".")[0] in names
        ]:
            del registration._registered[model]
        importlib.invalidate_caches()
        catalog.clear_cache()
        declarations.clear_cache()


def _places(module: ModuleType) -> list[str]:
    """The file of a module, or the folders of a package without one; nothing for what is part of the interpreter."""
    file = getattr(module, "__file__", None)
    return [file] if file else list(getattr(module, "__path__", []))
