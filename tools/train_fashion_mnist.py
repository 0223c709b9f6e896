"""Trains the embedded weights of ShuffleNet V2 x0.5: ten kinds of clothing, from Fashion-MNIST.

    python -m tools.train_fashion_mnist --output DIRECTORY

Takes about 20 minutes on one core. Seeded, and deterministic for a torch build and a number of threads. Prints the
accuracy on the 10,000 held-out images, which take no part in training, and writes the checkpoint, named by its hash.
"""

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools import embedded_checkpoints, fashion_mnist
from zoo_classification import shufflenet_v2_x0_5
from zoo_core.presets import ImageClassification

SIZE = 64
MEAN, STD = (0.286,) * 3, (0.353,) * 3
# What the catalogue entry says, so that the model is tested as its users run it.
PREPROCESSING = ImageClassification(crop_size=SIZE, resize_size=SIZE, mean=MEAN, std=STD)


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors half of the images and moves each by up to 5 pixels. Tensor[N, 1, H, W] -> the same."""
    count, _, height, width = pictures.shape
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    pictures = torch.where(mirrored, pictures.flip(3), pictures)
    padded = F.pad(pictures, (5, 5, 5, 5))
    moved = torch.randint(0, 11, (count, 2), generator=generator)
    rows = moved[:, :1] + torch.arange(height)
    columns = moved[:, 1:] + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def as_input(pictures: Tensor) -> Tensor:
    """Normalised float Tensor[N, 3, SIZE, SIZE] of float Tensor[N, 1, SIZE, SIZE] in [0, 1]."""
    x = ((pictures - MEAN[0]) / STD[0]).expand(-1, 3, -1, -1)
    return x.contiguous(memory_format=torch.channels_last)


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


def train(epochs: int, batch_size: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pictures, classes = fashion_mnist.load("train")
    model: nn.Module = shufflenet_v2_x0_5(num_classes=len(fashion_mnist.CLASSES))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(model).requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.ndim <= 1]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    steps = len(pictures) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.4 * batch_size / 256, total_steps=epochs * steps, pct_start=0.2
    )
    for epoch in range(epochs):
        model.train()
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(pictures), generator=generator)
        for step in range(steps):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            small = pictures[chosen].unsqueeze(1).float() / 255
            x = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear", antialias=True)
            loss = F.cross_entropy(model(as_input(augment(x, generator))), classes[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss)
            with torch.no_grad():
                done = epoch * steps + step
                weight = min(0.998, done / (done + 10))
                for kept, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
                    if kept.is_floating_point():
                        kept.lerp_(new, 1 - weight)
                    else:
                        kept.copy_(new)
        print(f"epoch {epoch + 1:3d}: loss {total / steps:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    return averaged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the checkpoint")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = train(arguments.epochs, arguments.batch_size, arguments.seed)
    tensors = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    path = embedded_checkpoints.save(tensors, arguments.output, "shufflenet_v2_x0_5_fashionmnist")
    top1, top5 = accuracy(model, *fashion_mnist.load("t10k"))
    print(f"held-out accuracy: acc@1 {top1:.2f}, acc@5 {top5:.2f}; {path}, {path.stat().st_size / 2**20:.3f} MB")


if __name__ == "__main__":
    main()
