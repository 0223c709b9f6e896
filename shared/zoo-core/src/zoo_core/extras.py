"""Optional libraries: imported when they are needed, with an error that names the extra to install."""

import importlib
from types import ModuleType

__all__ = ["MissingExtraError", "require"]


class MissingExtraError(ModuleNotFoundError):
    """A library that comes as an extra is not installed. The message has the command that installs it."""


def require(module: str, *, extra: str, purpose: str, distribution: str = "zoo-core") -> ModuleType:
    """Imports a module of an optional library.

    Args:
        module: its full name, ``"pycocotools.mask"``.
        extra: the extra that brings the library.
        purpose: what it is needed for, as in "PyAV is needed to read videos".
        distribution: the distribution that has the extra.

    Raises:
        MissingExtraError: the library is not installed.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library is there, and lacks one that it needs itself
        raise MissingExtraError(
            f"{library} is needed {purpose} and is not installed: pip install '{distribution}[{extra}]'", name=library
        ) from error
