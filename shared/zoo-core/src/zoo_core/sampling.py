"""Which frames of a video are looked at."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are looked at.

    Args:
        every: one of so many, beginning with the first.
        rate: so many in a second at the most: of each part of a second the first frame. ``None`` for all.
    """

    every: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, not {self.every}")
        if self.rate is not None and not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"the rate must be above 0, not {self.rate}")
        if self.rate is not None and self.every != 1:
            raise ValueError("frames are chosen by their number or by their rate, and not by both")

    def count(self, frames: int, rate: Fraction | None) -> int:
        """How many of so many frames are looked at, as far as the rate of the video tells."""
        if self.rate is not None and rate:
            return min(frames, math.ceil(frames / rate * Fraction(self.rate)))
        return -(-frames // self.every)

    def effective_rate(self, rate: Fraction | None) -> Fraction | None:
        """Frames per second that are looked at, of a video with that rate."""
        if rate is None:
            return None if self.rate is None else Fraction(self.rate).limit_denominator(1000)
        if self.rate is not None:
            return min(rate, Fraction(self.rate).limit_denominator(1000))
        return rate / self.every

    def chooser(self) -> Callable[[int, Fraction], bool]:
        """A function that takes number and time of each frame in turn, and tells whether it is looked at."""
        if self.rate is None:
            return lambda index, time: index % self.every == 0
        rate = Fraction(self.rate)
        due = Fraction(0)

        def is_due(index: int, time: Fraction) -> bool:
            nonlocal due
            # Times are rounded to milliseconds in some formats.
            ticks = (time + Fraction(1, 1000)) * rate
            if index and ticks < due:
                return False
            due = Fraction(math.floor(ticks) + 1)
            return True

        return is_due
