"""Checks of a model's input, with errors that say what it accepts."""

from torch import Tensor

from zoo_core.inputs import channels_second, check_batch, has_channels_last


def check_image(
    x: Tensor,
    *,
    model: str,
    min_size: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    multiple_of: int | None = None,
) -> None:
    """Checks that ``x`` is a batch of images of a size that the model takes.

    Nothing is checked while torch compiles, exports or traces the model: dimensions may stay dynamic.

    Args:
        x: the input, Tensor[N, C, H, W] of a floating dtype.
        model: name of the model, for the message.
        min_size: smallest height and width; ``None`` for no limit.
        size: the only height and width; ``None`` for any.
        multiple_of: what height and width must be divisible by; ``None`` for anything.

    Raises:
        ValueError: the model does not take that shape.
        TypeError: ``x`` is no tensor, or not of a floating dtype.
    """
    if not check_batch(x, model=model, dims="N, C, H, W"):
        return
    height, width = x.shape[2:]
    if size is not None and (height, width) != size:
        takes = f"of {size[0]}x{size[1]} pixels"
    elif min_size is not None and (height < min_size[0] or width < min_size[1]):
        takes = f"of at least {min_size[0]}x{min_size[1]} pixels"
    elif multiple_of is not None and (height % multiple_of or width % multiple_of):
        takes = f"whose height and width are multiples of {multiple_of}"
    else:
        return
    remedy = channels_second(x) if has_channels_last(x) else "resize or pad them"
    raise ValueError(
        f"{model} takes images {takes} (height x width), not {height}x{width} (input shape {list(x.shape)}); {remedy}"
    )
