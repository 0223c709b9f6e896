"""``python -m tools.compose``: writes a data set. See README.md."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tools.compose.kinds import KINDS, compose


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compose", description="Writes a data set; see README.md.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path, help="where to write; new or empty")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, help="samples to train on")
    parser.add_argument("--val", type=int, help="held-out samples")
    parser.add_argument("--size", type=int, help="width and height of the images, in pixels")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)
    begun = time.perf_counter()
    try:
        compose(**options)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{options['folder']}: {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
