"""What a command raises when it was called wrongly."""

import click


class UsageError(click.UsageError):
    """The words of the command line make no sense together. Exit code 2.

    Args:
        message: what is wrong.
        see: the command whose help tells more, ``"zoo predict resnet50"``; by default the one that runs.
    """

    def __init__(self, message: str, *, see: str | None = None) -> None:
        super().__init__(message)
        self.see = see
