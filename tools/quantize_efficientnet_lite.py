"""Quantizes EfficientNet-Lite0 to int8, calibrated on photographs of scikit-image and scikit-learn.

    python -m tools.quantize_efficientnet_lite --output DIRECTORY

Takes a minute on one core; deterministic for a torch build and a number of threads. Takes the extra
`zoo-classification[photographs]` and the group `photographs`. Prints how far the int8 model agrees with the float one
on photographs that it was not calibrated on, and on crops of them, and writes the checkpoint, named by its hash.
"""

import random
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from tools import quantizing
from tools.compose.sources import installed
from zoo_classification import EfficientNet_Lite0_Weights
from zoo_core.images import open_image
from zoo_quantized import efficientnet_lite0, quantize_model

BACKEND = "fbgemm"
CALIBRATION = (
    *("skimage/astronaut.png", "skimage/rocket.jpg", "skimage/ihc.png", "skimage/grass.png", "skimage/gravel.png"),
    *("skimage/brick.png", "skimage/hubble_deep_field.jpg", "sklearn/flower.jpg"),
)
HELD_OUT = (
    *("skimage/chelsea.png", "skimage/coffee.png", "skimage/motorcycle_left.png", "skimage/camera.png"),
    "sklearn/china.jpg",
)
PREPROCESSING = EfficientNet_Lite0_Weights.IMAGENET1K_V1.transforms()


def crops(names: Sequence[str], count: int, seed: int) -> Tensor:
    """Preprocessed crops of photographs, each of another place and size, mirrored or not: Tensor[count, 3, H, W]."""
    draw = random.Random(seed)
    photographs = [open_image(installed(name)) for name in names]
    found = []
    for number in range(count):
        image = photographs[number % len(photographs)]
        side = draw.uniform(0.35, 1) * min(image.size)
        left, top = (draw.uniform(0, length - side) for length in image.size)
        crop = image.crop((round(left), round(top), round(left + side), round(top + side)))
        if draw.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        found.append(PREPROCESSING(crop))
    return torch.stack(found)


@torch.inference_mode()
def agreement(one: nn.Module, other: nn.Module, images: Tensor) -> tuple[float, float]:
    """On which share of the images both have the same first label, and how far their probabilities differ on average.

    The latter is half the sum of the absolute differences: 0 for the same, 1 for none in common.
    """
    first, second = (torch.cat([model(x).softmax(1) for x in images.split(8)]) for model in (one, other))
    same = (first.argmax(1) == second.argmax(1)).float().mean()
    return float(same), float((first - second).abs().sum(1).mean() / 2)


def main() -> None:
    output, count = quantizing.options(__doc__, "crops to calibrate with", 96)
    model = efficientnet_lite0(weights=EfficientNet_Lite0_Weights.IMAGENET1K_V1).eval()
    quantized = quantize_model(model, crops(CALIBRATION, count, seed=0).split(8), backend=BACKEND)
    whole = torch.stack([PREPROCESSING(open_image(installed(name))) for name in HELD_OUT])
    for what, images in (("photographs", whole), ("crops of them", crops(HELD_OUT, 100, seed=1))):
        same, apart = agreement(model, quantized, images)
        print(f"{len(images)} {what}: the same first label on {100 * same:.0f} %, probabilities {apart:.3f} apart")
    quantizing.save(quantized, output, "efficientnet_lite0_imagenet1k_fbgemm")


if __name__ == "__main__":
    main()
