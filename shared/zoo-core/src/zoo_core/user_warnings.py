"""Warnings that point to the user's own line, however many calls of ours lie in between."""

import sys
import types
import warnings

from zoo_core import catalog


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns at the nearest line outside the packages of the zoo (and outside ``torch.hub``, which calls them)."""
    level = 2  # the caller
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and _is_inside(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _is_inside(module: str) -> bool:
    package = module.partition(".")[0]
    return package == "zoo_core" or module == "torch.hub" or catalog.is_ours(package)
