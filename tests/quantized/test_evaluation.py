"""`zoo evaluate` of the embedded int8 model: any number of processes, and interruptions, give the same figures."""

import random

from PIL import Image

from support import evaluations
from zoo_quantized import ShuffleNet_V2_X0_5_QuantizedWeights


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
