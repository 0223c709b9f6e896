"""Initialisation that several families share."""

from torch import nn

from zoo_core.layers import initialize_normalization


def initialize_convolution(conv: nn.Conv2d) -> None:
    """Normal weights that keep the variance of the gradients, and a zero bias.

    From `Delving Deep into Rectifiers <https://arxiv.org/abs/1502.01852>`__, equation 14, with all output channels
    counted whatever the groups, as the implementations of the MobileNet family do.
    """
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def initialize_mobile(module: nn.Module) -> None:
    """Sets one module's own parameters as the implementations of MobileNetV2 and V3 do; others stay as they are.

    Convolutions by :func:`initialize_convolution`, normalisation as the identity, linear layers from a normal
    distribution of standard deviation 0.01.
    """
    if isinstance(module, nn.Conv2d):
        initialize_convolution(module)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        initialize_normalization(module)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
