"""The ``zoo`` command.

One module a command; each imports what it needs when it runs, so that the commands that only look into the catalogue
answer at once and never import torch.
"""

from zoo_core.cli.app import main

__all__ = ["main"]
