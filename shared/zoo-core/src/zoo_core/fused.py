"""Linear layers and convolutions that oneDNN computes together with the activation behind them.

:func:`~zoo_core.inference.optimize_for_inference` turns layers of a model into these. On x86 CPUs, oneDNN multiplies
matrices about 1.2 times as fast as what torch calls by default, applies an activation while the results are still in
the registers, and reads weights of convolutions fastest in an order of its own, for which the layer keeps a second copy
of them once it has run.

The operators are torch's, but not documented. Where they are missing, and wherever more is wanted than numbers
(gradients, autocast, graphs, programs), the layers compute what torch's own classes do.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from zoo_core import winograd
from zoo_core.tracing import is_stand_in, is_transformed, module_node

__all__ = [
    "FusedConv2d",
    "FusedLinear",
    "PackedWeight",
    "fuse",
    "fuse_activation",
    "fuse_chain",
    "is_activation",
    "keep_no_copies",
    "linear",
]


class _Activation(NamedTuple):
    """What the operators call an activation."""

    name: str
    scalars: tuple[float, ...] = ()
    algorithm: str = ""


_NONE = _Activation("none")
# Below this number of multiplications, calling oneDNN costs one thread more than it saves in a 1x1 convolution.
_LEAST_WORK = 1 << 24
# From this number of rows on, oneDNN is the faster one though it has to reorder the weight.
_LEAST_ROWS = 32


class PackedWeight:
    """A weight in the order in memory that suits the operators. Copies of this object start empty."""

    def __init__(self) -> None:
        # Replaced as a whole, so that threads that share a model see one state or the other.
        self._kept: tuple[tuple[Any, ...], Tensor, Tensor] | None = None

    def get(self, weight: Tensor, pack: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """What ``pack(weight, *arguments)`` returns, or returned before."""
        if weight.is_inference():  # whose changes are not counted
            return weight
        key = (weight.data_ptr(), weight._version, weight.dtype, arguments)
        kept = self._kept
        if kept is None or kept[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                packed = pack(weight, *arguments)
            # The alias keeps the memory from being given to another tensor, so that its address tells them apart.
            self._kept = kept = (key, packed, weight.detach())
        return kept[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, packed: PackedWeight | None = None, how: _Activation = _NONE
) -> Tensor | None:
    """:func:`torch.nn.functional.linear` and an activation by oneDNN.

    Args:
        x: Tensor[..., in].
        weight: Tensor[out, in].
        bias: Tensor[out], or ``None``.
        packed: belongs to the weight; ``None`` to keep no copy of it.
        how: the activation.

    Returns:
        Tensor[..., out], or ``None`` where this cannot be computed so, or is not faster.
    """
    if x.numel() < _LEAST_ROWS * x.shape[-1] or not _is_eligible(x, weight, bias):
        return None
    if packed is not None:
        weight = packed.get(weight, torch.ops.mkldnn._reorder_linear_weight.default)
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, how.name, how.scalars, how.algorithm)


class FusedLinear(nn.Linear):
    """A linear layer and the activation behind it, Tensor[..., in] -> Tensor[..., out]. Made by :func:`fuse`."""

    plain_form = nn.Linear
    activation: nn.Module | None = None
    packed: PackedWeight | None = None

    def forward(self, input: Tensor) -> Tensor:
        if is_stand_in(input):
            node = module_node(self, input)
            if node is not None:
                return node
        elif not torch.compiler.is_compiling():
            how = _NONE if self.activation is None else _activation(self.activation) or _NONE
            input = _as_autocast(input, self.weight)
            output = linear(input, self.weight, self.bias, self.packed, how)
            if output is not None:
                return output
        return _activated(super().forward(input), self.activation)


class FusedConv2d(nn.Conv2d):
    """A convolution and the activation behind it, Tensor[N, C, H, W] -> Tensor[N, D, H', W']. Made by :func:`fuse`."""

    plain_form = nn.Conv2d
    activation: nn.Module | None = None
    packed: PackedWeight | None = None
    transformed: PackedWeight

    def forward(self, input: Tensor) -> Tensor:
        # What a small model's time goes into is calls: the questions that most often say no come first.
        if type(input) is not Tensor:
            if is_stand_in(input) and (node := module_node(self, input)) is not None:
                return node
        elif (
            self.packed is not None
            and not torch.compiler.is_compiling()
            and input.ndim == 4
            and not self._is_too_small(input)
            and _is_eligible(input := _as_autocast(input, self.weight), self.weight, self.bias)
        ):
            padding = self.padding
            assert not isinstance(padding, str)  # fuse() takes no such layer
            if self._is_plain_3x3() and winograd.pays(input.shape, self.out_channels, padding):
                kernels = self.transformed.get(self.weight, winograd.transformed)
                if kernels is not self.weight:
                    return winograd.convolve(input, kernels, self.bias, self.out_channels, padding, self.activation)
            how = _NONE if self.activation is None else _activation(self.activation) or _NONE
            place = padding, self.stride, self.dilation, self.groups
            pack = torch.ops.mkldnn._reorder_convolution_weight.default
            return torch.ops.mkldnn._convolution_pointwise.default(
                input,
                self.packed.get(self.weight, pack, *place, input.shape),
                self.bias,
                *place,
                how.name,
                how.scalars,
                how.algorithm,
            )
        output = self._conv_forward(input, self.weight, self.bias)
        return output if self.activation is None else self.activation(output)

    def _is_plain_3x3(self) -> bool:
        return (
            self.kernel_size == (3, 3)
            and self.stride == (1, 1)
            and self.dilation == (1, 1)
            and self.groups == 1
            and self.weight.dtype == torch.float32
        )

    def _is_too_small(self, input: Tensor) -> bool:
        return (
            self.kernel_size == (1, 1)
            and input.numel() * self.out_channels < _LEAST_WORK
            and self.groups == 1
            and torch.get_num_threads() == 1
        )


def fuse(layer: nn.Module) -> bool:
    """Makes a layer of torch's own one of these, in place: its parameters and its name stay.

    Args:
        layer: any module. Nothing is done to one of another class than ``nn.Linear``, or than ``nn.Conv2d`` that pads
            with a number of zeros.

    Returns:
        whether it is one of these now.
    """
    if type(layer) in (nn.Linear, NonDynamicallyQuantizableLinear):
        layer.__class__ = FusedLinear
        vars(layer)["packed"] = PackedWeight()
    elif type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        layer.__class__ = FusedConv2d
        vars(layer)["packed"], vars(layer)["transformed"] = PackedWeight(), PackedWeight()
    return isinstance(layer, FusedLinear | FusedConv2d)


def fuse_activation(layer: nn.Module, activation: nn.Module) -> bool:
    """Lets a layer apply an activation, which the caller then takes out.

    Returns:
        whether it does: only those that the operators know are taken.
    """
    if _activation(activation) is None or not fuse(layer) or layer.activation is not None:
        return False
    # Not as a child, whose name would be new.
    vars(layer)["activation"] = activation
    return True


def fuse_chain(layers: nn.Sequential) -> None:
    """Lets the layers of a chain that is always called whole apply the activations that directly follow them."""
    for (_, layer), (name, activation) in itertools.pairwise(list(layers.named_children())):
        if is_activation(activation) and fuse_activation(layer, activation):
            setattr(layers, name, nn.Identity().eval())


def keep_no_copies(model: nn.Module) -> None:
    """Lets no module of a model keep a second copy of its weight. Its convolutions compute as torch's then."""
    for module in model.modules():
        if isinstance(vars(module).get("packed"), PackedWeight):
            vars(module)["packed"] = None


def is_activation(module: nn.Module) -> bool:
    """Whether the operators know an activation."""
    return _activation(module) is not None


def _activation(module: nn.Module) -> _Activation | None:
    """How the operators are told to apply an activation; ``None`` where they don't know it."""
    if type(module) is nn.GELU:
        return _Activation("gelu", (), module.approximate)
    return _PLAIN_ACTIVATIONS.get(type(module))


_PLAIN_ACTIVATIONS: dict[type[nn.Module], _Activation] = {
    nn.Hardsigmoid: _Activation("hardsigmoid"),
    nn.Hardswish: _Activation("hardswish"),
    nn.ReLU6: _Activation("hardtanh", (0.0, 6.0)),
    nn.ReLU: _Activation("relu"),
    nn.SiLU: _Activation("swish"),
    nn.Sigmoid: _Activation("sigmoid"),
}


def _activated(x: Tensor, activation: nn.Module | None) -> Tensor:
    return x if activation is None else activation(x)


def _as_autocast(x: Tensor, weight: Tensor) -> Tensor:
    """An input in the dtype that autocast gives it, if a layer's weight is in that dtype already."""
    if x.dtype != weight.dtype and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == weight.dtype:
        return x.to(weight.dtype)
    return x


def _is_eligible(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether nothing is wanted but numbers, of a kind that the operators compute."""
    dtype = x.dtype
    if dtype not in _dtypes() or weight.dtype != dtype or type(x) is not Tensor or x.device.type != "cpu":
        return False
    if torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return False
    if (
        not torch._C._get_mkldnn_enabled()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or (torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != dtype)
        or is_transformed()
        or weight.device.type != "cpu"
        or (bias is not None and bias.dtype != dtype)
        or x.ndim < 2
    ):
        return False
    return x.numel() > 0


_computable: tuple[torch.dtype, ...] | None = None


def _dtypes() -> tuple[torch.dtype, ...]:
    """What the operators compute here; nothing where they are missing or other than this module knows them."""
    global _computable
    if _computable is None:
        _computable = tuple(dtype for dtype in (torch.float32, torch.bfloat16) if _works(dtype))
    return _computable


def _works(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype is torch.bfloat16 and not _has_bfloat16():
        return False
    with torch.inference_mode(False), torch.no_grad():
        x = torch.ones(1, 16, 2, 2, dtype=dtype, device="cpu").to(memory_format=torch.channels_last)
        weight, bias = torch.ones(16, 16, 1, 1, dtype=dtype, device="cpu"), torch.ones(16, dtype=dtype, device="cpu")
        place = (0, 0), (1, 1), (1, 1), 1
        try:
            packed = torch.ops.mkldnn._reorder_convolution_weight.default(weight, *place, [1, 16, 2, 2])
            convolved = torch.ops.mkldnn._convolution_pointwise.default(
                x, packed, bias, *place, "hardtanh", (0.0, 6.0), ""
            )
            multiplied = torch.ops.mkldnn._linear_pointwise.default(
                x.flatten(1).view(4, 16), weight.view(16, 16), bias, "gelu", [], "none"
            )
        except (AttributeError, RuntimeError, TypeError):
            return False
        return bool((convolved == 6).all() and ((multiplied - 17).abs() < 0.1).all())


def _has_bfloat16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False
