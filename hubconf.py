"""Models for `torch.hub.load(<checkout or repository>, "resnet50", weights=...)`: nothing of ours need be installed."""

import sys
from pathlib import Path
from typing import Any

# What torch.hub checks for before it loads anything.
dependencies = ["torch", "PIL", "requests", "filelock"]

_ROOT = Path(__file__).resolve().parent
_SOURCES = sorted([*_ROOT.glob("shared/*/src"), *_ROOT.glob("packages/*/src")])
sys.path[:0] = [str(path) for path in _SOURCES if str(path) not in sys.path]

from zoo_core import catalog, get_model_builder, list_models  # noqa: E402
from zoo_core import get_model_weights as get_model_weights  # noqa: E402
from zoo_core import get_weight as get_weight  # noqa: E402

for _path in sorted(_ROOT.glob("packages/*/src/*/catalog")):
    _package = _path.parent.name
    catalog.add_source(_package.removeprefix("zoo_"), _package, _path)


def __getattr__(name: str) -> Any:
    if name in catalog.models():
        try:
            return get_model_builder(name)
        except ModuleNotFoundError as error:
            # Only some packages need it, so it is not among the dependencies of all.
            raise ModuleNotFoundError(
                f"{name} needs {error.name}, which is not installed: pip install {error.name}", name=error.name
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What `torch.hub.list` shows: the builders, and the functions that find weights."""
    return [*list_models(), "dependencies", "get_model_weights", "get_weight"]
