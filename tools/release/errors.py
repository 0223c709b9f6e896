"""What goes wrong in a release."""


class ReleaseError(Exception):
    """The release cannot go on; the message says why and what to do."""
