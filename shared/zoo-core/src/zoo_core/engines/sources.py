"""Where an engine's model comes from: a module that is there, or a spec, which is built only when that is needed."""

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor, nn

from zoo_core import specs
from zoo_core.engines import identity
from zoo_core.specs import ModelSpec

__all__ = ["ModuleSource", "Source", "SpecSource"]


class Source(Protocol):
    """Gives a model when it is asked for.

    Attributes:
        name: what it is called in messages and in the cache.
        arguments: keyword arguments of its ``forward``.
    """

    name: str
    arguments: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Tells it from all others."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What the cache says of it."""
        ...

    def module(self) -> nn.Module:
        """The model in eval mode, which the caller may not change."""
        ...

    def own_module(self) -> nn.Module:
        """A model that the caller may change."""
        ...


class ModuleSource:
    """A module that is there.

    Args:
        model: the module; it is put into eval mode.
        arguments: keyword arguments of its ``forward``.
    """

    def __init__(self, model: nn.Module, arguments: Mapping[str, Any]) -> None:
        self._model = model.eval()
        self.name = type(model).__name__
        self.arguments = arguments

    @cached_property
    def key(self) -> str:
        return identity.module_key(self._model, self.arguments)

    @property
    def about(self) -> Mapping[str, Any]:
        return {"model": self.name, "weights": None, "versions": identity.versions()}

    def module(self) -> nn.Module:
        if any(tensor.is_inference() for tensor in self._model.state_dict().values() if isinstance(tensor, Tensor)):
            return copy.deepcopy(self._model)  # exporters do not take what was made in inference mode
        return self._model

    def own_module(self) -> nn.Module:
        return copy.deepcopy(self._model)


class SpecSource:
    """A model that is built when something has to be exported, and not if all that is needed was kept.

    Args:
        spec: the model.
        arguments: keyword arguments of its ``forward``.
    """

    def __init__(self, spec: ModelSpec, arguments: Mapping[str, Any]) -> None:
        self.spec = spec
        self.name = spec.name
        self.arguments = arguments
        self._built: nn.Module | None = None

    @cached_property
    def key(self) -> str:
        # What has no file yet is downloaded, and else built.
        found = identity.spec_key(self.spec, self.arguments)
        if found is None and self.spec.file is not None:
            self.module()
            found = identity.spec_key(self.spec, self.arguments)
        return found or identity.module_key(self.module(), self.arguments)

    @property
    def about(self) -> Mapping[str, Any]:
        weights = self.spec.weights or self.spec.file
        return {"model": self.spec.name, "weights": weights, "versions": identity.versions()}

    def module(self) -> nn.Module:
        if self._built is None:
            self._built = specs.build(self.spec)
        return self._built

    def own_module(self) -> nn.Module:
        built, self._built = self.module(), None  # built anew if it is asked for again
        if self.spec.file is None:  # with fresh parameters
            self._built = copy.deepcopy(built)
        return built
