"""timm's checkpoints in our models: both run on the same image, with the parameters of timm's.

    python -m tools.timm_parity [PATTERN ...]      # shell patterns of our names
    python -m tools.timm_parity --write            # writes timm's names and shapes, for the tests

timm is a black box here: its state dicts and its outputs are looked at. Each goes through a file, as those of users do.
"""

import argparse
import contextlib
import gzip
import json
import tempfile
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

import zoo_core
from tools import oracle, reference_values
from tools.distributions import ROOT
from zoo_core.checkpoints import StateDictError

NAMES = ROOT / "tests" / "assets" / "timm_names.json.gz"
TOLERANCE = 1e-4

MODELS = {
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2")},
    **{name: name for name in ("wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")},
    **{name: name for name in ("densenet121", "densenet161", "densenet169", "densenet201", "inception_v3")},
    **{f"vgg{depth}{bn}": f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{f"convnext_{size}": f"convnext_{size}" for size in ("tiny", "small", "base", "large")},
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "swin_v2_t": "swinv2_tiny_window8_256",
    "swin_v2_s": "swinv2_small_window8_256",
    "swin_v2_b": "swinv2_base_window8_256",
    "regnet_x_400mf": "regnetx_004_tv",
    "regnet_x_800mf": "regnetx_008",
    "regnet_x_1_6gf": "regnetx_016",
    "regnet_x_3_2gf": "regnetx_032",
    "regnet_x_8gf": "regnetx_080",
    "regnet_x_16gf": "regnetx_160",
    "regnet_x_32gf": "regnetx_320",
    "regnet_y_400mf": "regnety_004",
    "regnet_y_800mf": "regnety_008_tv",
    "regnet_y_1_6gf": "regnety_016",
    "regnet_y_3_2gf": "regnety_032",
    "regnet_y_8gf": "regnety_080_tv",
    "regnet_y_16gf": "regnety_160",
    "regnet_y_32gf": "regnety_320",
    **{f"efficientnet_b{scale}": f"efficientnet_b{scale}" for scale in range(8)},
    **{f"efficientnet_v2_{size}": f"efficientnetv2_{size}" for size in "sml"},
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mnasnet0_5": "mnasnet_050",
    "mnasnet0_75": "mnasnet_075",
    "mnasnet1_0": "mnasnet_100",
}
"""Ours -> timm's."""

DIFFERENT = {
    "maxvit_t": "maxvit_tiny_rw_224",
    "mnasnet1_3": "mnasnet_140",
    "regnet_x_400mf": "regnetx_004",
    "regnet_y_800mf": "regnety_008",
    "regnet_y_8gf": "regnety_080",
}
"""Those that are refused: of other parts, or of other widths."""


def theirs(name: str) -> nn.Module:
    oracle.torchvision()  # which timm imports
    import timm

    model: nn.Module = timm.create_model(name, num_classes=1000)
    return model.eval()


def difference(ours: str, name: str) -> float:
    """The largest difference of the outputs, relative to their largest value."""
    with reference_values.no_random_init():
        other = reference_values.fill_parameters(theirs(name))
    size = 299 if ours == "inception_v3" else 256 if ours.startswith("swin_v2") else 224
    image = reference_values.image(3, 1, 3, size, size)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "timm.pth"
        torch.save(other.state_dict(), path)
        model = zoo_core.get_model(ours, checkpoint=path).eval()
    with torch.inference_mode():
        output, expected = model(image), other(image)
    return float((output - expected).abs().max() / expected.abs().max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*a model whose name begins with tf_")
        yield


def write() -> None:
    """Names and shapes, with what runs of numbers have in common said once by the compression."""
    names: dict[str, Any] = {}
    pairs = {**MODELS, **{f"not {ours}": name for ours, name in DIFFERENT.items()}}
    for ours, name in pairs.items():
        with torch.device("meta"):
            names[ours] = {key: list(value.shape) for key, value in theirs(name).state_dict().items()}
    with gzip.GzipFile(NAMES, "wb", mtime=0) as file:
        file.write(json.dumps(names, separators=(",", ":")).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--write", action="store_true", help="write the names, and compare nothing")
    arguments = parser.parse_args()
    if arguments.write:
        write()
        return
    failures = []
    for ours, name in [*MODELS.items(), *DIFFERENT.items()]:
        if not any(fnmatchcase(ours, pattern) for pattern in arguments.patterns):
            continue
        try:
            largest = difference(ours, name)
        except StateDictError as error:
            print(f"{ours:24} {name:32} refused: {str(error).partition(chr(10))[0]}", flush=True)
            if (ours, name) not in DIFFERENT.items():
                failures.append(ours)
            continue
        print(f"{ours:24} {name:32} {largest:.1e}", flush=True)
        if not largest <= TOLERANCE or (ours, name) in DIFFERENT.items():
            failures.append(ours)
    if failures:
        raise SystemExit(f"differ from timm: {', '.join(failures)}")


if __name__ == "__main__":
    main()
