"""What is said of a model's features: stages with their channels and reductions."""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ModelFeatures", "Stage"]


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
