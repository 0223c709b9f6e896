"""Models that are made for images of one size, for images of another: ``img_size=``.

The builders of Vision Transformers, Swin Transformers, MaxViT and MViT take it, also with weights, as timm's do. What
they learnt about positions is interpolated; all other parameters stay as they are, and so do the names in the state
dict:

- **ViT**: the position of each patch, bicubically and with antialiasing; also of images that are not square.
- **Swin**, which takes images of any size anyway, padded to whole windows: windows grow with the image, so that the
  last stage has one window, as at the published size (7 at 224, 12 at 384). Version 1 interpolates the bias of each
  relative position bicubically. Version 2 computes it from the distance in tokens, of which larger windows have more:
  nothing is interpolated. Without ``img_size=`` windows stay as they are.
- **MaxViT**: windows and grids likewise.
- **MViT**: of version 1 the position in space, bicubically and with antialiasing; of version 2 the relative positions
  of rows and columns, linearly.

The preprocessing of :func:`zoo_core.specs.find` follows, so that ``zoo train vit_b_16 DATA --argument img_size=384``
needs nothing else.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["checked_size", "fitted", "preset_arguments", "replace_parameter"]


def checked_size(img_size: Any, multiple: int, *, of: str, pair: bool = True) -> tuple[int, int]:
    """Height and width, if a model can take them.

    Args:
        img_size: both sides as one number, or height and width.
        multiple: what they must be multiples of.
        of: the model, for the message.
        pair: whether they may differ.

    Raises:
        ValueError: they are no such numbers.
    """
    sides = tuple(img_size) if isinstance(img_size, Sequence) and not isinstance(img_size, str) else (img_size,) * 2
    is_good = len(sides) == 2 and all(type(side) is int and side > 0 and side % multiple == 0 for side in sides)
    if not is_good or (sides[0] != sides[1] and not pair):
        form = "an integer, or height and width," if pair else "an integer"
        raise ValueError(f"img_size of {of} must be {form} of multiples of {multiple}, not {img_size!r}")
    return sides[0], sides[1]


def preset_arguments(preset: str | None, arguments: Mapping[str, Any], img_size: Any) -> dict[str, Any]:
    """The arguments of a preset for images of another size: the crop is of that size, and resizing in proportion.

    Args:
        preset: class in :mod:`zoo_core.presets`; arguments of others than classification's stay as they are.
        arguments: those for the size of the weights, or already for the other one.
        img_size: see :func:`checked_size`.
    """
    adapted = dict(arguments)
    if preset not in ("ImageClassification", "VideoClassification"):
        return adapted
    crop = _sides(adapted.get("crop_size", 224))
    wanted = _sides(img_size)
    if crop == wanted:
        return adapted
    resize = adapted.get("resize_size", 256)
    factor = max(wanted) / max(crop)
    adapted["crop_size"] = wanted[0] if wanted[0] == wanted[1] else list(wanted)
    adapted["resize_size"] = (
        [math.ceil(side * factor) for side in resize] if isinstance(resize, Sequence) else math.ceil(resize * factor)
    )
    return adapted


def _sides(size: Any) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, Sequence) else (size,)
    return sides[0], sides[-1]


def fitted(model: nn.Module, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict with positions for the size of images that a model takes.

    Args:
        model: its modules with positions have a method ``fit_positions``, which gives those tensors of its own that are
            to be others than in a state dict of its own. It may be without storage.
        state_dict: of such a model for images of any size. It is not changed.
    """
    changed: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        fit = getattr(module, "fit_positions", None)
        if fit is not None:
            prefix = f"{path}." if path else ""
            changed |= {f"{prefix}{name}": value for name, value in fit(dict(_own(state_dict, prefix))).items()}
    if not changed:
        return state_dict
    result = OrderedDict((name, changed.get(name, value)) for name, value in state_dict.items())
    if hasattr(state_dict, "_metadata"):
        result._metadata = state_dict._metadata  # type: ignore[attr-defined]
    return result


def _own(state_dict: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in state_dict.items():
        own = name.removeprefix(prefix)
        if name.startswith(prefix) and "." not in own and isinstance(value, Tensor):
            yield own, value


def replace_parameter(module: nn.Module, name: str, value: Tensor) -> None:
    """Gives a module another tensor in the place of a parameter, which requires gradients as it did."""
    old: Any = getattr(module, name)
    setattr(module, name, nn.Parameter(value, requires_grad=old.requires_grad))
