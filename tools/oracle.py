"""torchvision as a black box to compare with: its Python models, imported without a build of its operators.

There is no CPU build of it for the torch that this repository pins. Its models need the operators only to be declared
(all but detection's postprocessing run without them), so one is declared without a kernel, and their meta registrations
are left out.
"""

import functools
import importlib
import sys
import types
from typing import Any

import torch


@functools.cache
def torchvision() -> Any:
    """The module `torchvision`.

    Raises:
        ImportError: it is not installed; the session that needs it installs it without its dependencies.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        # "operator torchvision::nms does not exist": the import got as far as the operators, and left its parts behind.
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _keep_alive.append(library)
    meta = "torchvision._meta_registrations"
    sys.modules[meta] = types.ModuleType(meta)
    return importlib.import_module("torchvision")


_keep_alive: list[Any] = []


def builder(name: str) -> Any:
    """torchvision's builder of one of our models, by its name in the registry."""
    return torchvision().models.get_model_builder(name)
