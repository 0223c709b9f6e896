"""How a builder makes a model: with fresh parameters, or with those of a checkpoint, without drawing others first."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo_core import user_warnings
from zoo_core.input_channels import check_channels, input_layers, replace_input, what_was_done

if TYPE_CHECKING:
    from zoo_core.weights import WeightsEnum

Model = TypeVar("Model", bound=nn.Module)


def build(
    model_class: Callable[..., Model],
    weights: "WeightsEnum | None",
    progress: bool = True,
    /,
    *,
    new_head: bool = False,
    freeze_body: bool = False,
    in_channels: int | None = None,
    **kwargs: Any,
) -> Model:
    """Makes a model, with the tensors of a checkpoint if ``weights`` are given.

    With weights, ``num_classes`` follows from their categories. No parameter is drawn at random only to be overwritten:
    the model is constructed without storage and takes the tensors of the memory-mapped file as they are.

    Args:
        model_class: the class, or a function that constructs the model.
        weights: what to load; ``None`` for fresh parameters.
        progress: show a progress bar if the checkpoint has to be downloaded.
        new_head: for fine-tuning: keep the body of the checkpoint, and put fresh parameters wherever their shape
            depends on ``num_classes``, which may then be any number.
        freeze_body: with ``new_head``, let only the head's parameters require gradients.
        in_channels: how many channels the images have; 3 by default. With weights, the first layer is made from the
            trained one: see :mod:`zoo_core.input_channels`, for the normalisation too.
        **kwargs: arguments of ``model_class``.

    Raises:
        ValueError: an argument contradicts the checkpoint, or ``new_head`` is asked for where it means nothing.
        zoo_core.checkpoints.CheckpointError: the checkpoint cannot be obtained, read, or does not fit the model.
    """
    if freeze_body and not new_head:
        raise ValueError("freeze_body=True goes with new_head=True: without a new head nothing would be left to train")
    if in_channels is not None:
        check_channels(in_channels)
    if weights is None:
        if new_head:
            raise ValueError("new_head=True needs weights whose body it keeps; give weights, or leave out new_head")
        if in_channels is None:
            return model_class(**kwargs)
        if "in_channels" in _parameters(model_class):
            return model_class(in_channels=in_channels, **kwargs)
        model = model_class(**kwargs)
        replace_input(model, in_channels, initialize=_initialize)
        return model

    classes = weights.meta.get("categories")
    takes_classes = bool(classes) and "num_classes" in _parameters(model_class)
    if new_head:
        if not takes_classes:
            raise ValueError(f"new_head=True: {weights} has no classifier that could be replaced")
        model = _with_new_head(model_class, weights, progress, freeze_body, kwargs)
    else:
        if classes and takes_classes:
            set_from_weights(kwargs, weights, "num_classes", len(classes))
        with without_storage():
            model = model_class(**kwargs)
        load(model, weights, progress)
    return model if in_channels is None else with_channels(model, in_channels, str(weights))


def with_channels(
    model: Model,
    in_channels: int,
    source: str,
    replace: Callable[[nn.Module, int], list[str]] = replace_input,
) -> Model:
    """A trained model for images of another number of channels, made as :mod:`zoo_core.input_channels` says.

    Args:
        model: is changed.
        in_channels: how many.
        source: where its parameters come from, for the warning that says what was done.
        replace: changes the first layers.

    Returns:
        The model.

    Raises:
        ValueError: there is no such first layer.
    """
    first: Any = model.get_submodule(input_layers(model)[0])
    before = first.in_channels
    names = replace(model, in_channels)
    if before != in_channels:
        user_warnings.warn(what_was_done(source, names, before, in_channels))
    return model


@contextlib.contextmanager
def without_storage() -> Iterator[None]:
    """Constructs modules on the meta device, for a checkpoint to fill: no memory is allocated, no number drawn."""
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Leaves out what would fill tensors that have no storage.

    It has no effect on them, but torch implements it in Python, and the first call imports that for over a second.
    """

    _FILLS = frozenset(
        [
            *(getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")),
            *(getattr(Tensor, name) for name in ("bernoulli_", "clamp_", "erfinv_", "fill_", "normal_", "uniform_")),
        ]
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._FILLS:
            # torch.nn.init hands its tensor on by name.
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


def fresh_arguments(builder: Callable[..., nn.Module]) -> dict[str, None]:
    """The arguments with which a builder gives fresh parameters: no weights, nor any of the backbone."""
    parameters = inspect.signature(builder).parameters
    return {name: None for name in ("weights", "weights_backbone") if name in parameters}


def head_of(model: nn.Module, other: nn.Module) -> set[str]:
    """Names of the modules whose parameters depend on the number of classes.

    Args:
        model: any model.
        other: the same for another number of classes. Both may be without storage.
    """
    shapes = {name: parameter.shape for name, parameter in other.named_parameters()}
    return {name.rpartition(".")[0] for name, p in model.named_parameters() if p.shape != shapes[name]}


def load(model: Model, weights: "WeightsEnum", progress: bool = True) -> Model:
    """Gives a model, constructed :func:`without_storage`, the tensors of a checkpoint. Returns the model.

    Afterwards it is on the default device. A parameter of another dtype in the file is converted to the model's own.
    """
    from zoo_core.checkpoints import assign_state_dict

    state_dict = weights.get_state_dict(progress=progress, check_hash=True)
    assign_state_dict(model, state_dict, source=str(weights))
    return _on_default_device(model)


def set_from_weights(kwargs: dict[str, Any], weights: "WeightsEnum", parameter: str, value: Any) -> None:
    """Sets an argument that the checkpoint determines.

    Raises:
        ValueError: the caller gave another value.
    """
    given = kwargs.setdefault(parameter, value)
    if given is None:
        kwargs[parameter] = value
    elif given != value:
        hint = (
            "; give new_head=True to keep the checkpoint's body and train a fresh head of that size"
            if parameter == "num_classes"
            else "; leave the argument out, or build without weights"
        )
        raise ValueError(f"{weights} was trained with {parameter}={value}, not {given}{hint}")


def _with_new_head(
    model_class: Callable[..., Model], weights: "WeightsEnum", progress: bool, freeze_body: bool, kwargs: dict[str, Any]
) -> Model:
    from zoo_core.checkpoints import assign_state_dict

    trained_classes = len(weights.meta["categories"])
    num_classes = kwargs.pop("num_classes", trained_classes)
    if type(num_classes) is not int or num_classes < 1:
        raise ValueError(f"num_classes must be an integer of at least 1, not {num_classes!r}")

    with without_storage():
        trained = model_class(num_classes=trained_classes, **kwargs)
        model = model_class(num_classes=num_classes, **kwargs)
        other = model_class(num_classes=num_classes + 1, **kwargs)
    assign_state_dict(trained, weights.get_state_dict(progress=progress, check_hash=True), source=str(weights))
    head = head_of(model, other)
    body = {name: value for name, value in trained.state_dict().items() if name.rpartition(".")[0] not in head}
    for path in sorted(head):
        module = model.get_submodule(path)
        module.to_empty(device="cpu", recurse=False)
        _initialize(model, module)
        body |= {f"{path}.{name}": value for name, value in module.state_dict().items()}
    assign_state_dict(model, body, source=str(weights))
    if freeze_body:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[0] in head)
    user_warnings.warn(
        f"{weights}: the body is the checkpoint's; the head ({', '.join(sorted(head))}) is new, for {num_classes} "
        f"classes, and gives random results until it is trained" + ("; the body is frozen" if freeze_body else "")
    )
    return _on_default_device(model)


def _initialize(model: nn.Module, module: nn.Module) -> None:
    """Reinitialises a module's own parameters: as torch does, and then as the model's family does."""
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
    initialize = getattr(model, "_initialize", None)
    if initialize is not None:
        initialize(module)


def _on_default_device(model: Model) -> Model:
    device = torch.get_default_device()
    return model if device.type == "cpu" else model.to(device)


def _parameters(function: Callable[..., Any]) -> set[str]:
    """The names of the arguments that a function or class takes, its base classes' included where it passes them on."""
    names: set[str] = set()
    for kind in inspect.getmro(function) if inspect.isclass(function) else (function,):
        parameters = inspect.signature(kind).parameters
        names |= set(parameters)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return names
