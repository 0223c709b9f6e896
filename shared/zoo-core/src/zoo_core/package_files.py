"""Where installed packages lie, which is found without importing them."""

import importlib.util
from pathlib import Path

__all__ = ["package_folders"]


def package_folders(package: str) -> list[Path]:
    """The folders of a top-level package, several of a namespace package; none of one that is not installed."""
    try:
        # This does not import the package, but asks the finders of whatever is installed.
        spec = importlib.util.find_spec(package)
    except Exception:  # theirs, or that of a module which was put together at run time
        return []
    return [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
