"""Which engines and precisions there are, and which of them are installed. Imports neither torch nor a runtime."""

import importlib.util
from importlib import metadata

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "EngineError",
    "check_device",
    "check_engine",
    "check_precision",
    "depends_on",
    "install_command",
    "installed",
    "version_of",
]

ENGINES = ("torch", "onnxruntime", "openvino")
"""What runs a model. ``"torch"`` is eager mode, and always there."""

PRECISIONS = ("fp32", "bf16")
"""What convolutions and matrix products are computed in. Inputs and outputs are float32 in either."""

_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}


class EngineError(Exception):
    """The engine that was asked for does not run the model. The message says why, and what does."""


def installed() -> tuple[str, ...]:
    """The engines that can be imported here."""
    return tuple(name for name in ENGINES if name == "torch" or importlib.util.find_spec(name) is not None)


def install_command(engine: str) -> str:
    """What installs an engine, with what exports models to it."""
    return f"pip install 'zoo-core[{_EXTRAS[engine]}]'"


def version_of(distribution: str) -> str:
    """The version of an installed distribution; ``""`` if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def check_engine(name: str, *, auto: bool = True) -> None:
    """Raises ``ValueError`` unless there is such an engine.

    Args:
        name: what is asked for.
        auto: whether ``"auto"`` will do.
    """
    known = ("auto", *ENGINES) if auto else ENGINES
    if name not in known:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(known)}")


def check_device(engine: str, device: str, *, hint: str = "; --engine torch runs there") -> None:
    """Raises ``ValueError`` unless an engine runs on a device: runtimes other than torch have the CPU only.

    Args:
        engine: one of :data:`ENGINES`, or ``"auto"``.
        device: ``"cpu"``, ``"cuda:1"``, ...
        hint: what else the user can do.
    """
    if engine not in ("auto", "torch") and device.partition(":")[0] != "cpu":
        raise ValueError(f"the engine {engine} runs on the CPU here, not on {device}{hint}")


def check_precision(precision: str, engine: str = "torch") -> None:
    """Raises ``ValueError`` unless there is such a precision, and the engine computes in it."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if precision == "bf16" and engine == "onnxruntime":
        raise ValueError("ONNX Runtime computes in fp32 on this processor; bf16 takes the engine openvino or torch")


def depends_on(engine: str | None, precision: str) -> dict[str, str]:
    """What results in a file depend on here, for :class:`~zoo_core.predicting.results.ResultFile`: what was asked for
    other than torch in fp32, or than the runtime of an exported file.
    """
    asked = {} if engine in (None, "torch") else {"engine": str(engine)}
    return asked if precision == "fp32" else {**asked, "precision": precision}
