"""Our models and torchvision's, built alike and with the same parameters."""

from typing import Any

from torch import nn

from tools import oracle, reference_values
from zoo_core import get_model_builder


def pair(name: str, **kwargs: Any) -> tuple[nn.Module, nn.Module]:
    """Our model and torchvision's with the same parameters, which follow from their names, in eval mode.

    The tensors are shared, until one of the models gets others, as by ``double()``. For detectors
    :func:`tools.torchvision_operators.torchvision_operators` must have been called first.

    Args:
        name: the name in the registry.
        **kwargs: what both builders get beside :func:`tools.reference_values.arguments`.

    Raises:
        AssertionError: the keys of the state dicts differ.
    """
    kwargs |= reference_values.arguments(name)
    with reference_values.no_random_init():
        ours: nn.Module = reference_values.fill_parameters(get_model_builder(name)(**kwargs))
        theirs: nn.Module = oracle.builder(name)(**kwargs).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict()), "the keys of the state dicts differ"
    theirs.load_state_dict(ours.state_dict(), assign=True)
    return ours, theirs
