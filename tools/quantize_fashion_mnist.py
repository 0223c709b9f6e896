"""Quantizes the embedded weights of ShuffleNet V2 x0.5 to int8, calibrated on images of Fashion-MNIST.

    python -m tools.quantize_fashion_mnist --output DIRECTORY

Takes a few minutes on one core; deterministic for a torch build and a number of threads. Prints the accuracy of the
float and of the int8 model on the 10,000 held-out images, and writes the checkpoint, named by its hash.
"""

import torch
from torch import Tensor, nn

from tools import fashion_mnist, quantizing
from zoo_classification import ShuffleNet_V2_X0_5_Weights
from zoo_quantized import quantize_model, shufflenet_v2_x0_5

BACKEND = "fbgemm"
# The float model's, so that the int8 one is calibrated and tested as its users run it.
PREPROCESSING = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1.transforms()


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, classes: Tensor) -> tuple[float, float]:
    """Top-1 and top-5 accuracy in percent, through the published preprocessing. Images: uint8 Tensor[N, 28, 28]."""
    model.eval()
    right1 = right5 = 0
    for batch, truth in zip(images.split(500), classes.split(500), strict=True):
        ranked = model(PREPROCESSING(batch.unsqueeze(1).expand(-1, 3, -1, -1))).topk(5).indices
        right1 += int((ranked[:, 0] == truth).sum())
        right5 += int((ranked == truth[:, None]).sum())
    return 100 * right1 / len(classes), 100 * right5 / len(classes)


def calibration_batches(images: Tensor, count: int) -> list[Tensor]:
    """The first ``count`` images, preprocessed, in batches. Images: uint8 Tensor[N, 28, 28]."""
    return [PREPROCESSING(batch.unsqueeze(1).expand(-1, 3, -1, -1)) for batch in images[:count].split(100)]


def main() -> None:
    output, count = quantizing.options(__doc__, "training images to calibrate with", 1000)
    model = shufflenet_v2_x0_5(weights=ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1)
    images, _ = fashion_mnist.load("train")
    quantized = quantize_model(model, calibration_batches(images, count), backend=BACKEND)
    held_out = fashion_mnist.load("t10k")
    for kind, candidate in (("float", model), ("int8", quantized)):
        top1, top5 = accuracy(candidate, *held_out)
        print(f"held-out accuracy, {kind}: acc@1 {top1:.2f}, acc@5 {top5:.2f}")
    quantizing.save(quantized, output, "shufflenet_v2_x0_5_fashionmnist_fbgemm")


if __name__ == "__main__":
    main()
