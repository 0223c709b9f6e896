"""Initialisation that several families share."""

from torch import nn


def initialize_convolution(conv: nn.Conv2d) -> None:
    """Normal weights that keep the variance of the gradients, and a zero bias.

    From `Delving Deep into Rectifiers <https://arxiv.org/abs/1502.01852>`__, equation 14, with all output channels
    counted whatever the groups, as the implementations of the MobileNet family do.
    """
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
