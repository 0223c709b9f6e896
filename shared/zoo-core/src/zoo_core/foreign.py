"""State dicts of other libraries for architectures that a package of the zoo has too.

A package that knows such names has a module ``foreign`` with a function ``translated``; that of zoo_classification says
which names of timm's it takes.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["translated"]


def translated(
    name: str, builder: "Callable[..., torch.nn.Module]", state_dict: Mapping[str, Any], *, source: str
) -> Mapping[str, Any]:
    """A state dict in the names that a model of ours has, if it is in those of another library.

    Args:
        name: of the model.
        builder: makes it.
        state_dict: values by name. It is not changed.
        source: where they come from, for messages.

    Returns:
        The translation; or ``state_dict`` itself, if nothing is known about its names.

    Raises:
        zoo_core.checkpoints.StateDictError: it is of a model that differs from ours.
    """
    module = f"{builder.__module__.partition('.')[0]}.foreign"
    if importlib.util.find_spec(module) is None:
        return state_dict

    def build() -> "torch.nn.Module":
        from zoo_core.builders import fresh_arguments, without_storage

        with without_storage():
            return builder(**fresh_arguments(builder))

    found: Mapping[str, Any] = importlib.import_module(module).translated(name, state_dict, build, source)
    return found
