"""Records how torchvision's models are initialised, for the tests that hold ours to the same distributions.

    python -m tools.reference_initialisation [NAME ...]

Writes `tests/assets/reference/initialisation/NAME.json.gz`: for each floating tensor of the state dict its value where
it is constant, else `[mean, standard deviation, largest absolute value]`.
"""

import argparse
import gzip
import json

import torch

from tools import oracle, reference_values
from tools.distributions import ROOT

DIRECTORY = ROOT / "tests" / "assets" / "reference" / "initialisation"
# One builder for each way in which a family's classes initialise themselves.
MODELS = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mvit_v1_b",
    "mvit_v2_s",
    "r3d_18",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "s3d",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin3d_t",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_32",
)


def summary(tensor: torch.Tensor) -> float | list[float]:
    first = tensor.flatten()[0]
    if bool((tensor == first).all()):
        return float(first)
    return [float(f"{value:.4g}") for value in (tensor.mean(), tensor.std(), tensor.abs().max())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=MODELS)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names:
        torch.manual_seed(0)
        state = oracle.builder(name)(**reference_values.arguments(name)).state_dict()
        found = {key: summary(tensor) for key, tensor in state.items() if tensor.is_floating_point()}
        # The time in the header of a gzip file would make each run's files differ.
        (DIRECTORY / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


if __name__ == "__main__":
    main()
