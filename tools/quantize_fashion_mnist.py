"""Quantizes the embedded weights of ShuffleNet V2 x0.5 to int8, calibrated on images of Fashion-MNIST.

    python -m tools.quantize_fashion_mnist --output DIRECTORY

Takes a few minutes on one core; deterministic for a torch build and a number of threads. Prints the accuracy of the
float and of the int8 model on the 10,000 held-out images, and writes the checkpoint, named by its hash.
"""

import argparse
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools import embedded_checkpoints, fashion_mnist
from zoo_classification import ShuffleNet_V2_X0_5_Weights
from zoo_quantized import quantize_model, shufflenet_v2_x0_5

BACKEND = "fbgemm"
# The float model's, so that the int8 one is calibrated and tested as its users run it.
PREPROCESSING = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1.transforms()


@torch.inference_mode()
def accuracy(model: nn.Module, pictures: Tensor, classes: Tensor) -> tuple[float, float]:
    """Top-1 and top-5 accuracy in percent, through the published preprocessing. Images: uint8 Tensor[N, 28, 28]."""
    model.eval()
    right1 = right5 = 0
    for batch, truth in zip(pictures.split(500), classes.split(500), strict=True):
        ranked = model(PREPROCESSING(batch.unsqueeze(1).expand(-1, 3, -1, -1))).topk(5).indices
        right1 += int((ranked[:, 0] == truth).sum())
        right5 += int((ranked == truth[:, None]).sum())
    return 100 * right1 / len(classes), 100 * right5 / len(classes)


def calibration_batches(pictures: Tensor, count: int) -> list[Tensor]:
    """The first ``count`` images, preprocessed, in batches. Images: uint8 Tensor[N, 28, 28]."""
    return [PREPROCESSING(batch.unsqueeze(1).expand(-1, 3, -1, -1)) for batch in pictures[:count].split(100)]


class _Pool:
    """Tensors of one dtype that a file holds as one: each by itself would take a record, with its padding."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._offsets: dict[bytes, int] = {}
        self._length = 0

    def add(self, values: Tensor) -> int:
        """Takes values; equal ones once. Returns where they begin."""
        flat = values.detach().flatten()
        content = bytes(flat.view(torch.uint8).tolist())
        if content not in self._offsets:
            self._offsets[content] = self._length
            self._parts.append(flat)
            self._length += len(flat)
        return self._offsets[content]

    def pooled(self) -> Tensor:
        return torch.cat(self._parts)


def compacted(state_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """The same state dict, whose tensors are views of a few: one for each dtype.

    ``torch.load(weights_only=True)`` reads it as any other. Metadata is kept of the modules that need it.
    """
    pools = {dtype: _Pool() for dtype in (torch.int8, torch.float32, torch.float64, torch.int64)}

    def place(value: Any) -> Any:
        """Puts a value into the pools; what it returns makes the value anew from the finished ones."""
        if isinstance(value, tuple):
            parts = [place(part) for part in value]
            return lambda pooled: tuple(part(pooled) for part in parts)
        if not isinstance(value, Tensor):
            return lambda pooled: value
        shape, strides = value.shape, torch.empty(value.shape).stride()
        if not value.is_quantized:
            offset = pools[value.dtype].add(value.contiguous())
            return lambda pooled: pooled[value.dtype].as_strided(shape, strides, offset)
        offset = pools[torch.int8].add(value.int_repr().contiguous())
        scales = place(value.q_per_channel_scales())
        zero_points = place(value.q_per_channel_zero_points())
        axis = value.q_per_channel_axis()

        def restored(pooled: dict[torch.dtype, Tensor]) -> Tensor:
            made = torch._empty_per_channel_affine_quantized(
                shape, scales=scales(pooled), zero_points=zero_points(pooled), axis=axis, dtype=torch.qint8
            )
            return made.set_(pooled[torch.int8].untyped_storage(), offset, shape, strides)

        return restored

    placed = OrderedDict((key, place(value)) for key, value in state_dict.items())
    pooled = {dtype: pool.pooled() for dtype, pool in pools.items()}
    result = OrderedDict((key, restore(pooled)) for key, restore in placed.items())
    versions: dict[str, Any] = state_dict._metadata  # type: ignore[attr-defined]
    packed = [key.removesuffix("._packed_params.dtype") for key in result if key.endswith("._packed_params.dtype")]
    needed = [name for path in packed for name in (path, f"{path}._packed_params")]
    result._metadata = OrderedDict((name, versions[name]) for name in needed)  # type: ignore[attr-defined]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the checkpoint")
    parser.add_argument("--pictures", type=int, default=1000, help="training images to calibrate with")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = shufflenet_v2_x0_5(weights=ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1)
    pictures, _ = fashion_mnist.load("train")
    quantized = quantize_model(model, calibration_batches(pictures, arguments.pictures), backend=BACKEND)
    tensors = compacted(quantized.state_dict())
    path = embedded_checkpoints.save(tensors, arguments.output, "shufflenet_v2_x0_5_fashionmnist_fbgemm")
    held_out = fashion_mnist.load("t10k")
    for kind, candidate in (("float", model), ("int8", quantized)):
        top1, top5 = accuracy(candidate, *held_out)
        print(f"held-out accuracy, {kind}: acc@1 {top1:.2f}, acc@5 {top5:.2f}")
    print(f"{path}, {path.stat().st_size / 2**20:.3f} MB")


if __name__ == "__main__":
    main()
