"""Clips of a garment that moves over a photograph, in a folder for each kind of motion: ``train/left/00003.mp4``."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

from tools.compose import garments, grounds
from tools.compose.scenes import Camera
from tools.compose.writing import Order, written
from zoo_core.videos.writing import VideoWriter

SIZE = 112
FRAMES = 20
RATE = 15
MOTIONS = ("down", "growing", "left", "right", "shrinking", "still", "turning", "up")
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Pose:
    """How a garment lies in a frame: its centre and side in parts of the frame's side, its angle in degrees."""

    x: float
    y: float
    side: float
    angle: float


def write(order: Order, processes: int) -> None:
    """Writes a split, as many clips of each motion."""
    for motion in MOTIONS:
        (order.folder / order.split / motion).mkdir(parents=True, exist_ok=True)
    for _ in written(order, _write_clip, processes):
        pass


def path(motion: str, rng: random.Random) -> list[Pose]:
    """The poses of a garment in the frames of a clip.

    In the middle of a clip all motions look alike, so that no single frame tells which it is. What a motion is not is
    there as well, a tenth as strong: nothing moves quite straight.
    """
    x, y, side = rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.6)
    angle = rng.gauss(0, 25)
    if motion == "still":
        return [Pose(x, y, side, angle)] * FRAMES
    shift = rng.uniform(0.25, 0.6)
    across, growth, turn = (rng.uniform(-1, 1) for _ in range(3))
    dx, dy = _DIRECTIONS.get(motion, (0.0, 0.0))
    far_x, far_y = shift * (dx + 0.1 * across * dy), shift * (dy + 0.1 * across * dx)
    factor = math.log(rng.uniform(1.6, 2.6)) * {"growing": 1, "shrinking": -1}.get(motion, 0.1 * growth)
    turned = rng.choice((-1, 1)) * rng.uniform(60, 180) if motion == "turning" else 8 * turn
    poses = []
    for number in range(FRAMES):
        time = number / (FRAMES - 1) - 0.5
        poses.append(Pose(x + far_x * time, y + far_y * time, side * math.exp(factor * time), angle + turned * time))
    return poses


def frames(order: Order, motion: str, rng: random.Random) -> Iterator[Image.Image]:
    """The images of a clip: a garment that moves, and up to two that do not, behind it."""
    wardrobe = garments.wardrobe(order.sources.fashion_mnist, order.split)
    size = order.size
    ground = grounds.ground(order.sources, order.split, (size, size), rng)
    for _ in range(rng.randint(0, 2)):
        paste(ground, garments.dressed(wardrobe.draw(rng), size // 2, garments.BOLD, rng), path("still", rng)[0])
    layer = garments.dressed(wardrobe.draw(rng), round(0.7 * size), garments.BOLD, rng)
    camera = Camera.draw(rng)
    for pose in path(motion, rng):
        frame = ground.copy()
        paste(frame, layer, pose)
        yield camera.take(frame, rng)


def paste(image: Image.Image, layer: Image.Image, pose: Pose) -> None:
    """Draws a garment at a place between pixels, turned and scaled."""
    scale = layer.width / (pose.side * image.width)
    angle = math.radians(pose.angle)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    x, y, middle = pose.x * image.width, pose.y * image.height, layer.width / 2
    # From a place in the frame to one in the layer.
    matrix = (cos, -sin, middle - cos * x + sin * y, sin, cos, middle - sin * x - cos * y)
    moved = layer.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    image.paste(moved, (0, 0), moved)


def _write_clip(order: Order, number: int) -> None:
    motion = MOTIONS[number % len(MOTIONS)]
    rng = order.rng(number)
    file = order.folder / order.split / motion / f"{number:05d}.mp4"
    with VideoWriter(file, (order.size, order.size), rate=Fraction(RATE)) as video:
        for place, frame in enumerate(frames(order, motion, rng)):
            video.write(frame, Fraction(place, RATE))
