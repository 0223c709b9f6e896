"""Building blocks that the models of more than one package are made of."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.fused import fuse_chain
from zoo_core.tracing import is_stand_in


def make_divisible(value: float, divisor: int = 8, min_value: int | None = None) -> int:
    """Rounds a number of channels to the nearest multiple of ``divisor``, but never by more than 10 % downwards.

    The rule of the MobileNet papers' implementations; ``min_value`` (default: ``divisor``) is the least result.
    """
    rounded = max(min_value or divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class ConvNormActivation(nn.Sequential):
    """Convolution, normalisation and activation in a row; the bases of the 2d and 3d forms.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: size of the kernel.
        stride: stride of the kernel.
        padding: zeros on each side. By default those that keep the size at stride 1:
            ``(kernel_size - 1) // 2 * dilation``.
        groups: groups of the convolution.
        norm_layer: builds the normalisation for a number of channels; ``None`` for none.
        activation_layer: builds the activation; ``None`` for none.
        dilation: spacing of the kernel's points.
        inplace: let the activation work in place; ``None`` if ``activation_layer`` takes no such argument.
        bias: give the convolution a bias. By default only where no normalisation follows.
        conv_layer: class of the convolution.

    Shape:
        Tensor[N, in_channels, ...] -> Tensor[N, out_channels, ...], with as many sizes as ``conv_layer`` has dimensions
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str | None = None,
        groups: int = 1,
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        dilation: int | Sequence[int] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
        conv_layer: Callable[..., nn.Module] = nn.Conv2d,
    ) -> None:
        if padding is None:
            padding = same_padding(kernel_size, dilation)
        layers = [
            conv_layer(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation=dilation,
                groups=groups,
                bias=norm_layer is None if bias is None else bias,
            )
        ]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer(**({} if inplace is None else {"inplace": inplace})))
        super().__init__(*layers)
        self.out_channels = out_channels


def same_padding(kernel_size: int | Sequence[int], dilation: int | Sequence[int]) -> int | tuple[int, ...]:
    """The zeros on each side with which a convolution of stride 1 and odd kernel keeps the size of its input."""
    if isinstance(kernel_size, int) and isinstance(dilation, int):
        return (kernel_size - 1) // 2 * dilation
    dims = len(kernel_size) if not isinstance(kernel_size, int) else len(dilation)  # type: ignore[arg-type]
    kernels = [kernel_size] * dims if isinstance(kernel_size, int) else kernel_size
    dilations = [dilation] * dims if isinstance(dilation, int) else dilation
    return tuple((k - 1) // 2 * d for k, d in zip(kernels, dilations, strict=True))


class Conv2dNormActivation(ConvNormActivation):
    """:class:`~zoo_core.layers.ConvNormActivation` over Tensor[N, C, H, W]; see there for the arguments."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str | None = None,
        groups: int = 1,
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        dilation: int | tuple[int, int] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups,
            norm_layer,
            activation_layer,
            dilation,
            inplace,
            bias,
            nn.Conv2d,
        )


class Conv3dNormActivation(ConvNormActivation):
    """:class:`~zoo_core.layers.ConvNormActivation` over Tensor[N, C, T, H, W]; see there for the arguments."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int] = 3,
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] | str | None = None,
        groups: int = 1,
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm3d,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        dilation: int | tuple[int, int, int] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups,
            norm_layer,
            activation_layer,
            dilation,
            inplace,
            bias,
            nn.Conv3d,
        )


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the whole image says about it.

    From `Squeeze-and-Excitation Networks <https://arxiv.org/abs/1709.01507>`__, figure 2.

    Args:
        input_channels: channels of input and output.
        squeeze_channels: channels between the two layers.
        activation: builds the activation between them.
        scale_activation: builds the activation that turns the second layer's output into scales.

    Shape:
        Tensor[N, input_channels, H, W] -> Tensor[N, input_channels, H, W]
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[..., nn.Module] = nn.ReLU,
        scale_activation: Callable[..., nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def scale(self, input: Tensor) -> Tensor:
        """The factor for each channel: Tensor[N, C, 1, 1]."""
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(input)))))

    def forward(self, input: Tensor) -> Tensor:
        return self.scale(input) * input


class MLP(nn.Sequential):
    """Fully connected layers with normalisation, activation and dropout between them, and dropout at the end.

    Args:
        in_channels: size of the input's last dimension.
        hidden_channels: sizes of the layers, the last one's included.
        norm_layer: builds the normalisation after each layer but the last; ``None`` for none.
        activation_layer: builds the activation after each layer but the last.
        inplace: let activations and dropout work in place; ``None`` leaves it to them.
        bias: give the layers a bias.
        dropout: probability of an element to be zeroed.

    Shape:
        Tensor[..., in_channels] -> Tensor[..., hidden_channels[-1]]
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: list[int],
        norm_layer: Callable[..., nn.Module] | None = None,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        inplace: bool | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        options: dict[str, Any] = {} if inplace is None else {"inplace": inplace}
        layers: list[nn.Module] = []
        channels = in_channels
        for hidden in hidden_channels[:-1]:
            layers.append(nn.Linear(channels, hidden, bias=bias))
            if norm_layer is not None:
                layers.append(norm_layer(hidden))
            if activation_layer is not None:
                layers.append(activation_layer(**options))
            layers.append(nn.Dropout(dropout, **options))
            channels = hidden
        layers += [nn.Linear(channels, hidden_channels[-1], bias=bias), nn.Dropout(dropout, **options)]
        super().__init__(*layers)

    def fold_for_inference(self) -> None:
        """See :class:`zoo_core.inference.Foldable`."""
        fuse_chain(self)


class Permute(nn.Module):
    """Reorders dimensions to ``dims``: by ``[0, 2, 3, 1]``, Tensor[N, C, H, W] becomes Tensor[N, H, W, C]."""

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Drops a residual branch at random, and scales it by ``1 / (1 - p)`` where it stays.

    From `Deep Networks with Stochastic Depth <https://arxiv.org/abs/1603.09382>`__.

    Args:
        input: Tensor[N, ...], the branch's output.
        p: probability of being dropped, from 0 to 1.
        mode: ``"row"`` decides for each of the N samples, ``"batch"`` for all together.
        training: where ``False``, ``input`` is returned as it is.

    Returns:
        Tensor[N, ...] of the same dtype.

    Raises:
        ValueError: ``p`` or ``mode`` is none of those.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"the drop probability must be from 0 to 1, not {p}")
    if mode not in ("batch", "row"):
        raise ValueError(f"mode must be 'batch' or 'row', not {mode!r}")
    if not training or p == 0.0:
        return input
    survival = 1.0 - p
    rows = input.shape[0] if mode == "row" else 1
    noise = torch.empty([rows] + [1] * (input.ndim - 1), dtype=input.dtype, device=input.device)
    noise.bernoulli_(survival)
    if survival > 0.0:
        noise.div_(survival)
    return input * noise


class StochasticDepth(nn.Module):
    """:func:`stochastic_depth` as a module, which drops nothing in eval mode.

    Args:
        p, mode: see there.

    Shape:
        Tensor[N, ...] -> Tensor[N, ...]
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        return stochastic_depth(input, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of Tensor[N, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def initialize_normalization(norm: nn.Module) -> None:
    """A scale of one and a shift of zero, where the normalisation has them: also one of a user's class starts so."""
    if getattr(norm, "weight", None) is not None:
        nn.init.ones_(norm.get_parameter("weight"))
    if getattr(norm, "bias", None) is not None:
        nn.init.zeros_(norm.get_parameter("bias"))


def scale_and_bias(
    mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel to which batch normalisation with fixed statistics amounts.

    Args:
        mean, variance: the statistics, Tensor[C].
        weight, bias: the affine parameters, Tensor[C], or ``None``.
        eps: is added to the variance.

    Returns:
        Both as Tensor[C], so that ``x * scale + shift`` is the normalised ``x``.
    """
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = weight * scale
    return scale, -mean * scale if bias is None else bias - mean * scale


def input_of_padded_pooling(x: Tensor) -> Tensor:
    """``x`` in the layout in which average pooling with padding gives right gradients.

    On CUDA, torch gets them wrong for channels-last inputs, without an error:
    `pytorch#188344 <https://github.com/pytorch/pytorch/issues/188344>`_.

    Args:
        x: Tensor[N, C, H, W].
    """
    if is_stand_in(x) or not (x.is_cuda and x.requires_grad):
        return x
    return x.contiguous()


def without_autocast(device_type: str) -> contextlib.AbstractContextManager[Any]:
    """A context that computes in the tensors' own dtypes, whatever ``torch.autocast`` is in force on a type of device.

    Where none is, it does nothing, so that exported programs have no trace of it.
    """
    # Known of these two, so that torch.compile of torch 2.10, which cannot trace the question, need not ask.
    known = device_type in ("cpu", "cuda")
    if (known or torch.amp.is_autocast_available(device_type)) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()
