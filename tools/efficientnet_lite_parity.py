"""Compares EfficientNet-Lite with the library that its published weights were made for, as a black box.

    python -m tools.efficientnet_lite_parity            # with random parameters, and with the published weights
    python -m tools.efficientnet_lite_parity --write    # also writes the outputs that the tests compare with

Sizes are even and odd at every stride, since TensorFlow's padding is another for each. `nox -s photographs` runs it.
"""

import argparse
import importlib
import json
from typing import Any

import torch
from torch import Tensor, nn

import zoo_core
from tools import reference_values
from tools.distributions import ROOT
from zoo_core.checkpoints import locate

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
FOLDER = ROOT / "tests" / "assets" / "own"
SIZES = (224, 240, 260, 97, 111, 33)
TOLERANCE = 1e-4
SAMPLES = 64


def lively(name: str) -> nn.Module:
    """Our model with random parameters by which its output depends on all of its input.

    Those that the reference has of other models let an image fade from block to block, where nothing but ReLU6 and
    batch normalisation follows the convolutions.
    """
    model = reference_values.fill_parameters(zoo_core.get_model(name))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= 3
    return model


def theirs(name: str, size: int, state_dict: dict[str, Tensor]) -> nn.Module:
    """Their model for images of one size, with our parameters: the layers are in the same order."""
    library: Any = importlib.import_module("efficientnet_lite_pytorch")
    model: nn.Module = library.EfficientNet.from_name(name.replace("_", "-"), image_size=size)
    keys = list(model.state_dict())
    assert len(keys) == len(state_dict), f"{len(keys)} and {len(state_dict)} values"
    model.load_state_dict(dict(zip(keys, state_dict.values(), strict=True)))
    return model.eval()


def published(name: str, size: int) -> nn.Module:
    """Their model, with the file loaded by themselves."""
    library: Any = importlib.import_module("efficientnet_lite_pytorch")
    file = locate(zoo_core.get_model_weights(name)["DEFAULT"].url)
    model: nn.Module = library.EfficientNet.from_pretrained(
        name.replace("_", "-"), weights_path=str(file), image_size=size
    )
    return model.eval()


@torch.inference_mode()
def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    expected = other(x)
    return float((one(x) - expected).abs().max() / expected.abs().max())


def golden(output: Tensor) -> dict[str, Any]:
    """What the tests keep of an output: values at evenly spaced places."""
    flat = output.double().flatten()
    places = torch.linspace(0, len(flat) - 1, SAMPLES).long()
    return {
        "shape": list(output.shape),
        "dtype": str(output.dtype).removeprefix("torch."),
        "absmax": float(flat.abs().max()),
        "index": places.tolist(),
        "value": flat[places].tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the outputs for the tests")
    write = parser.parse_args().write
    failed = False
    for name in NAMES:
        ours = lively(name)
        trained = zoo_core.get_model(name, weights="DEFAULT").eval()
        for size in SIZES:
            x = reference_values.image(1, 2, 3, size, size)
            found = difference(ours, theirs(name, size, ours.state_dict()), x)
            with_weights = difference(trained, published(name, size), 2 * x - 1)
            failed |= max(found, with_weights) > TOLERANCE
            print(f"{name}  {size:3d}  random {found:.1e}  published {with_weights:.1e}", flush=True)
        if write:
            faint = reference_values.fill_parameters(zoo_core.get_model(name))
            x, odd = reference_values.image(1, 2, 3, 224, 224), reference_values.image(1, 2, 3, 97, 97)
            with torch.inference_mode():
                content: dict[str, Any] = {
                    "cases": {
                        "eval": {"output": golden(theirs(name, 224, faint.state_dict())(x))},
                        "lively": {"output": golden(theirs(name, 224, ours.state_dict())(x))},
                        "odd": {"output": golden(theirs(name, 97, ours.state_dict())(odd))},
                    }
                }
            content |= {
                "state_dict": [
                    [key, str(value.dtype).removeprefix("torch."), list(value.shape)]
                    for key, value in ours.state_dict().items()
                ],
            }
            (FOLDER / f"{name}.json").write_text(json.dumps(content) + "\n")
    if failed:
        raise SystemExit("outputs differ")


if __name__ == "__main__":
    main()
