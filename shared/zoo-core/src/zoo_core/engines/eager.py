"""A module, run by torch as it is."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.inference import optimize_for_inference
from zoo_core.runtimes import check_device, check_precision

__all__ = ["EagerEngine", "choose_device", "device_name"]

# Autocast computes these in bfloat16 whatever their weights are in; normalisations keep theirs.
_IN_BFLOAT16 = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


class EagerEngine:
    """Runs a module on a device, made fast by :func:`~zoo_core.inference.optimize_for_inference`.

    Args:
        model: the module. It is put into eval mode, and changed: it is for inference only afterwards.
        device: where it runs.
        arguments: keyword arguments of its ``forward``.
        precision: ``"bf16"`` computes convolutions and matrix products in bfloat16, by autocast; outputs are float32.

    Raises:
        ValueError: there is no such precision.
    """

    engine = "torch"

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | str = "cpu",
        arguments: Mapping[str, Any] | None = None,
        *,
        precision: str = "fp32",
    ) -> None:
        check_precision(precision)
        self.device = torch.device(device)
        self.arguments = dict(arguments or {})
        self.precision = precision
        with torch.inference_mode(False):  # no layer keeps anything of a weight that was made in it
            self.model = optimize_for_inference(model.eval()).to(self.device)
            if precision == "bf16":
                for module in self.model.modules():
                    if isinstance(module, _IN_BFLOAT16):
                        module.to(torch.bfloat16)  # once, rather than in each run

    def __call__(self, *inputs: Tensor | Sequence[Tensor]) -> Any:
        """See :class:`zoo_core.engines.Engine`."""
        moved = (
            value.to(self.device) if isinstance(value, Tensor) else [tensor.to(self.device) for tensor in value]
            for value in inputs
        )
        if self.precision == "fp32":
            return self.model(*moved, **self.arguments)
        with torch.autocast(self.device.type, torch.bfloat16):
            return _in_float32(self.model(*moved, **self.arguments))


def _in_float32(output: Any) -> Any:
    if isinstance(output, Mapping):
        return {key: _in_float32(value) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)([_in_float32(value) for value in output])
    return output.float() if isinstance(output, Tensor) and output.dtype == torch.bfloat16 else output


def device_name(device: str, engine: str | None) -> str:
    """The device that is meant by what a user says of device and engine: runtimes other than torch have the CPU only.

    Raises:
        ValueError: the engine does not run on that device.
    """
    if engine in (None, "torch", "auto"):
        return device
    if device != "auto":
        check_device(engine, device)
    return "cpu"


def choose_device(
    name: str, supported: Collection[str] | None = None, *, local_rank: int | None = None
) -> torch.device:
    """The device that a user's word means: ``"auto"`` is a CUDA GPU where there is one, or else the CPU.

    Args:
        name: ``"auto"``, or what :class:`torch.device` takes.
        supported: the types of device that may be chosen; ``None`` for any.
        local_rank: number of this process among several on this machine, each of which gets a GPU of its own for
            ``"auto"``.

    Raises:
        ValueError: there is no such device here, or it is not supported.
    """
    if name == "auto":
        has_cuda = torch.cuda.is_available() and (supported is None or "cuda" in supported)
        if has_cuda and local_rank is not None:
            return torch.device("cuda", local_rank % torch.cuda.device_count())
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:
        # A build of torch without CUDA raises AssertionError, others RuntimeError.
        reason = str(error).partition("\n")[0].partition(". ")[0]
        if reason.startswith("Expected one of"):  # a long list of what torch has names for
            reason = "torch has no device of that name"
        there = " or ".join(_devices(supported))
        raise ValueError(f"the device {name!r} cannot be used here ({reason}); there is --device {there}") from error
    if supported is not None and device.type not in supported:
        raise ValueError(f"these models run on {' or '.join(sorted(supported))} only, not on {name}")
    return device


def _devices(supported: Collection[str] | None) -> list[str]:
    """The devices of this machine, as ``--device`` takes them, with the names of GPUs."""
    found = ["cpu"]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        for index in range(torch.accelerator.device_count()):
            name = f" ({torch.cuda.get_device_name(index)})" if accelerator.type == "cuda" else ""
            found.append(f"{accelerator.type}:{index}{name}")
    return [device for device in found if supported is None or device.partition(":")[0] in supported]
