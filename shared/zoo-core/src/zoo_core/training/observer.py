"""Who is told how a run goes."""

from collections.abc import Mapping, Sequence

__all__ = ["Observer"]


class Observer:
    """Is told how a run goes, in the first process. This one takes no notice."""

    def begin(self, done: int, steps: int) -> None:
        """The first step of so many begins; some may be done already."""

    def note(self, message: str) -> None:
        """Something about the data that the user should know."""

    def step(self, done: int, loss: float) -> None:
        """A step is done, of so many so far."""

    def epoch(self, record: Mapping[str, float]) -> None:
        """An epoch is done, with these figures."""

    def bad(self, messages: Sequence[str]) -> None:
        """Held-out samples that could not be scored."""
