"""What a family of models says about its features: where they are taken, and in what form they come.

A model class declares them by a method :meth:`feature_layers`::

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(("layer1", "layer2", "layer3", "layer4"), head="fc")
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

__all__ = [
    "FeatureLayers",
    "Form",
    "Layer",
    "channels_first",
    "form_of",
    "strided_stages",
    "tokens_to_map",
]

Form = Callable[[Any], Any]


@dataclass(frozen=True)
class Layer:
    """A place in a model where a tensor is taken.

    Args:
        path: of a submodule.
        key: which of the tensors that it gives, where these are a mapping; ``None`` for the whole.
        form: makes the map Tensor[N, C, H, W] (Tensor[N, C, T, H, W]) of what the submodule gives, without writing to
            it; ``None`` for the form that :class:`FeatureLayers` has for the submodule's class.
    """

    path: str
    key: str | None = None
    form: Form | None = None


@dataclass(frozen=True)
class FeatureLayers:
    """Where a model's features are.

    Args:
        stages: in the order in which they run; paths stand for layers. Nothing that comes later may write to what they
            give. They are called ``stage1``, ``stage2``, ... and may have names of their own (see ``names``).
        head: path of the last layer, which turns the embedding into scores; ``None`` for a model that has none such.
        pooled: the stage whose mean over height and width is the embedding of a model without ``head``.
        pool: makes the embedding of that stage's map; the mean by default.
        names: of stages that are to have others, by their place in ``stages``.
        forms: how submodules of a class give maps, by the class: of those whose maps are not Tensor[N, C, H, W].
        auxiliary: paths of classifiers that are there for training.
        body: of a model without ``head``, paths of what does not depend on its classes.
        input_size: of an input that the model takes, without batch and channels: ``(H, W)`` or ``(T, H, W)``.
        fixed_size: whether the model takes that size alone.
        head_takes: ``"embedding"``, or ``"map"`` for a head that works on the last map before it is pooled.
    """

    stages: Sequence[str | Layer]
    head: str | None = None
    pooled: str | None = None
    pool: Form | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    forms: Mapping[type, Form] = field(default_factory=dict)
    auxiliary: Sequence[str] = ()
    body: Sequence[str] = ()
    input_size: tuple[int, ...] = (224, 224)
    fixed_size: bool = False
    head_takes: str = "embedding"

    @property
    def layers(self) -> dict[str, Layer]:
        """The stages by name."""
        return {
            self.names.get(index, f"stage{index + 1}"): Layer(stage) if isinstance(stage, str) else stage
            for index, stage in enumerate(self.stages)
        }

    def below(self, path: str, **changes: Any) -> "FeatureLayers":
        """The same for a model that has this one as its submodule ``path``, and no head of it."""
        stages = [
            Layer(f"{path}.{layer.path}" if layer.path else path, layer.key, layer.form)
            for layer in self.layers.values()
        ]
        values = {"stages": stages, "forms": self.forms, "names": self.names, "body": (path,)} | changes
        return FeatureLayers(**values)


def strided_stages(model: nn.Module, path: str = "") -> list[str]:
    """Paths of those children, of a module that runs them one after the other, behind which the size changes.

    These are the children before one in which something strides, and the last child.

    Args:
        model: the model, or the module itself.
        path: of the module; ``""`` for ``model`` itself.
    """
    prefix = f"{path}." if path else ""
    children = list(model.get_submodule(path).named_children())
    strides = [any(map(_strides, child.modules())) for _, child in children]
    last = len(children) - 1
    return [f"{prefix}{name}" for index, (name, _) in enumerate(children) if index == last or strides[index + 1]]


def _strides(module: nn.Module) -> bool:
    stride = getattr(module, "stride", None)
    if not hasattr(module, "kernel_size") or stride is None:
        return False
    return any(step > 1 for step in (stride if isinstance(stride, tuple | list) else (stride,)))


def channels_first(x: Tensor) -> Tensor:
    """Tensor[N, ..., C] -> Tensor[N, C, ...], a view."""
    return x.movedim(-1, 1)


def tokens_to_map(x: Tensor, *size: int) -> Tensor:
    """Tokens, of which others than those of the map come first -> their map.

    Args:
        x: Tensor[N, L, C].
        *size: of the map, ``(H, W)`` or ``(T, H, W)``.

    Returns:
        Tensor[N, C, \\*size], a view.
    """
    count = 1
    for side in size:
        count *= side
    return x[:, x.shape[1] - count :].transpose(1, 2).unflatten(2, size)


def form_of(module: nn.Module, forms: Mapping[type, Form]) -> Form | None:
    """The form that is declared for a module's class, or for that of the last child of a ``Sequential``."""
    while True:
        for kind, form in forms.items():
            if isinstance(module, kind):
                return form
        if not isinstance(module, nn.Sequential) or not len(module):
            return None
        module = module[-1]


def plain(x: Any) -> Any:
    """A tensor as floating numbers, also where it is of int8."""
    return x.dequantize() if isinstance(x, Tensor) and x.is_quantized else x


def pooled(x: Tensor) -> Tensor:
    """Tensor[N, C, ...] -> Tensor[N, C], the mean over all places."""
    return x if x.ndim == 2 else x.flatten(2).mean(2)


def uncompiled(model: nn.Module) -> nn.Module:
    """The model in what ``torch.compile`` gave of it; else the model."""
    children = model._modules
    return children["_orig_mod"] or model if "_orig_mod" in children else model


def unwrapped(model: nn.Module) -> nn.Module:
    """The model in wrappers of torch: of ``torch.compile``, ``DataParallel``, ``AveragedModel`` and the like."""
    while True:
        inside = uncompiled(model)
        if inside is model and type(model).__module__.startswith("torch."):
            inside = model._modules.get("module") or model
        if inside is model:
            return model
        model = inside


def layers_of(model: nn.Module) -> FeatureLayers | None:
    """What the class of a model declares; ``None`` if it declares nothing."""
    declare = getattr(model, "feature_layers", None)
    return None if declare is None else cast(FeatureLayers, declare())


def required_layers(model: nn.Module, *, hint: str = "") -> FeatureLayers:
    """What the class of a model declares.

    Args:
        model: any model.
        hint: what else the user can do, behind a semicolon.

    Raises:
        ValueError: it declares nothing.
    """
    declared = layers_of(model)
    if declared is None:
        raise ValueError(
            f"{type(model).__name__} does not say which features it has: its class needs a method feature_layers() "
            f"that returns a zoo_core.features.FeatureLayers{hint}"
        )
    return declared


def token_form(*size: int) -> Form:
    """:func:`tokens_to_map` to maps of that size."""
    return partial(_to_map, size=size)


def _to_map(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return tokens_to_map(x, *size)


def copied(value: Any) -> Any:
    """What a module gave, with copies of the tensors, which may be written to later."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return OrderedDict((key, copied(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value
