"""Initialisation that several families share."""

from torch import nn

from zoo_core.layers import initialize_normalization


def initialize_residual(module: nn.Module) -> None:
    """Sets one module's own parameters as the authors of residual networks do; other modules stay as they are.

    Convolutions as in `Delving Deep into Rectifiers <https://arxiv.org/abs/1502.01852>`__, equation 14; linear layers
    from a normal distribution of little width; no bias; normalisation as the identity.
    """
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    elif isinstance(module, nn.BatchNorm3d):
        initialize_normalization(module)
    if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
