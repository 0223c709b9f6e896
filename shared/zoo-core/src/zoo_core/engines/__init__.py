"""What runs a model, behind one small protocol.

An engine owns the runtime, the device and the dtype; what inputs and outputs mean is the task's. :class:`EagerEngine`
runs a module as it is.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo_core.engines.eager import EagerEngine, choose_device
from zoo_core.engines.names import ENGINES, PRECISIONS
from zoo_core.engines.programs import Program, ProgramError, open_file

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "EagerEngine",
    "Engine",
    "Program",
    "ProgramError",
    "choose_device",
    "open_file",
]


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
