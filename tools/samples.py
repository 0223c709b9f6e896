"""Writes what `zoo demo` shows the models on: photographs that are free, and what is composed of them and of garments.

    python -m tools.samples [PACKAGE ...]       # zoo_classification, zoo_detection, ...; all by default

Garments are held-out ones of Fashion-MNIST, and no photograph here is one that a model of ours was trained on. Seeded:
the same versions of Pillow and FFmpeg write the same files.
"""

import argparse
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from PIL import Image

from tools import fashion_mnist
from tools.compose import garments, scenes, video
from tools.compose.sources import Sources, installed
from tools.compose.writing import Order
from tools.distributions import ROOT
from zoo_core.images import open_image
from zoo_core.videos.writing import VideoWriter

PACKAGES = ROOT / "packages"

# Of scikit-image, with their licences; the first two are grounds as well.
PHOTOGRAPHS = {
    "cat": ("skimage/chelsea.png", "Chelsea the cat, by Stéfan van der Walt", "CC0"),
    "coffee": ("skimage/coffee.png", "A cup of coffee at Pikolo Espresso Bar, by Rachel Michetti", "CC0"),
    "photographer": ("skimage/camera.png", "A photographer and his tripod, by Lav Varshney", "CC0"),
}
GROUNDS = ("cat", "coffee")
PHOTOGRAPH_SIDE, QUALITY = 480, 88

# Chosen by eye: each shows what there is to see.
SCENES, SCENE_SIDE = (19, 45), 320
CLIPS, CLIP_SIDE = {"left": 6, "up": 5, "growing": 7, "turning": 3}, 160
PAIR, PAIR_SIDE = 4, 256

_OF_PHOTOGRAPHS = "".join(f"- `{name}.jpg`: {what}; {licence}.\n" for name, (_, what, licence) in PHOTOGRAPHS.items())
_OF_GROUNDS = "".join(f"- {PHOTOGRAPHS[name][1]}; {PHOTOGRAPHS[name][2]}.\n" for name in GROUNDS)
_OF_GARMENTS = (
    "- Garments: held-out images of [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist), copyright 2017\n"
    "  Zalando SE; MIT licence.\n"
)
_WRITTEN = "Written by `tools/samples.py`.\n"


def sources() -> Sources:
    """Garments, and the photographs that composed samples are on."""
    paths = tuple(installed(PHOTOGRAPHS[name][0]) for name in GROUNDS)
    return Sources(fashion_mnist.DIRECTORY, paths, paths)


def photographs(folder: Path) -> None:
    """The photographs, as JPEG files of moderate size."""
    for name, (source, *_) in PHOTOGRAPHS.items():
        image = open_image(installed(source))
        image.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.LANCZOS)
        image.save(folder / f"{name}.jpg", quality=QUALITY, optimize=True)
    _describe(folder, f"Photographs of scikit-image, for `zoo demo`:\n\n{_OF_PHOTOGRAPHS}")


def composed_scenes(folder: Path) -> None:
    """Garments of many sizes, turned, some behind others, on photographs."""
    for number, seed in enumerate(SCENES, 1):
        scene = scenes.compose(sources(), "val", SCENE_SIDE, random.Random(f"samples/{seed}"))
        scene.image.save(folder / f"garments-{number}.jpg", quality=QUALITY, optimize=True)
    _describe(folder, f"Composed of these, for `zoo demo`:\n\n{_OF_GROUNDS}{_OF_GARMENTS}")


def composed_clips(folder: Path) -> None:
    """Clips of a garment that moves, named by how it does."""
    for motion, seed in CLIPS.items():
        order = Order(folder, "val", 1, CLIP_SIDE, seed, sources())
        with VideoWriter(folder / f"{motion}.mp4", (CLIP_SIDE, CLIP_SIDE), rate=Fraction(video.RATE)) as writer:
            for place, frame in enumerate(video.frames(order, motion, order.rng(motion))):
                writer.write(frame, Fraction(place, video.RATE))
    _describe(
        folder, f"Composed of these, for `zoo demo`; a file is named by its motion:\n\n{_OF_GROUNDS}{_OF_GARMENTS}"
    )


def composed_pair(folder: Path) -> None:
    """Two frames in which garments move in different ways, over a ground that moves too."""
    rng = random.Random(f"samples/{PAIR}")
    side = PAIR_SIDE
    ground = open_image(installed(PHOTOGRAPHS["coffee"][0])).resize((round(1.2 * side * 1.5), round(1.2 * side)))
    wardrobe = garments.wardrobe(fashion_mnist.DIRECTORY, "val")
    first = [video.Pose(0.28, 0.36, 0.5, -12), video.Pose(0.7, 0.62, 0.58, 10)]
    second = [video.Pose(0.31, 0.35, 0.5, -7), video.Pose(0.675, 0.655, 0.6, 7)]
    layers = [garments.dressed(wardrobe.draw(rng), side // 2, garments.BOLD, rng) for _ in first]
    for number, poses in ((1, first), (2, second)):
        left = 40 + (number - 1) * 4
        frame = ground.crop((left, 20, left + side, 20 + side))
        for layer, pose in zip(layers, poses, strict=True):
            video.paste(frame, layer, pose)
        frame.save(folder / f"moving-garments-{number}.png", optimize=True)
    _describe(folder, f"Composed of these, for `zoo demo`:\n\n{_OF_GROUNDS}{_OF_GARMENTS}")


def _describe(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(f"{text}\n{_WRITTEN}", encoding="utf-8")


# Folder of a package -> what writes it. Fashion-MNIST's own images are `tools/fashion_mnist.py`'s.
WRITERS: dict[str, Callable[[Path], None]] = {
    "zoo_classification/photographs": photographs,
    "zoo_detection/samples": composed_scenes,
    "zoo_segmentation/samples": composed_scenes,
    "zoo_video/samples": composed_clips,
    "zoo_flow/samples": composed_pair,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [place.partition("/")[0] for place in WRITERS]
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(names)}")
    chosen = parser.parse_args().packages or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no samples are written for {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for place, write in WRITERS.items():
        package = place.partition("/")[0]
        if package in chosen:
            folder = PACKAGES / package.replace("_", "-") / "src" / place
            folder.mkdir(exist_ok=True)
            write(folder)


if __name__ == "__main__":
    main()
