"""Which features a model has: those of the zoo's own are looked up, those of others found out."""

import functools
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo_core import catalog
from zoo_core.catalog import plugins
from zoo_core.features.stages import ModelFeatures, Stage

if TYPE_CHECKING:
    import torch

__all__ = ["model_features"]


def model_features(model: "str | torch.nn.Module", **arguments: Any) -> ModelFeatures:
    """The stages of a model, with their channels and reductions, and the size of its embedding.

    Args:
        model: the name of a model, which is not built then if its package says what its features are, as those of the
            zoo do; or a model.
        **arguments: of the builder of a model that is named, as far as its features depend on them
            (``replace_stride_with_dilation``). It is built then, without storage.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has a model of that name.
        ValueError: the model's class does not say which features it has.
    """
    if not isinstance(model, str):
        from zoo_core.features.measuring import measured

        return measured(model)
    name = model.lower()
    if not arguments and name in catalog.models():
        entry = catalog.models()[name]
        known = _of_package(entry.module.partition(".")[0])
        if name in known:
            return known[name]
    return _of_builder(name, tuple(sorted(arguments.items())) if _hashable(arguments) else None, arguments)


def _hashable(arguments: Mapping[str, Any]) -> bool:
    try:
        hash(tuple(arguments.values()))
    except TypeError:
        return False
    return True


@functools.cache
def _of_package(package: str) -> Mapping[str, ModelFeatures]:
    """What the file ``features.toml`` of a package says, by the names of its models."""
    path = plugins.path_in_package(package, "features.toml")
    if path is None or not path.exists():
        return {}
    with path.open("rb") as file:
        return {name: _read(table) for name, table in tomllib.load(file).items()}


def _read(table: Mapping[str, Any]) -> ModelFeatures:
    stages = tuple(Stage(*row) for row in table["stages"])
    return ModelFeatures(stages, table.get("embedding"), table.get("head"), table.get("head_takes", "embedding"))


_built: dict[Any, ModelFeatures] = {}


def _of_builder(name: str, key: Any, arguments: Mapping[str, Any]) -> ModelFeatures:
    if key is not None and (name, key) in _built:
        return _built[name, key]
    from zoo_core.features.measuring import measured_without_storage

    found = measured_without_storage(name, arguments)
    if key is not None:
        _built[name, key] = found
    return found
