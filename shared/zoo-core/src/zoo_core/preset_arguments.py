"""What arguments preprocessing takes, without torch: for the presets themselves, and for the catalogues that name them.

:data:`PRESETS` and :func:`check` are for catalogues, whose values are those of TOML files; the other functions are for
both.
"""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")
"""The values of :class:`zoo_core.presets.InterpolationMode`."""
TENSOR_INTERPOLATIONS = INTERPOLATIONS[:4]
"""Those that there are for tensors as well as for PIL images."""

MAX_SIDE = 2**15
"""The longest side, in pixels, that a catalogue may ask for."""


def size(name: str, value: int | Sequence[int]) -> list[int]:
    """One length for both sides, or ``(height, width)``.

    Raises:
        ValueError: it is neither.
    """
    sizes = list(value) if isinstance(value, Sequence) else [value]
    if len(sizes) not in (1, 2) or not all(_is_whole(length) and length > 0 for length in sizes):
        raise ValueError(f"{name} must be a positive integer or (height, width), got {value!r}")
    return [int(length) for length in sizes]


def _is_whole(number: object) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def statistics(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel.

    Raises:
        ValueError: their numbers of channels differ, or one of them is not finite, or a deviation is not positive.
    """
    if len(mean) != len(std) or not mean:
        raise ValueError(f"mean and std must have one value for each channel, got mean={mean!r} and std={std!r}")
    if not all(_is_finite(value) for value in mean):
        raise ValueError(f"mean must be finite numbers, got {mean!r}")
    if not all(_is_finite(deviation) and deviation > 0 for deviation in std):
        raise ValueError(f"std must be positive, got {std!r}")
    return list(mean), list(std)


def _is_finite(number: object) -> bool:
    try:
        return not isinstance(number, bool | str) and math.isfinite(number)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False


# For catalogues ------------------------------------------------------------------------------------------------------


def _bounded_size(value: Any) -> None:
    if not isinstance(value, int | list) or isinstance(value, bool):
        raise ValueError("must be int or list")
    try:
        largest = max(size("", value))
    except ValueError:
        raise ValueError("must be a positive number of pixels, or [height, width]") from None
    if largest > MAX_SIDE:
        raise ValueError(f"must be at most {MAX_SIDE} pixels")


def _list(value: Any) -> None:
    if not isinstance(value, list):
        raise ValueError("must be list")


def _frame_size(value: Any) -> None:
    _list(value)
    _bounded_size(value)


def _flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError("must be bool")


def _one_of(choices: Sequence[str]) -> Callable[[Any], None]:
    def check_choice(value: Any) -> None:
        if not isinstance(value, str):
            raise ValueError("must be str")
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")

    return check_choice


_STATISTICS: Mapping[str, Callable[[Any], None]] = {"mean": _list, "std": _list}

# A test holds these tables to the classes in `zoo_core.presets`.
PRESETS: Mapping[str, Mapping[str, Callable[[Any], None]]] = {
    "ImageClassification": {
        "crop_size": _bounded_size,
        "resize_size": _bounded_size,
        **_STATISTICS,
        "interpolation": _one_of(INTERPOLATIONS),
        "antialias": _flag,
    },
    "SemanticSegmentation": {
        "resize_size": _bounded_size,
        **_STATISTICS,
        "interpolation": _one_of(INTERPOLATIONS),
        "antialias": _flag,
    },
    "ObjectDetection": {},
    "VideoClassification": {
        "crop_size": _frame_size,
        "resize_size": _frame_size,
        **_STATISTICS,
        "interpolation": _one_of(TENSOR_INTERPOLATIONS),
    },
    "OpticalFlow": {},
}
"""Preset -> argument -> what raises a ``ValueError`` that says what the value must be."""

REQUIRED: Mapping[str, frozenset[str]] = {
    "ImageClassification": frozenset({"crop_size"}),
    "SemanticSegmentation": frozenset({"resize_size"}),
    "ObjectDetection": frozenset(),
    "VideoClassification": frozenset({"crop_size", "resize_size"}),
    "OpticalFlow": frozenset(),
}
"""The arguments of each preset that have no default."""

_CHANNELS = (1, 3, 4)  # those of images in files: grey, RGB, RGBA


def check(arguments: Mapping[str, Any]) -> None:
    """What the arguments of a preset in a catalogue must be together; each alone is checked by :data:`PRESETS`.

    Raises:
        ValueError: ``mean`` and ``std`` do not go together.
    """
    mean, std = arguments.get("mean", [0.0] * 3), arguments.get("std", [1.0] * 3)
    statistics(mean, std)
    if len(mean) not in _CHANNELS:
        raise ValueError(f"mean and std must be of {', '.join(map(str, _CHANNELS))} channels, not {len(mean)}")
