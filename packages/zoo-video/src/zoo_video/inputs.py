"""Refusing videos that a model cannot take, in words that say which it takes."""

import torch
import torch.fx
from torch import Tensor


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
        min_size: least height and width.

    Raises:
        ValueError: the shape is none of those.
        TypeError: ``x`` is not of a floating dtype.
    """
    if torch.compiler.is_compiling() or isinstance(x, torch.fx.Proxy):
        return
    if x.ndim != 5:
        hint = "; make one video a batch with video.unsqueeze(0)" if x.ndim == 4 else ""
        raise ValueError(f"{model} takes a batch of videos, Tensor[N, C, T, H, W], not shape {list(x.shape)}{hint}")
    if not x.is_floating_point():
        raise TypeError(
            f"{model} takes videos of a floating dtype, not {x.dtype}; preprocess them as the weights' transforms() do"
        )
    frames, height, width = x.shape[2:]
    if frames < min_frames or height < min_size[0] or width < min_size[1]:
        raise refusal(x, model, f"of at least {min_frames} frames of at least {min_size[0]}x{min_size[1]} pixels")


def refusal(x: Tensor, model: str, takes: str) -> ValueError:
    """The error that ``x``, Tensor[N, C, T, H, W], is not a batch of videos that the model takes."""
    frames, height, width = x.shape[2:]
    return ValueError(
        f"{model} takes videos {takes} (height x width), not {frames} frames of {height}x{width} (input shape "
        f"{list(x.shape)}); sample other frames, resize or pad them"
    )
