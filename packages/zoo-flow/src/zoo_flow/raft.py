"""RAFT: `Recurrent All-Pairs Field Transforms for Optical Flow <https://arxiv.org/abs/2003.12039>`__.

Shapes: ``N`` pairs of images, ``C`` channels, ``H`` x ``W`` pixels. Features, hidden state and flow are computed at 1/8
of the size, ``[N, C, H/8, W/8]``, and the flow is upsampled to ``[N, 2, H, W]``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import auto
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import check_batch, type_name
from zoo_core.layers import Conv2dNormActivation
from zoo_core.registry import register_model
from zoo_core.tracing import is_plain, is_recorded
from zoo_core.weights import WeightsEnum
from zoo_flow.correlation import CorrBlock

__all__ = ["RAFT", "Raft_Large_Weights", "Raft_Small_Weights", "raft_large", "raft_small", "sequence_loss"]


class RAFT(nn.Module):
    """Estimates for each pixel of an image where it is in the next one, from coarse to fine in many small updates.

    Args:
        feature_encoder: features that are compared; Tensor[N, 3, H, W] -> Tensor[N, C, H / 8, W / 8].
        context_encoder: of the first image alone; as many channels as hidden state and context need together.
        corr_block: gives a function of points from two feature maps, as :class:`~zoo_flow.correlation.CorrBlock`; or
            keeps two feature maps that its ``build_pyramid(fmap1, fmap2)`` is given, and compares around the points
            that its ``index_pyramid(centroids_coords)`` is given.
        update_block: takes ``(hidden_state, context, corr_features, flow)``, gives the next hidden state and the change
            of the flow, and has an attribute ``hidden_state_size``.
        mask_predictor: gives the mixing weights for upsampling from the hidden state; ``None`` for bilinear
            upsampling.

    Raises:
        ValueError: ``update_block`` has no attribute ``hidden_state_size``.
    """

    def __init__(
        self,
        *,
        feature_encoder: nn.Module,
        context_encoder: nn.Module,
        corr_block: nn.Module,
        update_block: nn.Module,
        mask_predictor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not hasattr(update_block, "hidden_state_size"):
            raise ValueError(
                f"update_block must have an attribute hidden_state_size, the channels of its hidden state; "
                f"{type(update_block).__name__} has none"
            )
        self.feature_encoder = feature_encoder
        self.context_encoder = context_encoder
        self.corr_block = corr_block
        self.update_block = update_block
        self.mask_predictor = mask_predictor

    @property
    def input_layers(self) -> list[str]:
        """Names of the layers that see the images, which are the first convolution of each encoder."""
        return [
            f"{part}.{next(name for name, layer in encoder.named_modules() if isinstance(layer, nn.Conv2d))}"
            for part, encoder in (("feature_encoder", self.feature_encoder), ("context_encoder", self.context_encoder))
        ]

    def feature_layers(self) -> FeatureLayers:
        encoder: Any = self.feature_encoder
        stages = [f"feature_encoder.{name}" for name in ("layer1", "layer2") if hasattr(encoder, name)]
        stages.append("feature_encoder")
        return FeatureLayers(
            stages,
            pooled=f"stage{len(stages)}",
            pool=_of_both_images,
            body=("feature_encoder", "context_encoder"),
            input_size=(128, 128),
        )

    def forward(
        self, image1: Tensor, image2: Tensor, num_flow_updates: int = 12, last_only: bool = False
    ) -> list[Tensor]:
        """Estimates the flow from one batch of images to another.

        Args:
            image1: the first image, Tensor[N, 3, H, W] with values in [-1, 1]. H and W are multiples of 8 and at
                least 128.
            image2: the second image, of the same shape.
            num_flow_updates: number of updates, and of predictions.
            last_only: upsample and return the last prediction alone: less time and memory where the others, which
                training needs, are of no use.

        Returns:
            The prediction after each update, the last being the best. Each is a float32 (for float64 images a
            float64) Tensor[N, 2, H, W]: displacement of each pixel of ``image1``, x and y, in pixels.

        Raises:
            ValueError: the images are not of such a shape, or there would be no update.
        """
        self._check_inputs(image1, image2, num_flow_updates)
        n = image1.shape[0]
        fmaps = self.feature_encoder(torch.cat((image1, image2)))
        fmap1, fmap2 = fmaps[:n], fmaps[n:]
        correlation = _correlation(self.corr_block, fmap1, fmap2)

        encoded = self.context_encoder(image1)
        hidden_size: Any = self.update_block.hidden_state_size
        hidden_state = torch.tanh(encoded[:, :hidden_size])
        context: Any = F.relu(encoded[:, hidden_size:])
        update: Any = self.update_block
        if is_plain(update, UpdateBlock) and update.may_prepare():
            context = update.prepare(context)

        h, w = fmap1.shape[2:]
        # Half precision has no room for the fractions of a pixel at the far side of a large image.
        dtype = torch.promote_types(image1.dtype, torch.float32)
        origin = _locations(n, h, w, dtype, image1.device)
        flow = torch.zeros_like(origin)
        predictions = []
        for step in range(num_flow_updates):
            # As in the paper, no gradient goes through the previous prediction.
            flow = flow.detach()
            corr_features = correlation(origin + flow)
            hidden_state, change = update(
                hidden_state, context, corr_features.to(hidden_state.dtype), flow.to(hidden_state.dtype)
            )
            flow = flow + change
            if not last_only or step == num_flow_updates - 1:
                mask = None if self.mask_predictor is None else self.mask_predictor(hidden_state)
                predictions.append(upsample_flow(flow, mask))
        return predictions

    def _check_inputs(self, image1: Tensor, image2: Tensor, num_flow_updates: int) -> None:
        if num_flow_updates < 1:
            raise ValueError(f"num_flow_updates must be at least 1, not {num_flow_updates}")
        channels = _input_channels(self.feature_encoder)
        dims = f"N, {'C' if channels is None else channels}, H, W"
        for image in (image1, image2):
            if is_recorded(image):
                return
            if not isinstance(image, Tensor):
                raise TypeError(
                    f"RAFT takes two batches of images, Tensor[{dims}] with values in [-1, 1], not {type_name(image)}; "
                    "make them with first, second = weights.transforms()(image1, image2), and give "
                    "first.unsqueeze(0), second.unsqueeze(0)"
                )
            if not image.is_floating_point():
                raise ValueError(
                    f"RAFT takes images of a floating dtype with values in [-1, 1], not {image.dtype}; the weights' "
                    "transforms() prepares them"
                )
            check_batch(image, model="RAFT", dims=dims)
            if channels is not None and image.shape[1] != channels:
                raise ValueError(f"this RAFT takes batches of images, Tensor[{dims}], not shape {list(image.shape)}")
        if image1.shape != image2.shape:
            raise ValueError(
                f"the two images must have the same shape, not {list(image1.shape)} and {list(image2.shape)}"
            )
        height, width = image1.shape[2:]
        if height % 8 or width % 8 or height < 128 or width < 128:
            raise ValueError(
                f"RAFT takes images whose height and width are multiples of 8 and at least 128, not {height}x{width}; "
                "zoo_flow.padding.Padding(height, width) pads them and crops the flow"
            )


def _of_both_images(features: Tensor) -> Tensor:
    """Maps of the first images and of the second ones, Tensor[2 * N, C, h, w] -> their means, Tensor[N, 2 * C]."""
    first, second = features.mean((2, 3)).chunk(2)
    return torch.cat((first, second), 1)


def _correlation(block: Any, fmap1: Tensor, fmap2: Tensor) -> Callable[[Tensor], Tensor]:
    """A function of points from a correlation block of either kind."""
    kind = type(block)
    if not hasattr(block, "build_pyramid") or (
        (getattr(kind, "build_pyramid", None), getattr(kind, "index_pyramid", None))
        == (CorrBlock.build_pyramid, CorrBlock.index_pyramid)
    ):
        return block(fmap1, fmap2)
    block.build_pyramid(fmap1, fmap2)
    return lambda points: block.index_pyramid(centroids_coords=points)


class UpdateBlock(nn.Module):
    """One step of the recurrent refinement: figure 6.

    Args:
        motion_encoder: joins correlation and flow.
        recurrent_block: gives the next hidden state from the hidden state and the channels of context and motion, and
            has an attribute ``hidden_size``.
        flow_head: reads the change of the flow from the hidden state.
    """

    def __init__(self, *, motion_encoder: nn.Module, recurrent_block: Any, flow_head: nn.Module) -> None:
        super().__init__()
        self.motion_encoder = motion_encoder
        self.recurrent_block = recurrent_block
        self.flow_head = flow_head
        self.hidden_state_size = recurrent_block.hidden_size

    def may_prepare(self) -> bool:
        """Whether the recurrent block is one that :meth:`prepare` knows, and nobody watches what it is given."""
        return isinstance(self.recurrent_block, RecurrentBlock) and self.recurrent_block.may_prepare()

    def prepare(self, context: Tensor) -> "list[PreparedGRU]":
        """What :meth:`forward` needs of the context, computed once for all steps."""
        return self.recurrent_block.prepare(context)

    def forward(
        self, hidden_state: Tensor, context: "Tensor | list[PreparedGRU]", corr_features: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            hidden_state: Tensor[N, hidden_state_size, h, w].
            context: Tensor[N, context channels, h, w], or what :meth:`prepare` made of it.
            corr_features: Tensor[N, correlation channels, h, w].
            flow: Tensor[N, 2, h, w].

        Returns:
            The next hidden state, and the change of the flow, Tensor[N, 2, h, w].
        """
        motion = self.motion_encoder(flow, corr_features)
        if isinstance(context, Tensor) and self.may_prepare():
            context = self.prepare(context)
        if isinstance(context, Tensor):
            hidden_state = self.recurrent_block(hidden_state, torch.cat((context, motion), dim=1))
        else:
            hidden_state = self.recurrent_block.step(hidden_state, context, motion)
        return hidden_state, self.flow_head(hidden_state)


class RecurrentBlock(nn.Module):
    """One :class:`ConvGRU`, or two of them over rows and then columns (the separable form).

    Args:
        input_size: channels of context and motion together.
        hidden_size: channels of the hidden state.
        kernel_size: kernel of each unit; ``None`` for a unit that is left out.
        padding: padding of each unit.

    Raises:
        ValueError: ``kernel_size`` and ``padding`` are not of the same length.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        kernel_size: Sequence[int | tuple[int, int] | None] = ((1, 5), (5, 1)),
        padding: Sequence[int | tuple[int, int] | None] = ((0, 2), (2, 0)),
    ) -> None:
        super().__init__()
        if len(kernel_size) != len(padding):
            raise ValueError(
                f"kernel_size and padding of a RecurrentBlock have one entry for each unit, "
                f"not {len(kernel_size)} and {len(padding)}"
            )
        for number, (kernel, pad) in enumerate(zip(kernel_size, padding, strict=True), start=1):
            if kernel is not None and pad is not None:
                unit = ConvGRU(input_size=input_size, hidden_size=hidden_size, kernel_size=kernel, padding=pad)
                self.add_module(f"convgru{number}", unit)
        self.hidden_size = hidden_size

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """The next hidden state. Arguments as for :meth:`ConvGRU.forward`."""
        for unit in self.children():
            h = unit(h, x)
        return h

    def may_prepare(self) -> bool:
        """Whether :meth:`step` does what a call of this module does."""
        return is_plain(self, RecurrentBlock) and all(
            isinstance(unit, ConvGRU) and unit.may_prepare() for unit in self.children()
        )

    def prepare(self, context: Tensor) -> "list[PreparedGRU]":
        """:meth:`ConvGRU.prepare` of each unit."""
        return [unit.prepare(context) for unit in self.children() if isinstance(unit, ConvGRU)]

    def step(self, hidden_state: Tensor, prepared: "list[PreparedGRU]", motion: Tensor) -> Tensor:
        """:meth:`forward` with what :meth:`prepare` made of the context."""
        for unit, terms in zip(self.children(), prepared, strict=True):
            assert isinstance(unit, ConvGRU)
            hidden_state = unit.step(hidden_state, terms, motion)
        return hidden_state


class ConvGRU(nn.Module):
    """Gated recurrent unit whose products are convolutions: equations 3 to 6.

    Args:
        input_size: channels of the input, context and motion together.
        hidden_size: channels of the hidden state.
        kernel_size: of the three convolutions.
        padding: of the three convolutions, such that they keep height and width.
    """

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        kernel_size: int | tuple[int, int],
        padding: int | tuple[int, int],
    ) -> None:
        super().__init__()
        channels = hidden_size + input_size
        self.hidden_size = hidden_size
        self.convz = nn.Conv2d(channels, hidden_size, kernel_size, padding=padding)
        self.convr = nn.Conv2d(channels, hidden_size, kernel_size, padding=padding)
        self.convq = nn.Conv2d(channels, hidden_size, kernel_size, padding=padding)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """One step.

        Args:
            h: the hidden state, Tensor[N, hidden_size, h, w].
            x: context and motion, Tensor[N, input_size, h, w].

        Returns:
            The next hidden state, of the same shape.
        """
        hx = torch.cat((h, x), dim=1)
        z, r = torch.sigmoid(self.convz(hx)), torch.sigmoid(self.convr(hx))
        q = torch.tanh(self.convq(torch.cat((r * h, x), dim=1)))
        return torch.lerp(h, q, z)

    def may_prepare(self) -> bool:
        """Whether the convolutions are those that :meth:`prepare` computes with, and nobody watches their calls."""
        convs = (self.convz, self.convr, self.convq)
        if not is_plain(self, ConvGRU) or not all(is_plain(conv, nn.Conv2d) for conv in convs):
            return False  # a user's own layer need not have what is asked next
        kernel = self.convz.kernel_size
        padding = (kernel[0] // 2, kernel[1] // 2)
        expected = (kernel, (1, 1), padding, (1, 1), 1, "zeros")
        return all(
            conv.bias is not None
            and (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode) == expected
            for conv in convs
        )

    def prepare(self, context: Tensor) -> "PreparedGRU":
        """What the context contributes to the gates, which no step changes, and the weights for the rest.

        Args:
            context: the channels of the input that no step changes, its first ones: Tensor[N, C, h, w].
        """
        start, stop = self.hidden_size, self.hidden_size + context.shape[1]
        weight = torch.cat((self.convz.weight, self.convr.weight, self.convq.weight))
        bias = torch.cat([conv.bias for conv in (self.convz, self.convr, self.convq) if conv.bias is not None])
        terms = F.conv2d(context, weight[:, start:stop], bias, padding=self.convz.padding)
        rest = torch.cat((weight[:, :start], weight[:, stop:]), dim=1)
        gates = 2 * self.hidden_size
        return PreparedGRU(terms[:, :gates], terms[:, gates:], rest[:gates], rest[gates:])

    def step(self, hidden_state: Tensor, prepared: "PreparedGRU", motion: Tensor) -> Tensor:
        """:meth:`forward` with what :meth:`prepare` made of the context."""
        padding: Any = self.convz.padding
        gates = F.conv2d(torch.cat((hidden_state, motion), dim=1), prepared.gates_weight, padding=padding)
        z, r = torch.sigmoid(gates + prepared.gates_term).chunk(2, dim=1)
        q = F.conv2d(torch.cat((r * hidden_state, motion), dim=1), prepared.candidate_weight, padding=padding)
        return torch.lerp(hidden_state, torch.tanh(q + prepared.candidate_term), z)


@dataclass
class PreparedGRU:
    """The terms of the gates z and r and of the candidate q that come from the context, and the weights of the rest."""

    gates_term: Tensor
    candidate_term: Tensor
    gates_weight: Tensor
    candidate_weight: Tensor


def _locations(n: int, h: int, w: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """x and y of each location: Tensor[N, 2, h, w]."""
    y, x = torch.meshgrid(
        torch.arange(h, dtype=dtype, device=device), torch.arange(w, dtype=dtype, device=device), indexing="ij"
    )
    return torch.stack((x, y)).expand(n, -1, -1, -1)


def upsample_flow(flow: Tensor, mask: Tensor | None = None) -> Tensor:
    """Brings a flow from an eighth of the image's size to all of it.

    A pixel's flow is a weighted mean of those of nine coarse locations, the one that it lies in and those around it,
    row by row; outside of the map there is no motion. Two locations that move by 1 and 2 to the right, with all weight
    on the right-hand neighbour: the left one's pixels move by 8 * 2, the right one's not at all.

    >>> flow = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]]]])
    >>> mask = torch.zeros(1, 9, 8 * 8, 1, 2)
    >>> mask[:, 5] = 1000.0
    >>> upsample_flow(flow, mask.flatten(1, 2))[0, 0, 0]
    tensor([16., 16., 16., 16., 16., 16., 16., 16.,  0.,  0.,  0.,  0.,  0.,  0.,
             0.,  0.])

    Args:
        flow: Tensor[N, 2, h, w], in units of its own locations.
        mask: Tensor[N, 9 * 8 * 8, h, w]: before a softmax, the weight of each of the nine coarse locations for each
            of the 8 x 8 fine pixels; ``None`` for bilinear interpolation.

    Returns:
        Tensor[N, 2, 8 * h, 8 * w], in pixels.
    """
    if mask is None:
        return 8 * F.interpolate(flow, scale_factor=8, mode="bilinear", align_corners=True)
    n, _, h, w = flow.shape
    weights = torch.softmax(mask.to(flow.dtype).view(n, 1, 9, 8, 8, h, w), dim=2)
    neighbours = F.unfold(8 * flow, kernel_size=3, padding=1).view(n, 2, 9, 1, 1, h, w)
    fine = (weights * neighbours).sum(dim=2)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(n, 2, 8 * h, 8 * w)


def _input_channels(encoder: nn.Module) -> int | None:
    """Channels that an encoder takes, if its first layer says so."""
    layers = (layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    return next((layer.in_channels for layer in layers), None)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        norm_layer: builds the normalisation for a number of channels; ``None`` for none.
        stride: stride of the first convolution.
        always_project: have a convolution in the shortcut even where the stride is 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm_layer: Callable[..., nn.Module] | None,
        stride: int = 1,
        always_project: bool = False,
    ) -> None:
        super().__init__()
        self.convnormrelu1 = Conv2dNormActivation(
            in_channels, out_channels, 3, stride, norm_layer=norm_layer, bias=True
        )
        self.convnormrelu2 = Conv2dNormActivation(out_channels, out_channels, 3, norm_layer=norm_layer, bias=True)
        self.downsample = _shortcut(in_channels, out_channels, norm_layer, stride, project=always_project)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convnormrelu2(self.convnormrelu1(x))
        return self.relu(self.downsample(x) + y)


def _shortcut(
    in_channels: int,
    out_channels: int,
    norm_layer: Callable[..., nn.Module] | None,
    stride: int,
    *,
    project: bool = False,
) -> nn.Module:
    if stride == 1 and not project:
        return nn.Identity()
    return Conv2dNormActivation(
        in_channels, out_channels, 1, stride, norm_layer=norm_layer, activation_layer=None, bias=True
    )


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolution and a shortcut.

    Args:
        in_channels, out_channels, norm_layer: see :class:`ResidualBlock`.
        stride: stride of the 3x3 convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm_layer: Callable[..., nn.Module] | None, stride: int = 1
    ) -> None:
        super().__init__()
        width = out_channels // 4
        self.convnormrelu1 = Conv2dNormActivation(in_channels, width, 1, norm_layer=norm_layer, bias=True)
        self.convnormrelu2 = Conv2dNormActivation(width, width, 3, stride, norm_layer=norm_layer, bias=True)
        self.convnormrelu3 = Conv2dNormActivation(width, out_channels, 1, norm_layer=norm_layer, bias=True)
        self.downsample = _shortcut(in_channels, out_channels, norm_layer, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convnormrelu3(self.convnormrelu2(self.convnormrelu1(x)))
        return self.relu(self.downsample(x) + y)


class FeatureEncoder(nn.Module):
    """Features of an image at an eighth of its size; the context encoder is one as well.

    Args:
        block: :class:`ResidualBlock` or :class:`BottleneckBlock`.
        layers: channels of the first convolution, of the three stages of two blocks each, and of the output.
        strides: of the first convolution and of the three stages. RAFT takes features at an eighth of the image's
            size, so that their product is 8.
        norm_layer: builds the normalisation for a number of channels; ``None`` for none.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, layers[4], H / 8, W / 8].
    """

    def __init__(
        self,
        *,
        block: Callable[..., nn.Module] = ResidualBlock,
        layers: Sequence[int] = (64, 64, 96, 128, 256),
        strides: Sequence[int] = (2, 1, 2, 2),
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.convnormrelu = Conv2dNormActivation(3, layers[0], 7, strides[0], norm_layer=norm_layer, bias=True)
        self.layer1 = self._make_stage(block, layers[0], layers[1], norm_layer, strides[1])
        self.layer2 = self._make_stage(block, layers[1], layers[2], norm_layer, strides[2])
        self.layer3 = self._make_stage(block, layers[2], layers[3], norm_layer, strides[3])
        self.conv = nn.Conv2d(layers[3], layers[4], 1)
        self.output_dim = layers[4]
        self.apply(self._initialize)

    @staticmethod
    def _make_stage(
        block: Callable[..., nn.Module],
        in_channels: int,
        out_channels: int,
        norm_layer: Callable[..., nn.Module] | None,
        stride: int,
    ) -> nn.Sequential:
        return nn.Sequential(
            block(in_channels, out_channels, norm_layer=norm_layer, stride=stride),
            block(out_channels, out_channels, norm_layer=norm_layer),
        )

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.convnormrelu(x))))
        return self.conv(x)


class MotionEncoder(nn.Module):
    """Joins what the correlation says and the flow so far: the left part of the update block in figure 6.

    Args:
        in_channels_corr: channels of the correlation features.
        corr_layers: channels of the one or two convolutions over them.
        flow_layers: channels of the two convolutions over the flow.
        out_channels: channels of the output, of which the last two are the flow itself.
    """

    def __init__(
        self,
        *,
        in_channels_corr: int,
        corr_layers: Sequence[int] = (256, 192),
        flow_layers: Sequence[int] = (128, 64),
        out_channels: int = 128,
    ) -> None:
        super().__init__()
        self.convcorr1 = _conv_relu(in_channels_corr, corr_layers[0], 1)
        self.convcorr2 = _conv_relu(corr_layers[0], corr_layers[1], 3) if len(corr_layers) == 2 else nn.Identity()
        self.convflow1 = _conv_relu(2, flow_layers[0], 7)
        self.convflow2 = _conv_relu(flow_layers[0], flow_layers[1], 3)
        self.conv = _conv_relu(corr_layers[-1] + flow_layers[1], out_channels - 2, 3)
        self.out_channels = out_channels

    def forward(self, flow: Tensor, corr_features: Tensor) -> Tensor:
        """Joins them.

        Args:
            flow: Tensor[N, 2, h, w].
            corr_features: Tensor[N, in_channels_corr, h, w].

        Returns:
            Tensor[N, out_channels, h, w].
        """
        corr = self.convcorr2(self.convcorr1(corr_features))
        moved = self.convflow2(self.convflow1(flow))
        return torch.cat((self.conv(torch.cat((corr, moved), dim=1)), flow), dim=1)


def _conv_relu(in_channels: int, out_channels: int, kernel_size: int) -> Conv2dNormActivation:
    return Conv2dNormActivation(in_channels, out_channels, kernel_size, norm_layer=None)


class FlowHead(nn.Module):
    """The change of the flow that a hidden state calls for.

    Args:
        in_channels: channels of the hidden state.
        hidden_size: channels between the two convolutions.

    Shape:
        Tensor[N, in_channels, h, w] -> Tensor[N, 2, h, w]
    """

    def __init__(self, *, in_channels: int, hidden_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, hidden_size, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden_size, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.relu(self.conv1(x)))


class MaskPredictor(nn.Module):
    """The weights with which each fine pixel mixes its nine coarse neighbours: section 3.3, upsampling.

    Args:
        in_channels: channels of the hidden state.
        hidden_size: channels between the two convolutions.
        multiplier: scales the output, which balances its gradients with those of the flow.

    Shape:
        Tensor[N, in_channels, h, w] -> Tensor[N, 9 * 8 * 8, h, w], see :func:`upsample_flow`
    """

    def __init__(self, *, in_channels: int, hidden_size: int, multiplier: float = 0.25) -> None:
        super().__init__()
        self.convrelu = _conv_relu(in_channels, hidden_size, 3)
        self.conv = nn.Conv2d(hidden_size, 8 * 8 * 9, 1)
        self.multiplier = multiplier

    def forward(self, x: Tensor) -> Tensor:
        return self.multiplier * self.conv(self.convrelu(x))


def sequence_loss(
    predictions: Sequence[Tensor],
    target: Tensor,
    valid: Tensor | None = None,
    gamma: float = 0.8,
    max_flow: float = 400.0,
) -> Tensor:
    """The loss that RAFT is trained with: the distance of every prediction from the truth, later ones weighing more.

    Equation 7, as a mean over pixels and the two components. Two predictions that are off by 1 everywhere give
    0.8 * 1 + 1:

    >>> target = torch.zeros(1, 2, 4, 4)
    >>> sequence_loss([target + 1, target - 1], target)
    tensor(1.8000)

    Args:
        predictions: the output of :class:`RAFT`, Tensor[N, 2, H, W] each.
        target: true flow, Tensor[N, 2, H, W], in pixels.
        valid: where the truth is known, Tensor[N, H, W] of bool or of zeros and ones; ``None`` for everywhere.
        gamma: weight of each prediction relative to the next one.
        max_flow: pixels that move farther than this many pixels are left out.

    Returns:
        A scalar tensor; zero where no pixel counts.

    Raises:
        ValueError: there is no prediction, or shapes differ.
    """
    if not predictions:
        raise ValueError("sequence_loss needs at least one prediction")
    for prediction in predictions:
        if prediction.shape != target.shape:
            raise ValueError(
                f"predictions and target must have the same shape, not {list(prediction.shape)} and "
                f"{list(target.shape)}"
            )
    counts = target.square().sum(dim=1) <= max_flow**2
    if valid is not None:
        if valid.shape != counts.shape:
            raise ValueError(f"valid must have the shape {list(counts.shape)}, not {list(valid.shape)}")
        counts = counts & valid.bool()
    # Where the truth is unknown it may be anything, infinite or NaN as well.
    target = torch.where(counts[:, None], target, 0)
    number = (2 * counts.sum()).clamp(min=1)
    loss = target.new_zeros(())
    for index, prediction in enumerate(predictions):
        distance = torch.where(counts[:, None], (prediction - target).abs(), 0).sum() / number
        loss = loss + gamma ** (len(predictions) - 1 - index) * distance
    return loss


def _raft_large(
    *,
    correlation: str = "auto",
    feature_encoder: nn.Module | None = None,
    context_encoder: nn.Module | None = None,
    corr_block: nn.Module | None = None,
    update_block: nn.Module | None = None,
    mask_predictor: nn.Module | None = None,
) -> RAFT:
    layers = (64, 64, 96, 128, 256)
    return RAFT(
        feature_encoder=feature_encoder
        or FeatureEncoder(block=ResidualBlock, layers=layers, norm_layer=nn.InstanceNorm2d),
        context_encoder=context_encoder
        or FeatureEncoder(block=ResidualBlock, layers=layers, norm_layer=nn.BatchNorm2d),
        corr_block=corr_block or CorrBlock(num_levels=4, radius=4, form=correlation),
        update_block=update_block
        or UpdateBlock(
            motion_encoder=MotionEncoder(
                in_channels_corr=4 * 9**2, corr_layers=(256, 192), flow_layers=(128, 64), out_channels=128
            ),
            recurrent_block=RecurrentBlock(
                input_size=128 + 128, hidden_size=128, kernel_size=((1, 5), (5, 1)), padding=((0, 2), (2, 0))
            ),
            flow_head=FlowHead(in_channels=128, hidden_size=256),
        ),
        mask_predictor=mask_predictor or MaskPredictor(in_channels=128, hidden_size=256),
    )


def _raft_small(
    *,
    correlation: str = "auto",
    feature_encoder: nn.Module | None = None,
    context_encoder: nn.Module | None = None,
    corr_block: nn.Module | None = None,
    update_block: nn.Module | None = None,
    mask_predictor: nn.Module | None = None,
) -> RAFT:
    layers = (32, 32, 64, 96)
    return RAFT(
        feature_encoder=feature_encoder
        or FeatureEncoder(block=BottleneckBlock, layers=(*layers, 128), norm_layer=nn.InstanceNorm2d),
        context_encoder=context_encoder
        or FeatureEncoder(block=BottleneckBlock, layers=(*layers, 160), norm_layer=None),
        corr_block=corr_block or CorrBlock(num_levels=4, radius=3, form=correlation),
        update_block=update_block
        or UpdateBlock(
            motion_encoder=MotionEncoder(
                in_channels_corr=4 * 7**2, corr_layers=(96,), flow_layers=(64, 32), out_channels=82
            ),
            recurrent_block=RecurrentBlock(input_size=64 + 82, hidden_size=96, kernel_size=(3,), padding=(1,)),
            flow_head=FlowHead(in_channels=96, hidden_size=128),
        ),
        mask_predictor=mask_predictor,
    )


class Raft_Large_Weights(WeightsEnum):
    C_T_V1 = auto()
    C_T_V2 = auto()
    C_T_SKHT_V1 = auto()
    C_T_SKHT_V2 = auto()
    C_T_SKHT_K_V1 = auto()
    C_T_SKHT_K_V2 = auto()
    DEFAULT = C_T_SKHT_V2


class Raft_Small_Weights(WeightsEnum):
    C_T_V1 = auto()
    C_T_V2 = auto()
    SYNTHETIC_V1 = auto()
    DEFAULT = C_T_V2


@register_model
def raft_large(*, weights: Raft_Large_Weights | None = None, progress: bool = True, **kwargs: Any) -> RAFT:
    """RAFT, from `Recurrent All-Pairs Field Transforms for Optical Flow <https://arxiv.org/abs/2003.12039>`__.

    Args:
        **kwargs: ``correlation``, the form of :class:`~zoo_flow.correlation.CorrBlock`: ``"auto"`` (by size),
            ``"all_pairs"`` or ``"on_demand"``; parts that replace those of the paper, as for :class:`RAFT`.
    """
    return build(_raft_large, weights, progress, **kwargs)


@register_model
def raft_small(*, weights: Raft_Small_Weights | None = None, progress: bool = True, **kwargs: Any) -> RAFT:
    """RAFT-S, the small form, from `Recurrent All-Pairs Field Transforms for Optical Flow
    <https://arxiv.org/abs/2003.12039>`__.

    Args:
        **kwargs: ``correlation``, the form of :class:`~zoo_flow.correlation.CorrBlock`: ``"auto"`` (by size),
            ``"all_pairs"`` or ``"on_demand"``; parts that replace those of the paper, as for :class:`RAFT`.
    """
    return build(_raft_small, weights, progress, **kwargs)
