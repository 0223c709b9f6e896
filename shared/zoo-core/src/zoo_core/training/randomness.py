"""Randomness as a function of what it is for.

Nothing here has a state that would have to be saved: the seed of each draw follows from the recipe's seed and from the
place that it is for (epoch and sample, step and process). So it depends neither on the order in which workers come to
their work, nor on where a run was interrupted.
"""

import hashlib
import random

__all__ = ["generator", "seed"]


def seed(*place: int | str) -> int:
    """A seed for a place, in 0..2**63 - 1: ``seed(recipe.seed, "order", epoch)``."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*place: int | str) -> random.Random:
    """A generator, seeded for a place."""
    return random.Random(seed(*place))
