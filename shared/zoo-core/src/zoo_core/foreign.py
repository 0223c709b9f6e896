"""State dicts of other libraries for architectures that a package of the zoo has too.

A package that knows such names has a module ``foreign`` with a function ``translated``; that of zoo_classification says
which names of timm's it takes.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["translated"]


def translated(name: str, state_dict: Mapping[str, Any], *, source: str) -> Mapping[str, Any]:
    """A state dict in the names that a model of ours has, if it is in those of another library.

    Args:
        name: of the builder.
        state_dict: values by name. It is not changed.
        source: where they come from, for messages.

    Returns:
        The translation; or ``state_dict`` itself, if nothing is known about its names.

    Raises:
        zoo_core.checkpoints.StateDictError: it is of a model that differs from ours.
    """
    from zoo_core.builders import without_storage
    from zoo_core.registry import get_model_builder

    builder = get_model_builder(name)
    module = f"{builder.__module__.partition('.')[0]}.foreign"
    if importlib.util.find_spec(module) is None:
        return state_dict

    def build() -> Any:
        parameters = inspect.signature(builder).parameters
        arguments = {key: None for key in ("weights", "weights_backbone") if key in parameters}
        with without_storage():
            return builder(**arguments)

    found: Mapping[str, Any] = importlib.import_module(module).translated(name, state_dict, build, source)
    return found
