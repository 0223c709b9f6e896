"""A small RAFT with known parameters, and images for it."""

from support import reference
from support.reference import image
from zoo_flow import raft_small


def small(**kwargs):
    with reference.no_random_init():
        return reference.fill_parameters(raft_small(**kwargs))


def pictures(height=128, width=136, n=1):
    return tuple(2 * image(seed, n, 3, height, width) - 1 for seed in (1, 2))
