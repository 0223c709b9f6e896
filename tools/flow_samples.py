"""Writes the pair of images that `zoo demo` shows optical flow on: procedural, so free of anyone's rights.

python -m tools.flow_samples DIRECTORY
"""

import argparse
from pathlib import Path

import torch

from tools.synthetic_motion import make_pairs, texture_bank
from zoo_core.images import write_png

SEED, SIZE, MOTION = 14, 256, 14.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    textures = texture_bank(arguments.seed, 12)
    generator = torch.Generator().manual_seed(arguments.seed)
    pairs = make_pairs(4, SIZE, MOTION, textures, generator, max_objects=5, noise=0.0)
    # Of four pairs the one that moves the most.
    chosen = int(pairs.flow.square().sum(1).mean((1, 2)).argmax())
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for number, image in ((1, pairs.image1), (2, pairs.image2)):
        write_png((255 * image[chosen]).round().to(torch.uint8), arguments.directory / f"moving_shapes_{number}.png", 9)


if __name__ == "__main__":
    main()
