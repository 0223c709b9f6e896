"""`zoo evaluate` of the embedded model: any number of processes, interruptions, and a plain loop by hand."""

import random
import shutil
from importlib import resources
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from support import evaluations
from zoo_classification import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5
from zoo_core.data import ClassFolders
from zoo_core.evaluating import evaluate

LABELS = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1.meta["categories"]


def drawings(folder):
    """101 grey drawings of 28 x 28 pixels, dealt out to the ten classes."""
    generator = random.Random(0)
    for number in range(evaluations.COUNT):
        image = Image.new("L", (28, 28))
        draw = ImageDraw.Draw(image)
        for _ in range(3):
            x1, x2 = sorted(generator.sample(range(28), 2))
            y1, y2 = sorted(generator.sample(range(28), 2))
            draw.rectangle((x1, y1, x2, y2), fill=generator.randint(60, 255))
        path = folder / "val" / LABELS[number % 10].replace("/", "-") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


def test_the_embedded_model_knows_the_images_that_ship_beside_it(tmp_path):
    """One held-out image of each kind: a part of what `nox -s figures` evaluates."""
    for file in Path(str(resources.files("zoo_classification") / "samples")).glob("*.png"):
        folder = tmp_path / "val" / file.stem
        folder.mkdir(parents=True)
        shutil.copy(file, folder)
    found = evaluate("shufflenet_v2_x0_5", tmp_path, weights="FASHIONMNIST_V1", device="cpu")
    assert found.samples == 10
    assert found.metrics["acc@1"] >= 90
    assert found.metrics["acc@5"] == 100
    assert found.published == {}  # ten are not all


def test_any_number_of_processes_gives_the_figures_of_a_plain_loop(tmp_path):
    data = drawings(tmp_path / "data")
    found = evaluations.check("shufflenet_v2_x0_5", data, tmp_path, weights="FASHIONMNIST_V1")
    weights = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
    model, transform = shufflenet_v2_x0_5(weights=weights).eval(), weights.transforms()
    ranks = []
    with torch.inference_mode():
        for sample in ClassFolders(data, LABELS, {".png"}):
            scores = model(transform(Image.open(sample.files[0]).convert("RGB"))[None])[0]
            ranks.append(int((scores > scores[sample.truth]).sum()))
    assert found == {f"acc@{k}": 100 * sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5)}
    assert 0 < found["acc@1"] < found["acc@5"] < 100
