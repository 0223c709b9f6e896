"""A classifier without its head, as the backbone of another model."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.features.declared import FeatureLayers, required_layers, unwrapped
from zoo_core.features.described import model_features
from zoo_core.features.extracting import FeatureModel
from zoo_core.features.freezing import HEAD, NECK, parts_of
from zoo_core.features.measuring import measured
from zoo_core.features.stages import ModelFeatures, Stage
from zoo_core.input_channels import input_layers

__all__ = ["Body", "body_of"]


class Body(nn.Module):
    """Gives feature maps of a classifier, which has lost what comes after its last stage.

    Args:
        model: of :mod:`zoo_classification`, or another whose class declares its features. It is changed.
        reductions: those wanted, finest first. Of each the last stage that has it is taken; a transformer that has one
            reduction for all gives its stages resized to these. A number means so many stages, the last ones.

    Shape:
        Tensor[N, 3, H, W] -> list of Tensor[N, C_i, H_i, W_i], finest first

    Raises:
        ValueError: the model is no classifier of images, has no stage of these reductions, or its class does not
            declare its features.

    Attributes:
        channels: of each map.
        reductions: of each map.
        input_size: the only height and width that the model takes; ``None`` for any.
    """

    def __init__(self, model: nn.Module, reductions: Sequence[int] | int) -> None:
        super().__init__()
        model = unwrapped(model)
        told = measured(model)
        declared = required_layers(model)
        _check_kind(type(model).__name__, told, not declared.body)
        by_reduction = {stage.reduction: stage for stage in told}
        resized = not isinstance(reductions, int) and len(by_reduction) == 1 and len(told) > 1
        chosen: list[Stage]
        if isinstance(reductions, int):
            chosen = list(told)[-reductions:]
            self.reductions = tuple(stage.reduction for stage in chosen)
        elif resized:
            chosen, self.reductions = list(told)[-len(reductions) :], tuple(reductions)[-len(told) :]
        else:
            self.reductions = tuple(reduction for reduction in reductions if reduction in by_reduction)
            chosen = [by_reduction[reduction] for reduction in self.reductions]
        if not chosen:
            assert not isinstance(reductions, int)
            raise ValueError(
                f"{type(model).__name__} has no feature map of a reduction of {', '.join(map(str, reductions))}; "
                f"it has those of {', '.join(map(str, told.reductions))}"
            )
        self.channels = tuple(stage.channels for stage in chosen)
        self.input_size = declared.input_size[-2:] if declared.fixed_size else None
        self._factors = [told[-1].reduction / reduction if resized else None for reduction in self.reductions]
        _drop_head(model, declared)
        self.features = FeatureModel(model, [stage.name for stage in chosen])

    def feature_layers(self) -> FeatureLayers:
        declared = required_layers(self.features.model)
        return FeatureLayers(
            list(declared.layers.values()), names=declared.names, forms=declared.forms, input_size=declared.input_size
        ).below("features.model")

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = list(self.features(x).values())
        return [
            level if factor in (None, 1) else _resized(level, factor)
            for level, factor in zip(maps, self._factors, strict=True)
        ]


def _check_kind(name: str, told: ModelFeatures, is_classifier: bool) -> None:
    if not is_classifier or any(stage.time_reduction is not None for stage in told):
        raise ValueError(
            f"{name} is no classifier of images, and cannot be a backbone; `zoo list --task classification` lists those"
        )


def _resized(x: Tensor, factor: float | None) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _drop_head(model: nn.Module, declared: FeatureLayers) -> None:
    """Takes out what no stage needs."""
    parts = parts_of(model)
    kept = {name.partition(".")[0] for part, names in parts.items() if part not in (NECK, HEAD) for name in names}
    dropped = {name.partition(".")[0] for part in (NECK, HEAD) for name in parts.get(part, ())} - kept
    auxiliary = {path.partition(".")[0] for path in declared.auxiliary}
    for name in dropped:
        setattr(model, name, None if name in auxiliary else nn.Identity())


def body_of(
    backbone: str | nn.Module, weights: Any, progress: bool, reductions: Sequence[int] | int, **kwargs: Any
) -> Body:
    """The body of a classifier that is named, or given.

    Args:
        backbone: name of a builder, ``"convnext_tiny"``, or a model, which is changed.
        weights: what to load into a model that is named: a member of its weights, its name, or ``None``.
        progress: show a progress bar for a download.
        reductions: see :class:`Body`.
        **kwargs: arguments of the builder.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has a model of that name.
        ValueError: the model is no classifier of images, or takes other numbers of channels than ``in_channels``.
        TypeError: ``backbone`` is neither a name nor a model, or there are arguments for one that is built already.
    """
    if isinstance(backbone, str):
        from zoo_core import catalog
        from zoo_core.registration import get_model_builder

        builder = get_model_builder(backbone)
        if backbone.lower() in catalog.models():  # nothing is built, or downloaded, for the sake of this error
            told = model_features(backbone)
            _check_kind(backbone, told, told.head is not None)
        if weights is not None and not isinstance(weights, str):
            weights = str(weights)
        return Body(builder(weights=weights, progress=progress, **kwargs), reductions)
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"backbone must be the name of a classifier, or a model, not {backbone!r}")
    in_channels = kwargs.pop("in_channels", None)
    if kwargs:
        raise TypeError(f"{', '.join(kwargs)}: arguments of the builder go with a backbone that is named")
    if in_channels is not None:
        first: Any = backbone.get_submodule(input_layers(backbone)[0])
        if first.in_channels != in_channels:
            raise ValueError(
                f"the backbone takes images of {first.in_channels} channels, not {in_channels}; build it with "
                f"in_channels={in_channels}"
            )
    return Body(backbone, reductions)
