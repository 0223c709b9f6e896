"""Refusing videos that a model cannot take, in words that say which it takes."""

from torch import Tensor

from zoo_core.inputs import channels_second, check_batch, has_channels_last


def check_video(
    x: Tensor,
    *,
    model: str,
    min_frames: int = 1,
    min_size: tuple[int, int] = (1, 1),
) -> None:
    """Checks that ``x`` is a batch of videos that the model takes.

    Nothing is checked while torch compiles, exports or traces the model: dimensions may stay dynamic.

    Args:
        x: the input, Tensor[N, C, T, H, W] of a floating dtype.
        model: name of the model, for the message.
        min_frames: least number of frames.
        min_size: smallest height and width.

    Raises:
        ValueError: the model does not take that shape.
        TypeError: ``x`` is no tensor, or not of a floating dtype.
    """
    if not check_batch(x, model=model, dims="N, C, T, H, W", kind="video"):
        return
    frames, height, width = x.shape[2:]
    if frames < min_frames or height < min_size[0] or width < min_size[1]:
        raise refusal(x, model, f"of at least {min_frames} frames of at least {min_size[0]}x{min_size[1]} pixels")


def refusal(x: Tensor, model: str, takes: str) -> ValueError:
    """The error that ``x``, Tensor[N, C, T, H, W], is not a batch of videos that the model takes."""
    frames, height, width = x.shape[2:]
    remedy = channels_second(x) if has_channels_last(x) else "sample other frames, resize or pad them"
    return ValueError(
        f"{model} takes videos {takes} (height x width), not {frames} frames of {height}x{width} (input shape "
        f"{list(x.shape)}); {remedy}"
    )
