"""What the programs share that quantize embedded weights: their options, and the file, as small as it can be."""

import argparse
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools import embedded_checkpoints


def options(description: str | None, images: str, count: int) -> tuple[Path, int]:
    """Reads the command line, and sets the number of threads.

    Args:
        description: of the program.
        images: what its images to calibrate with are.
        count: how many of them it takes by default.

    Returns:
        The folder for the checkpoint, and how many images to calibrate with.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the checkpoint")
    parser.add_argument("--images", type=int, default=count, help=images)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    return given.output, given.images


def save(quantized: nn.Module, output: Path, name: str) -> None:
    """Writes a model's checkpoint, named by its hash, and prints its path and size."""
    path = embedded_checkpoints.save(compacted(quantized.state_dict()), output, name)
    print(f"{path}, {path.stat().st_size / 2**20:.3f} MiB")


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
