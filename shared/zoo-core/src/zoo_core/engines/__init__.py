"""What runs a model, behind one small protocol.

An engine owns the runtime, the device and the dtype; what inputs and outputs mean is the task's. :class:`EagerEngine`
runs a module as it is, and :func:`compile_for` gives one that runs it in ONNX Runtime or OpenVINO::

    from zoo_core.engines import compile_for

    fast = compile_for(model)  # the fastest of what is installed
    fast(batch)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from zoo_core.engines.eager import EagerEngine, choose_device, device_name
from zoo_core.engines.programs import Program, ProgramError, open_file
from zoo_core.runtimes import ENGINES, PRECISIONS, EngineError

if TYPE_CHECKING:
    from zoo_core.engines.compiled import CompiledModel, compile_for

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "CompiledModel",
    "EagerEngine",
    "Engine",
    "EngineError",
    "Program",
    "ProgramError",
    "choose_device",
    "compile_for",
    "device_name",
    "open_file",
]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: it reads specs and writes files, of which who runs a module needs nothing.
    if name in ("CompiledModel", "compile_for"):
        from zoo_core.engines import compiled

        return getattr(compiled, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class Engine(Protocol):
    """Runs one model.

    Attributes:
        device: where its outputs are.
    """

    device: torch.device

    def __call__(self, *inputs: Tensor | Sequence[Tensor]) -> Any:
        """Runs the model.

        Args:
            *inputs: what the model's ``forward`` takes first, on any device: batches, Tensor[N, ...]; of a detector the
                list of images.

        Returns:
            What the model gives: tensors, or lists and dicts of them, on the engine's device.

        Raises:
            ValueError: the model does not take these inputs.
            RuntimeError: likewise, or there is too little memory, or the model is broken.
        """
        ...
