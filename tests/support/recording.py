"""Models as tools record them: by torch.fx, torch.jit and the two exporters to ONNX, compared with what they recorded.

Which builders there are comes from the catalogue; inputs are the smallest that a model takes.
"""

import contextlib
import gc
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo_core
from support import reference
from support.runtimes import onnx_runtime as onnx_runtime
from support.runtimes import openvino as openvino
from tools.model_parity import outputs

Inputs = tuple[Tensor, ...]

# Of those whose size is part of the model: arguments for the smallest that still has every kind of layer at work.
# X3D-XS has as many classes as its labels, which are not those of Kinetics.
SMALL_ARGUMENTS: dict[str, dict[str, Any]] = {
    "vit_b_16": {"image_size": 48},
    "vit_l_16": {"image_size": 48},
    "vit_b_32": {"image_size": 64},
    "vit_l_32": {"image_size": 64},
    "vit_h_14": {"image_size": 42},
    "mvit_v1_b": {"spatial_size": (64, 64), "temporal_size": 4},
    "mvit_v2_s": {"spatial_size": (64, 64), "temporal_size": 4},
    "x3d_xs": {"num_classes": 8},
}
SMALL_SIZES: dict[str, tuple[int, ...]] = {
    "maxvit_t": (224, 224),
    # The older exporter pools to a size only from a multiple of it.
    "alexnet": (224, 224),
    **dict.fromkeys((f"vgg{depth}{kind}" for depth in (11, 13, 16, 19) for kind in ("", "_bn")), (224, 224)),
    "inception_v3": (80, 75),
    "s3d": (14, 224, 224),
    "mvit_v1_b": (4, 64, 64),
    "mvit_v2_s": (4, 64, 64),
}
TASK_SIZES = {"classification": (64, 72), "quantized": (64, 72), "segmentation": (65, 72), "video": (6, 48, 56)}


def smallest_of_each_family(task: str) -> list[str]:
    """The builder of each family (a module of the package) that has the fewest parameters."""
    smallest: dict[str, str] = {}
    for name in sorted(reference.model_names(task), key=_size):
        smallest.setdefault(zoo_core.get_model_builder(name).__module__, name)
    return sorted(smallest.values())


def _size(name: str) -> int:
    path = reference.ASSETS / "state_dicts" / f"{name}.json.gz"
    assert path.exists()
    return sum(torch.Size(shape).numel() for _, _, shape in reference.manifest(name))


def small_model(name: str, **kwargs: Any) -> nn.Module:
    """A builder's model, filled as the reference was, for small inputs where it is made for one size."""
    with reference.no_random_init():
        model = zoo_core.get_model_builder(name)(**reference.arguments(name), **SMALL_ARGUMENTS.get(name, {}), **kwargs)
    return reference.fill_parameters(model)


def small_inputs(name: str, batch: int = 2) -> Inputs:
    """The smallest inputs that serve."""
    task = zoo_core.catalog.model(name).task
    if task == "flow":
        return tuple(2 * reference.image(seed, batch, 3, 128, 136) - 1 for seed in (1, 2))
    plain = name.removeprefix("quantized_")
    side = SMALL_ARGUMENTS.get(name, {}).get("image_size")
    size = (side, side) if side else SMALL_SIZES.get(plain, TASK_SIZES[task])
    return (reference.image(1, batch, 3, *size),)


@torch.no_grad()
def run(program: Callable[..., object], inputs: Inputs) -> list[Tensor]:
    """The tensors that a program gives, in order."""
    return outputs(program(*inputs))


def largest_difference(program: Callable[..., object], inputs: Inputs, expected: list[Tensor]) -> float:
    """Of a program's outputs from the expected ones, relative to the largest value of each."""
    found = run(program, inputs)
    assert [x.shape for x in found] == [x.shape for x in expected]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Python's cycle collector rests: it takes a third of the time of a large export, and finds little."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def to_onnx(model: nn.Module, inputs: Inputs, path: Path, *, dynamic: bool = False, older: bool = False) -> Path:
    """Exports a model by one of torch's two exporters, with the batch's size fixed or dynamic."""
    with torch.no_grad(), without_collection(), contextlib.redirect_stdout(io.StringIO()):
        if older:
            torch.onnx.export(model, inputs, str(path), dynamo=False)
        else:
            batch = {0: torch.export.Dim("batch", min=1, max=64)}
            shapes = tuple(batch for _ in inputs) if dynamic else None
            torch.onnx.export(model, inputs, str(path), dynamo=True, dynamic_shapes=shapes, verbose=False)
    return path
