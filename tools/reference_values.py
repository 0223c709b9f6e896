"""Parameters and inputs that follow from names and seeds alone: what the compatibility reference was made with.

Tests, benchmarks and parity checks give them to our models and to torchvision's alike.
"""

import contextlib
import inspect
import math
import zlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from zoo_core import get_model_builder


def image(seed: int, *shape: int) -> Tensor:
    """Values from 0 to 1, float32."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def noise(seed: int, *shape: int) -> Tensor:
    """Levels from 0 to 255, uint8."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def arguments(name: str) -> dict[str, Any]:
    """What keeps a builder, ours and torchvision's, from fetching a backbone's checkpoint, and from warning."""
    kwargs: dict[str, Any] = {}
    if "weights_backbone" in inspect.signature(get_model_builder(name)).parameters:
        kwargs["weights_backbone"] = None
    if name.removeprefix("quantized_") in ("googlenet", "inception_v3"):
        kwargs["init_weights"] = True
    return kwargs


@contextlib.contextmanager
def no_random_init() -> Iterator[None]:
    """Leaves out the random initialisation of modules, for tests that overwrite the parameters anyway.

    Parameters then hold whatever was in memory.
    """
    with contextlib.ExitStack() as stack:
        for name, function in vars(nn.init).items():
            if name.endswith("_") and not name.startswith("_") and inspect.isfunction(function):
                stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *args, **kwargs: tensor))
        yield


@torch.no_grad()
def fill_parameters(model: nn.Module) -> nn.Module:
    """Fills a model from the names of its tensors, as the reference did, and puts it into eval mode."""
    for key, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        shape = tensor.shape
        if key.endswith("running_var"):
            value = 0.5 + torch.rand(shape, generator=generator)
        elif key.endswith("running_mean"):
            value = 0.1 * torch.randn(shape, generator=generator)
        elif tensor.ndim >= 2:
            value = torch.randn(shape, generator=generator) * math.sqrt(shape[0] / tensor.numel())
        elif tensor.ndim == 1 and key.endswith("weight"):
            value = 0.5 + 0.5 * torch.rand(shape, generator=generator)
        else:
            value = 0.1 * torch.randn(shape, generator=generator)
        tensor.copy_(value)
    return model.eval()
