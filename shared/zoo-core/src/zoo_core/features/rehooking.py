"""What a compiled :class:`~zoo_core.features.FeatureModel` does outside of its graph; the compiler imports it."""

from typing import Protocol

import torch


class Rehooked(Protocol):
    def hook_again(self) -> None: ...


@torch.compiler.disable(reason="the model was changed after its FeatureModel was made; compile a new FeatureModel")
def hook_again(module: Rehooked) -> None:
    """Breaks the graph, and has the next one use the model as it is now."""
    module.hook_again()
