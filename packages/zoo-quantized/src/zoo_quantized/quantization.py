"""Eager-mode quantization: all that this package takes from :mod:`torch.ao` is in this file.

torch deprecates ``torch.ao.quantization`` in favour of torchao, which has nothing in its place for int8 convolutions on
the CPU yet. A torch without it would need another version of this file, and of no other.
"""

import contextlib
import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.ao.nn.intrinsic as nni
import torch.ao.nn.intrinsic.quantized as nniq
import torch.ao.nn.quantized as nnq
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.nn.intrinsic.qat import freeze_bn_stats
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

from zoo_core.checkpoints import assign_state_dict
from zoo_core.checkpoints.errors import StateDictError
from zoo_core.input_channels import adapt_weight, input_layers

__all__ = ["convert", "prepare_qat", "quantize_model", "select_engine"]

# The engines that run what was quantized for a backend; the first that is there is taken.
_ENGINES = {
    "fbgemm": ("fbgemm", "x86"),
    "x86": ("x86", "fbgemm"),
    "qnnpack": ("qnnpack",),
    "onednn": ("onednn",),
}
# Their products of bytes are added in pairs of 16 bits, so layers' outputs are quantized to 7 bits for them.
_SEVEN_BITS = ("fbgemm", "x86")

Model = TypeVar("Model", bound=nn.Module)


class BetweenStubs(nn.Module):
    """Comes before a float model among the bases of its quantizable form: quantizes its input, dequantizes its output.

    The float model computes in ``_forward``, and ``forward`` is what calls that.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quant = QuantStub()
        self.dequant = DeQuantStub()

    def _forward(self, x: Tensor) -> Any:
        output = super()._forward(self.quant(x))  # type: ignore[misc]
        if isinstance(output, tuple):
            # Auxiliary heads follow, which are there in training only, where nothing is int8.
            return self.dequant(output[0]), *output[1:]
        return self.dequant(output)


def select_engine(backend: str, *, needed_by: str = "this model") -> str:
    """Selects the engine that packs and runs int8 layers, for the whole process. Returns its name.

    Models that are packed already keep the engine that they were packed for.

    Args:
        backend: ``"fbgemm"``, ``"x86"``, ``"qnnpack"`` or ``"onednn"``. The first two run each other's models.
        needed_by: what asks for it, for the error message.

    Raises:
        ValueError: there is no such backend.
        RuntimeError: this build of torch, or this processor, has no engine for it; the message names those it has.
    """
    if backend not in _ENGINES:
        raise ValueError(f"backend must be one of {', '.join(_ENGINES)}, not {backend!r}")
    supported = [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]
    for engine in _ENGINES[backend]:
        if engine in supported:
            torch.backends.quantized.engine = engine
            return engine
    raise RuntimeError(
        f"{needed_by} needs the quantized engine {' or '.join(_ENGINES[backend])}, which torch does not have on this "
        f"machine; it has {', '.join(supported) or 'none'}. Ask for one of these by backend=, or build the float model "
        f"(quantize=False) and quantize it for one of these with zoo_quantized.quantize_model"
    )


def quantize_model(model: Model, data: Iterable[Any], *, backend: str = "fbgemm", inplace: bool = False) -> Model:
    """Quantizes a trained float model, calibrated on sample inputs (post-training quantization).

    Layers are fused, the ranges of their outputs observed on ``data``, and weights rounded to int8: for each output
    channel by a scale of its own, with qnnpack one for all.

    Args:
        model: a float model of this package (``quantize=False``), trained, on any device.
        data: batches for calibration: Tensor[N, 3, H, W], preprocessed as for the model, or what a data loader gives,
            whose first element is such a tensor. A few hundred images of what the model is for will do.
        backend: quantized engine that will run the model, see :func:`select_engine`.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The int8 model, in eval mode. It runs on the CPU.

    Raises:
        TypeError: ``model`` has no ``fuse_model``, or is not of float32, or ``data`` does not yield batches.
        ValueError: there is no such backend, or ``data`` is empty, or ``model`` is fused, prepared or int8 already.
        RuntimeError: torch has no engine for the backend on this machine.
    """
    _check_quantizable(model)
    select_engine(backend)
    if not inplace:
        model = copy.deepcopy(model)
    model.eval()
    with quiet():
        model.fuse_model(is_qat=False)  # type: ignore[operator]
        model.qconfig = ao.get_default_qconfig(backend)
        ao.prepare(model, inplace=True)
        device = next(model.parameters()).device
        empty = True
        with torch.inference_mode():
            for batch in data:
                images = batch[0] if isinstance(batch, Sequence) else batch
                if not isinstance(images, Tensor):
                    raise TypeError(
                        f"data must give batches Tensor[N, 3, H, W], or sequences whose first element is one, not "
                        f"{type(batch).__name__}"
                    )
                model(images.to(device))
                empty = False
        if empty:
            raise ValueError("there are no batches to calibrate with: data is empty; give some preprocessed images")
    return convert(model, inplace=True)


def prepare_qat(model: Model, *, backend: str = "qnnpack", inplace: bool = False) -> Model:
    """Prepares a float model for quantization-aware training, in which it sees the rounding errors of int8.

    Train what this returns as usual, for a few epochs at a low learning rate, and :func:`convert` it.

    Args:
        model: a float model of this package (``quantize=False``), usually a trained one.
        backend: quantized engine that will run the model, see :func:`select_engine`.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The model to train, in training mode: fused, with fake quantization of weights and outputs.

    Raises:
        TypeError: ``model`` has no ``fuse_model``, or is not of float32.
        ValueError: there is no such backend, or ``model`` is fused, prepared or int8 already.
        RuntimeError: torch has no engine for the backend on this machine.
    """
    _check_quantizable(model)
    select_engine(backend)
    if not inplace:
        model = copy.deepcopy(model)
    model = _prepare_qat(model, backend)
    model._prepared_for = backend  # type: ignore[assignment]
    return model


def _prepare_qat(model: Model, backend: str) -> Model:
    model.train()
    with quiet():
        model.fuse_model(is_qat=True)  # type: ignore[operator]
        model.qconfig = ao.get_default_qat_qconfig(backend)
        return ao.prepare_qat(model, inplace=True)


def convert(model: Model, *, inplace: bool = False) -> Model:
    """Converts a prepared model that has seen data, for instance one from :func:`prepare_qat`, to int8.

    Args:
        model: the prepared model.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The int8 model, in eval mode, on the CPU, where it runs. It is packed for the backend that :func:`prepare_qat`
        prepared it for, whose engine gets selected; one that torch's own functions prepared, for the selected engine.

    Raises:
        ValueError: ``model`` was not prepared, or has seen no data, so that ranges are not known.
    """
    _check_observed(model)
    backend = getattr(model, "_prepared_for", None)
    if backend is not None:
        select_engine(backend)
    if not inplace:
        model = copy.deepcopy(model)
    # torch makes int8 layers on the default device.
    with quiet(), torch.device("cpu"):
        return ao.convert(model.eval().cpu(), inplace=True)


def freeze_ranges(model: nn.Module) -> None:
    """Leaves the ranges of a prepared model's outputs and weights as they are: observers take no more notice."""
    model.apply(ao.disable_observer)


def freeze_batch_norms(model: nn.Module) -> None:
    """Leaves the statistics of a prepared model's batch norms as they are, and trains with them."""
    model.apply(freeze_bn_stats)


def fuse(module: nn.Module, groups: Sequence[Sequence[str]], is_qat: bool | None) -> None:
    """Fuses each group of a module's children into one layer: convolution, batch normalisation, ReLU.

    Args:
        module: holds the children; is changed.
        groups: names of children that follow each other.
        is_qat: keep the normalisation apart inside the fused layer, so that it can be trained; ``None`` if ``module``
            is in training mode.

    Raises:
        ValueError: ``is_qat`` does not go with the module's mode.
    """
    is_qat = module.training if is_qat is None else is_qat
    if is_qat != module.training:
        mode = "train" if is_qat else "eval"
        raise ValueError(f"fuse_model(is_qat={is_qat}) takes a model in {mode} mode; call model.{mode}() before")
    names = [list(group) for group in groups]
    with quiet():
        if is_qat:
            ao.fuse_modules_qat(module, names, inplace=True)
        elif any(parameter.is_meta for parameter in module.parameters()):
            ao.fuse_modules(module, names, inplace=True, fuser_func=_fuse_without_storage)
        else:
            ao.fuse_modules(module, names, inplace=True)


def _fuse_without_storage(layers: list[nn.Module], *args: Any) -> list[nn.Module]:
    """The fused layer and what takes the others' places, without parameters to compute: a checkpoint will have them.

    On the meta device, torch would spend seconds on importing what computes them.
    """
    convolution, last = layers[0], layers[-1]
    fused = nni.ConvReLU2d(convolution, last) if isinstance(last, nn.ReLU) else convolution
    return [fused, *(nn.Identity() for _ in layers[1:])]


def load_quantized(model: Model, state_dict: Mapping[str, Any], *, made_for: str, backend: str, source: str) -> Model:
    """Builds the int8 model of a checkpoint.

    Checkpoints have one of two forms: that of the int8 model, or that of a model prepared for quantization-aware
    training, whose observers say how to convert it.

    Args:
        model: the float model, constructed without storage; is changed.
        state_dict: the checkpoint.
        made_for: the backend that it was quantized for.
        backend: the backend that will run it.
        source: where it comes from, for error messages.

    Returns:
        The int8 model, in eval mode.

    Raises:
        zoo_core.checkpoints.StateDictError: the checkpoint does not fit the model.
        ValueError: ``backend`` cannot run what was made for ``made_for``.
        RuntimeError: torch has no engine for the backend on this machine.
    """
    if backend in _SEVEN_BITS and made_for not in _SEVEN_BITS:
        raise ValueError(
            f"{source} cannot run on {backend}: it was quantized for {made_for} with inputs of 8 bits, and {backend} "
            f"may overflow with more than 7. Leave backend out, or quantize the float model with quantize_model"
        )
    select_engine(backend, needed_by=source)
    if any(key.endswith(".fake_quant_enabled") for key in state_dict):
        _prepare_qat(model.to_empty(device="cpu"), made_for)
        assign_state_dict(model, state_dict, source=source)
        return convert(model, inplace=True)
    model.eval()
    model.fuse_model(is_qat=False)  # type: ignore[operator]
    with quiet():
        _replace_by_empty(model)
        assign_state_dict(model, _with_versions(state_dict), source=source)
        _check_shapes(model, source)
    return model


def replace_quantized_input(model: nn.Module, in_channels: int) -> list[str]:
    """Gives the first layer of an int8 model weights for another number of channels, made from those that are there.

    Repeated weights keep their integers, and their scales change; sums are rounded to a scale of their own.

    Args:
        model: is changed.
        in_channels: how many channels.

    Returns:
        Names of the layers.
    """
    names = input_layers(model)
    for name in names:
        layer: Any = model.get_submodule(name)
        if layer.in_channels == in_channels:
            continue
        old, bias = layer._weight_bias()
        weight = adapt_weight(old.dequantize(), in_channels)
        per_channel = old.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
        if in_channels == 1:
            largest = weight.abs().flatten(1).amax(1) if per_channel else weight.abs().max()
            scale = (largest / 127).clamp(min=torch.finfo(torch.float32).eps)
        else:
            scale = old.q_per_channel_scales() if per_channel else torch.tensor(old.q_scale())
            scale = scale * (layer.in_channels / in_channels)
        if per_channel:
            zeros = torch.zeros(len(scale), dtype=torch.int64)
            new = torch.quantize_per_channel(weight, scale.double(), zeros, 0, torch.qint8)
        else:
            new = torch.quantize_per_tensor(weight, float(scale), 0, torch.qint8)
        layer.in_channels = in_channels
        layer.set_weight_bias(new, bias)
    return names


def _check_quantizable(model: nn.Module) -> None:
    if not hasattr(model, "fuse_model"):
        raise TypeError(
            f"{type(model).__name__} cannot be quantized: it has no fuse_model(). Build the model with zoo_quantized, "
            f"whose float models (quantize=False) take the weights of zoo_classification's"
        )
    name = type(model).__name__
    if _observers(model):
        raise ValueError(f"this {name} is prepared already: let it see data or train it, and call convert on it")
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        raise ValueError(
            f"this {name} has no batch normalisation: it is an int8 model already, or was fused, or optimized for "
            f"inference. Give the float model as its builder made it (quantize=False)"
        )
    dtypes = {parameter.dtype for parameter in model.parameters()} - {torch.float32}
    if dtypes:
        raise TypeError(f"this {name} has parameters of {dtypes.pop()}; call model.float() before it is quantized")


def _observers(model: nn.Module) -> list[nn.Module]:
    """What records the ranges of a prepared model's layers."""
    return [module for module in model.modules() if isinstance(module, ao.ObserverBase)]


def _check_observed(model: nn.Module) -> None:
    """torch leaves an unprepared model as it is, and converts one that has seen no data to nonsense."""
    observers = _observers(model)
    if not observers:
        raise ValueError(
            f"this {type(model).__name__} is not prepared, so that there is nothing to convert: train what prepare_qat "
            f"returns, or use quantize_model"
        )
    lows = [low for observer in observers if (low := getattr(observer, "min_val", None)) is not None]
    if lows and not any(low.numel() and bool(low.isfinite().all()) for low in lows):
        raise ValueError(
            f"this {type(model).__name__} has seen no data, so that the ranges of its layers' outputs are not known: "
            f"train it, or run it on some preprocessed images"
        )


def _replace_by_empty(module: nn.Module) -> None:
    """Puts int8 layers without parameters in the place of a fused float model's, as `convert` would."""
    for name, child in module.named_children():
        replacement = _empty(child)
        if replacement is not None:
            setattr(module, name, replacement)
        else:
            _replace_by_empty(child)


def _empty(layer: nn.Module) -> nn.Module | None:
    if type(layer) is nni.ConvReLU2d:
        return _empty_convolution(nniq.ConvReLU2d, layer[0])
    if type(layer) is nn.Conv2d:
        return _empty_convolution(nnq.Conv2d, layer)
    if type(layer) is nn.Linear:
        return nnq.Linear(layer.in_features, layer.out_features)
    if type(layer) is FloatFunctional:
        return nnq.QFunctional()
    if type(layer) is nn.Hardswish:
        return nnq.Hardswish(1.0, 0)
    if type(layer) is nn.ReLU6:
        return nnq.ReLU6(layer.inplace)
    if type(layer) is nn.Dropout:
        return nnq.Dropout(layer.p, layer.inplace)
    if type(layer) is QuantStub:
        return nnq.Quantize(torch.tensor([1.0]), torch.tensor([0]), torch.quint8)
    if type(layer) is DeQuantStub:
        return nnq.DeQuantize()
    return None


def _empty_convolution(kind: type[nnq.Conv2d], layer: Any) -> nn.Module:
    return kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        padding_mode=layer.padding_mode,
    )


def _with_versions(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Marks packed parameters of linear layers as of the current version where a file has lost its metadata."""
    ending = "._packed_params._packed_params"
    packed = [key.removesuffix(ending) for key in state_dict if key.endswith(ending)]
    metadata = {path: dict(facts) for path, facts in getattr(state_dict, "_metadata", {}).items()}
    for path in packed:
        metadata.setdefault(path, {"version": 3})
        metadata.setdefault(f"{path}._packed_params", {"version": 3})
    copied = OrderedDict(state_dict)
    copied._metadata = metadata  # type: ignore[attr-defined]
    return copied


def _check_shapes(model: nn.Module, source: str) -> None:
    """int8 layers take weights of any shape; only running them fails."""
    wrong = []
    for name, layer in model.named_modules():
        if isinstance(layer, nnq.Conv2d):
            expected = [layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size]
        elif isinstance(layer, nnq.Linear):
            expected = [layer.out_features, layer.in_features]
        else:
            continue
        shape = list(layer.weight().shape)
        if shape != expected:
            wrong.append(f"{name}.weight (checkpoint {shape}, model {expected})")
    if wrong:
        shown = ", ".join(wrong[:8]) + (f", and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise StateDictError(
            f"{source} does not fit {type(model).__name__}:\n  {len(wrong)} entries of another shape: {shown}"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses warnings of torch that users can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"torch\.ao\.quantization is deprecated")
        warnings.filterwarnings("ignore", message=r"torch\.quantize_per_tensor, torch\.quantize_per_channel and other")
        warnings.filterwarnings("ignore", message="Please use quant_min and quant_max to specify the range")
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
        # Auxiliary heads see no data in eval mode, and are not used in it.
        warnings.filterwarnings("ignore", message="must run observer before calling calculate_qparams")
        yield
