"""Models by name: what is there, and how to build it."""

import contextlib
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from torch import nn

from zoo_core import catalog, declarations
from zoo_core.builder_docs import describe_arguments
from zoo_core.legacy import OldCalls
from zoo_core.weights import WeightsEnum, weights_named

__all__ = [
    "Builder",
    "get_model_builder",
    "get_model_weights",
    "get_weight",
    "list_models",
    "register_model",
    "takes_old_calls",
    "weights_enums",
]

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

# Builders that this process registered. Those of installed packages are also in the catalogue, where they are found
# before their module is imported.
_registered: dict[str, Callable[..., nn.Module]] = {}


@overload
def register_model(function: Builder, /) -> Builder: ...
@overload
def register_model(function: None = None, /, *, name: str | None = None) -> Callable[[Builder], Builder]: ...
@overload
def register_model(function: str, /) -> Callable[[Builder], Builder]: ...
def register_model(function: Any = None, /, *, name: str | None = None) -> Any:
    """Registers a builder under its own name or under ``name``, and gives it the zoo's calling conventions.

    Use as ``@register_model``, ``@register_model()`` or ``@register_model(name="quantized_resnet50")``. The builder has
    keyword-only parameters, of which ``weights`` and others that begin with ``weights_`` are annotated with a
    :class:`~zoo_core.weights.WeightsEnum`. Callers may then give these as a member, as a string (``"IMAGENET1K_V1"``,
    ``"DEFAULT"``, ``"ResNet50_Weights.DEFAULT"``) or as ``None``; the builder gets a member or ``None``. With a warning
    they may use what torchvision deprecated; see :mod:`zoo_core.legacy`. The docstring need not describe ``weights``,
    ``progress`` and ``**kwargs``, which are the same for all builders:
    :func:`~zoo_core.builder_docs.describe_arguments` adds them.

    Raises:
        ValueError: another builder has the name already, or it is that of a model of the zoo.
    """
    if isinstance(function, str):
        function, name = None, function
    if function is None:
        return functools.partial(_register, name=name)
    return _register(function, name=name)


def _register(function: Builder, *, name: str | None) -> Builder:
    key = name or function.__name__
    owner = catalog.owners().get(key)
    if owner is not None and function.__module__.partition(".")[0] != owner.replace("-", "_"):
        raise ValueError(f"the name {key!r} belongs to a model of {owner}; give this one another name")
    taken = _registered.get(key)
    if taken is not None and (taken.__module__, taken.__qualname__) != (function.__module__, function.__qualname__):
        raise ValueError(
            f"a model named {key!r} is registered already, by {taken.__module__}.{taken.__qualname__}; "
            "give this one another name"
        )
    calls = OldCalls.of(function, functools.partial(_pretrained, function))

    @functools.wraps(describe_arguments(function))
    def builder(*args: Any, **kwargs: Any) -> nn.Module:
        arguments = calls.modern(args, kwargs)
        for parameter in calls.weights:
            if parameter in arguments:
                arguments[parameter] = _resolve(function, parameter, arguments[parameter])
        return function(**arguments)

    _registered[key] = builder
    return typing.cast(Builder, builder)


def takes_old_calls(function: Builder, /) -> Builder:
    """Lets a function that is no builder of the registry, but builds a part on one, take torchvision's old calls.

    Its parameters are keyword-only, and ``backbone_name`` is one of them: ``pretrained=True`` stands for the weights
    that it stood for in the builder of that name. See :mod:`zoo_core.legacy`.
    """

    def pretrained(parameter: str, arguments: Mapping[str, Any]) -> WeightsEnum | None:
        name = arguments.get("backbone_name")
        return None if name is None else _pretrained(get_model_builder(name), parameter, {})

    calls = OldCalls.of(function, pretrained)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> nn.Module:
        return function(**calls.modern(args, kwargs))

    return typing.cast(Builder, called)


def _pretrained(builder: Callable[..., nn.Module], parameter: str, arguments: Mapping[str, Any]) -> WeightsEnum:
    default = inspect.signature(builder).parameters[parameter].default
    if isinstance(default, WeightsEnum):
        return default
    enum = weights_enums(builder, parameter)[0]
    member = next(iter(enum))
    if parameter == "weights":
        for entry in catalog.models().values():
            if (entry.weights, entry.module) == (enum.__name__, enum.__module__):
                member = enum[entry.pretrained]
    # Builders of int8 models build the float model, with its weights, unless they are told to quantize.
    return member if arguments.get("quantize") else member.meta.get("unquantized", member)


def _resolve(function: Callable[..., nn.Module], parameter: str, value: Any) -> Any:
    if value is None:
        return None
    enums = weights_enums(function, parameter)
    if isinstance(value, WeightsEnum):
        if isinstance(value, enums):
            return value
        raise TypeError(
            f"{function.__name__}() takes {parameter} from {' or '.join(e.__name__ for e in enums)}, not {value!r}"
        )
    if not isinstance(value, str) or (len(enums) == 1 and "." not in value):
        return enums[0].verify(value)
    found = catalog.members_named(value, {enum.__name__: enum.__members__ for enum in enums})
    if len(found) == 1:
        (enum_name, member) = found[0]
        return next(enum for enum in enums if enum.__name__ == enum_name)[member]
    if found:
        # "DEFAULT" of several enums: the builder knows which is meant from its other arguments.
        return value
    names = ", ".join(f"{enum.__name__}.{member}" for enum in enums for member in enum.__members__)
    raise catalog.UnknownWeightsError(f"{function.__name__}() has no weights {value!r}; there are {names}")


@functools.cache
def weights_enums(function: Callable[..., nn.Module], parameter: str = "weights") -> tuple[type[WeightsEnum], ...]:
    """The weights enums in the annotation of a builder's parameter, in its order.

    Raises:
        ValueError: the parameter is not there, or its annotation names no :class:`~zoo_core.weights.WeightsEnum`.
    """
    found = inspect.signature(function, eval_str=True).parameters.get(parameter)
    annotation = None if found is None else found.annotation
    kinds = typing.get_args(annotation) or (annotation,)
    enums = tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, WeightsEnum))
    if not enums:
        raise ValueError(
            f"{function.__module__}.{function.__qualname__} has no parameter {parameter!r} annotated with a WeightsEnum"
        )
    return enums


def list_models(
    module: types.ModuleType | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> list[str]:
    """The names of the models there are, sorted.

    Args:
        module: only those whose builders are in this package, ``zoo_classification`` for instance.
        include: shell pattern or patterns of which a name must match one, ``"resnet*"``.
        exclude: shell pattern or patterns of which it must match none.

    Raises:
        TypeError: ``module`` is no module.
    """
    if not isinstance(module, types.ModuleType | None):
        raise TypeError(f"list_models() takes a module first, not {module!r}; for a pattern write include={module!r}")
    homes = {name: entry.module for name, entry in catalog.models().items()}
    homes |= {name: builder.__module__ for name, builder in _registered.items()}
    if module is not None:
        homes = {n: home for n, home in homes.items() if module.__name__ in (home, home.rpartition(".")[0])}
    return catalog.match(homes, include, exclude)


def get_model_builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds the model of that name; letter case does not matter.

    Raises:
        zoo_core.catalog.UnknownModelError: a ``ValueError`` that names the nearest models, or the package to install.
    """
    key = name.lower()
    for candidate in (name, key):
        if candidate in _registered:
            return _registered[candidate]
        if candidate in catalog.models():
            entry = catalog.models()[candidate]
            builder: Callable[..., nn.Module] = catalog.load(entry, entry.function)
            return builder
    if key in (there := declarations.on_backbones()):
        return _without_own_weights(there[key].builder)
    raise catalog.unknown_model(key, {*catalog.models(), *_registered})


@functools.cache
def _without_own_weights(reference: str) -> Callable[..., nn.Module]:
    """A function of a package, ``"module:function"``, that takes ``weights=None`` as builders of the registry do."""
    module, _, name = reference.partition(":")
    function = getattr(importlib.import_module(module), name)

    @functools.wraps(function)
    def builder(*args: Any, weights: None = None, **kwargs: Any) -> nn.Module:
        if weights is not None:
            raise ValueError(
                f"{name}() has no weights of its own; weights_backbone= names those of its backbone, and checkpoint= a "
                "file of yours"
            )
        model: nn.Module = function(*args, **kwargs)
        return model

    return builder


def get_model_weights(name: str | Callable[..., nn.Module]) -> type[WeightsEnum]:
    """The weights enum of a model, which is given by its name or its builder."""
    builder = get_model_builder(name) if isinstance(name, str) else name
    return weights_enums(builder)[0]


def get_weight(name: str) -> WeightsEnum:
    """The weights of a full name: ``get_weight("ResNet50_Weights.IMAGENET1K_V1")``.

    Raises:
        zoo_core.catalog.UnknownWeightsError: a ``ValueError`` and ``KeyError``: the name is not of that form, no
            installed package has the enum, or the enum has no such member.
    """
    registered: dict[str, type[WeightsEnum]] = {}
    for builder in _registered.values():
        with contextlib.suppress(ValueError):  # it takes no weights
            registered |= {enum.__name__: enum for enum in weights_enums(builder)}
    return weights_named(name, registered)
