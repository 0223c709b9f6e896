"""`zoo evaluate` of the embedded int8 model: any number of processes, and interruptions, give the same figures."""

import random
import shutil
from importlib import resources
from pathlib import Path

from PIL import Image

from support import evaluations
from zoo_core.evaluating import evaluate
from zoo_quantized import ShuffleNet_V2_X0_5_QuantizedWeights


def test_the_embedded_model_knows_the_images_that_ship_with_the_float_one(tmp_path):
    """One held-out image of each kind: a part of what `nox -s figures` evaluates."""
    for file in Path(str(resources.files("zoo_classification") / "samples")).glob("*.png"):
        folder = tmp_path / "val" / file.stem
        folder.mkdir(parents=True)
        shutil.copy(file, folder)
    found = evaluate("quantized_shufflenet_v2_x0_5", tmp_path, weights="FASHIONMNIST_FBGEMM_V1")
    assert found.samples == 10
    assert found.metrics["acc@1"] >= 90


def test_any_number_of_processes_gives_the_same_figures(tmp_path):
    labels = ShuffleNet_V2_X0_5_QuantizedWeights.FASHIONMNIST_FBGEMM_V1.meta["categories"]
    generator = random.Random(0)
    for number in range(evaluations.COUNT):
        noise = Image.frombytes("L", (5, 5), generator.randbytes(25)).resize((28, 28), Image.Resampling.BICUBIC)
        path = tmp_path / "data" / labels[number % 10].replace("/", "-") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise.save(path)
    found = evaluations.check(
        "quantized_shufflenet_v2_x0_5", tmp_path / "data", tmp_path, weights="FASHIONMNIST_FBGEMM_V1"
    )
    assert 0 < found["acc@1"] < found["acc@5"] < 100
