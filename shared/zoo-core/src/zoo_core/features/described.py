"""Which features a model has: stages with their channels and reductions. Of the zoo's own, without building them."""

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo_core import catalog
from zoo_core.catalog import plugins

if TYPE_CHECKING:
    import torch

__all__ = ["ModelFeatures", "Stage", "model_features"]


@dataclass(frozen=True)
class Stage:
    """A feature map of a model.

    Attributes:
        name: ``"stage1"``, ...
        path: of the submodule that gives it.
        channels: C of the map, Tensor[N, C, H, W] (of videos Tensor[N, C, T, H, W]).
        reduction: the input's height and width over the map's, by which rounding is left out.
        time_reduction: the same of the number of frames; ``None`` for images.
    """

    name: str
    path: str
    channels: int
    reduction: int
    time_reduction: int | None = None


@dataclass(frozen=True)
class ModelFeatures:
    """The features of a model.

    Attributes:
        stages: in the order in which they run.
        embedding: size of the pooled embedding, D of Tensor[N, D]; ``None`` if there is none.
        head: path of the layer that turns the embedding into scores; ``None`` for a model that has none such.
        head_takes: ``"embedding"``, or ``"map"`` for a head that works on the last map before it is pooled.
    """

    stages: tuple[Stage, ...]
    embedding: int | None = None
    head: str | None = None
    head_takes: str = "embedding"

    @property
    def names(self) -> tuple[str, ...]:
        """The stages' names."""
        return tuple(stage.name for stage in self.stages)

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of each stage."""
        return tuple(stage.channels for stage in self.stages)

    @property
    def reductions(self) -> tuple[int, ...]:
        """The reduction of each stage."""
        return tuple(stage.reduction for stage in self.stages)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __getitem__(self, layer: str | int) -> Stage:
        """A stage by its name, or by its index, which may be negative.

        Raises:
            KeyError: there is no such stage.
        """
        if isinstance(layer, int):
            if not -len(self.stages) <= layer < len(self.stages):
                raise KeyError(f"there is no stage {layer}; there are {len(self.stages)}")
            return self.stages[layer]
        for stage in self.stages:
            if layer in (stage.name, stage.path):
                return stage
        raise KeyError(f"there is no stage {layer!r}; there are {', '.join(self.names)}")

    def __str__(self) -> str:
        lines = [
            f"{stage.name}  {stage.channels:5d} channels  1/{stage.reduction}"
            + (f"  (time 1/{stage.time_reduction})" if stage.time_reduction else "")
            + f"  {stage.path}"
            for stage in self.stages
        ]
        return "\n".join([*lines, *([] if self.embedding is None else [f"embedding  {self.embedding}"])])


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
