"""What a command raises when it was called wrongly."""


class UsageError(Exception):
    """The words of the command line make no sense together. Exit code 2."""
