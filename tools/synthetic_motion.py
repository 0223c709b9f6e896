"""Pairs of images with known optical flow: textured layers that move over each other.

A background and some objects in front of it, each with its own texture, take an affine and an elastic motion. The flow
is exact, occlusion included: what is hidden in the second image has the flow of where it went. Textures are
procedural (coloured noise, and shapes dropped on each other) or come from images.

Seeded: the same generator state gives the same pairs on any machine with the same torch and Pillow.
"""

import colorsys
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from zoo_core.images import open_image, pil_to_tensor

TEXTURE_SIZE = 512


@dataclass
class Pairs:
    """Images and the motion between them.

    Attributes:
        image1, image2: float Tensor[N, 3, H, W] in [0, 1].
        flow: Tensor[N, 2, H, W]: displacement of each pixel of ``image1``, x and y, in pixels.
        visible: bool Tensor[N, H, W]: whether the pixel's target is inside ``image2`` and hidden by nothing.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    visible: Tensor

    def __getitem__(self, index: Tensor | slice) -> "Pairs":
        return Pairs(self.image1[index], self.image2[index], self.flow[index], self.visible[index])


# Textures ------------------------------------------------------------------------------------------------------------


def noise_texture(rng: random.Random) -> Tensor:
    """Coloured noise of several octaves, from clouds to grain: uint8 Tensor[3, TEXTURE_SIZE, TEXTURE_SIZE]."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    falloff = rng.uniform(0.5, 1.1)
    total = torch.zeros(1, 3, TEXTURE_SIZE, TEXTURE_SIZE)
    for octave in range(2, 9):
        cells = torch.randn(1, 3, 2**octave, 2**octave, generator=generator)
        total += falloff**octave * F.interpolate(cells, size=TEXTURE_SIZE, mode="bicubic")
    # Channels that go together more or less, as in nature.
    mix = torch.randn(3, 3, generator=generator) * rng.uniform(0.2, 1.0) + 1
    total = torch.einsum("ij,njhw->nihw", mix, total)[0]
    total = (total - total.mean()) / total.std() * rng.uniform(0.1, 0.3) + rng.uniform(0.3, 0.7)
    return (255 * total.clamp(0, 1)).to(torch.uint8)


def shapes_texture(rng: random.Random) -> Tensor:
    """Ellipses, polygons, lines and letters dropped on each other, large ones being rare, as an image's edges are."""
    picture = Image.new("RGB", (TEXTURE_SIZE, TEXTURE_SIZE), _colour(rng, rng.random()))
    draw = ImageDraw.Draw(picture)
    hue, spread, smallest = rng.random(), rng.uniform(0.02, 0.5), rng.uniform(3, 10)
    for _ in range(rng.randrange(150, 1200)):
        # Sizes of a power law look the same at every scale.
        radius = min(smallest / (1 - rng.random()) ** 0.6, TEXTURE_SIZE / 4)
        x, y = rng.uniform(0, TEXTURE_SIZE), rng.uniform(0, TEXTURE_SIZE)
        colour = _colour(rng, rng.gauss(hue, spread))
        kind = rng.random()
        if kind < 0.4:
            other = radius * rng.uniform(0.3, 1)
            draw.ellipse((x - radius, y - other, x + radius, y + other), fill=colour)
        elif kind < 0.85:
            count, turn = rng.randrange(3, 7), rng.uniform(0, 2 * math.pi)
            angles = [turn + 2 * math.pi * (i + rng.uniform(-0.3, 0.3)) / count for i in range(count)]
            draw.polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=colour)
        elif kind < 0.95:
            end = (x + rng.uniform(-3, 3) * radius, y + rng.uniform(-3, 3) * radius)
            draw.line([(x, y), end], fill=colour, width=rng.randrange(1, 5))
        else:
            draw.text((x, y), rng.choice("ABEGKMRSWX&#%@238"), fill=colour, font_size=max(8, int(radius)))
    shapes = pil_to_tensor(picture).float()
    grain = noise_texture(rng).float() - 128
    return (shapes + rng.uniform(0, 0.5) * grain).clamp(0, 255).to(torch.uint8)


def _colour(rng: random.Random, hue: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0, 0.9), rng.uniform(0.1, 1))
    return round(255 * red), round(255 * green), round(255 * blue)


def picture_textures(paths: Iterable[Path], rng: random.Random, views: int) -> list[Tensor]:
    """So many square views of each image, at scales from all of it to its own pixels."""
    textures = []
    for path in sorted(paths):
        picture = open_image(path)
        shortest = min(picture.size)
        for _ in range(views):
            side = rng.uniform(min(TEXTURE_SIZE / 2, shortest), shortest)
            left, top = rng.uniform(0, picture.width - side), rng.uniform(0, picture.height - side)
            view = picture.resize(
                (TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
            )
            textures.append(pil_to_tensor(view))
    return textures


def has_texture(texture: Tensor) -> bool:
    """Whether nearly everywhere something tells how a texture moves: a deviation of 5 grey levels in 32 pixels."""
    blocks = texture.float().mean(0).unfold(0, 32, 32).unfold(1, 32, 32)
    return float((blocks.std((2, 3)) > 5).float().mean()) > 0.9


def texture_bank(
    seed: int, count: int, pictures: Sequence[Path] = (), views: int = 8, *, everywhere: bool = False
) -> Tensor:
    """Textures to cut layers from.

    Args:
        seed: of everything random.
        count: number of procedural textures, a third of them noise and the rest shapes.
        pictures: image files that give textures as well.
        views: textures from each image.
        everywhere: leave out textures that are plain or blurred in parts, whose motion cannot be seen there.

    Returns:
        uint8 Tensor[T, 3, TEXTURE_SIZE, TEXTURE_SIZE].
    """
    rng = random.Random(seed)
    textures = [noise_texture(rng) if i % 3 == 0 else shapes_texture(rng) for i in range(count)]
    textures += picture_textures(pictures, rng, views)
    return torch.stack([texture for texture in textures if not everywhere or has_texture(texture)])


# Motion --------------------------------------------------------------------------------------------------------------


def make_pairs(
    count: int,
    size: int,
    max_motion: float,
    textures: Tensor,
    generator: torch.Generator,
    *,
    max_objects: int = 4,
    noise: float = 0.03,
    photographed: bool = True,
) -> Pairs:
    """Makes pairs of images.

    Args:
        count: number of pairs.
        size: height and width, in pixels.
        max_motion: bound of the motion of any pixel, in pixels. Each pair draws its own from zero to that.
        textures: of :func:`texture_bank`.
        generator: source of all that is random.
        max_objects: most objects in front of a background.
        noise: bound of the standard deviation of the noise that is added to both images.
        photographed: let exposure, blur and noise differ between the images of a pair, as a camera's do.
    """
    margin = math.ceil(max_motion) + 8
    canvas = size + 2 * margin
    layers = 1 + max_objects
    motion = _motion(count, layers, canvas, generator)
    alpha = _masks(count, layers, canvas, generator)
    # Some pairs have fewer objects than others.
    used = torch.arange(layers) <= torch.randint(0, max_objects + 1, (count, 1), generator=generator)
    alpha = torch.where(used[:, :, None, None, None], alpha, 0)
    alpha[:, 0] = 1

    bound = max_motion * torch.rand(count, generator=generator)
    inner = motion[..., margin : margin + size, margin : margin + size]
    largest = lengths(inner).where(used[:, :, None, None], 0).flatten(1).amax(1)
    motion = motion * (bound / largest.clamp(min=1e-6))[:, None, None, None, None]

    colours = _layer_textures(count * layers, canvas, textures, generator).view(count, layers, 3, canvas, canvas)
    layered = torch.cat((colours, alpha), dim=2).flatten(0, 1)

    window = slice(margin, margin + size)
    first = layered.view(count, layers, 4, canvas, canvas)[..., window, window]
    image1, top1 = _compose(first)
    flow = motion[..., window, window].gather(1, top1[:, None, None].expand(-1, 1, 2, -1, -1)).squeeze(1)

    places = _pixels(size)[None] + margin
    sources = _inverse(motion.flatten(0, 1), places)
    second = _sample(layered, sources, mode="bicubic").view(count, layers, 4, size, size)
    image2, top2 = _compose(second)

    target = _pixels(size)[None] + flow
    inside = ((target >= 0) & (target <= size - 1)).all(dim=1)
    shown = _sample(top2[:, None].float(), target, mode="nearest")[:, 0]
    if photographed:
        image1, image2 = _photograph(image1, image2, noise, generator)
    return Pairs(image1, image2, flow, inside & (shown == top1))


def lengths(vectors: Tensor) -> Tensor:
    """Tensor[..., 2, H, W] -> Tensor[..., H, W]. Several times as fast as torch.linalg.vector_norm on this layout."""
    x, y = vectors.unbind(-3)
    return (x * x + y * y).sqrt_()


def _uniform(low: float, high: float, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def _pixels(size: int) -> Tensor:
    """x and y of each pixel: Tensor[2, size, size]."""
    line = torch.arange(size, dtype=torch.float32)
    return torch.stack((line.expand(size, size), line[:, None].expand(size, size)))


def _sample(maps: Tensor, places: Tensor, mode: str) -> Tensor:
    """Values of Tensor[N, C, P, P] at places Tensor[N, 2, H, W] in pixels."""
    grid = places.permute(0, 2, 3, 1) * (2 / (maps.shape[-1] - 1)) - 1
    return F.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=True)


def _motion(count: int, layers: int, canvas: int, generator: torch.Generator) -> Tensor:
    """How far each pixel of each layer moves, in units of no meaning yet: Tensor[count, layers, 2, canvas, canvas]."""
    shape = (count, layers)
    total = count * layers
    shift = torch.randn(*shape, 2, generator=generator)
    # What an object does has part in common with the background, as with a camera that moves.
    shift[:, 1:] += 0.7 * shift[:, :1]
    turn, stretch = (_uniform(-1, 1, shape, generator) ** 3 for _ in range(2))
    shear = 0.5 * _uniform(-1, 1, (*shape, 2), generator) ** 3
    matrix = torch.stack((stretch + shear[..., 0], -turn, turn, stretch + shear[..., 1]), dim=-1).view(*shape, 2, 2)
    # Each layer turns about a point of its own.
    centre = _uniform(0.2, 0.8, (*shape, 2), generator)[..., None, None]
    place = _pixels(canvas) / canvas - centre
    affine = 4 * torch.einsum("nlij,nljhw->nlihw", matrix, place) + shift[..., None, None]
    elastic = torch.zeros(total, 2, canvas, canvas)
    for cells, strength in ((3, 0.5), (6, 0.15)):
        coarse = strength * torch.randn(total, 2, cells, cells, generator=generator)
        coarse *= _uniform(0, 1, (total, 1, 1, 1), generator) ** 2
        elastic += F.interpolate(coarse, size=canvas, mode="bicubic", align_corners=True)
    return affine + elastic.view(*shape, 2, canvas, canvas)


def _masks(count: int, layers: int, canvas: int, generator: torch.Generator) -> Tensor:
    """Where each layer is, with soft edges: Tensor[count, layers, 1, canvas, canvas] from 0 to 1."""
    shape = (count, layers, 1, 1)
    centre = _uniform(0.1, 0.9, (count, layers, 2, 1, 1), generator)
    x, y = (_pixels(canvas) / canvas - centre).unbind(2)
    angle = _uniform(0, 2 * math.pi, shape, generator)
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    # From ellipses over rounded boxes to boxes, with a wavy outline.
    power = torch.where(torch.rand(shape, generator=generator) < 0.5, 2.0, 8.0)
    length, width = _uniform(0.06, 0.3, shape, generator), _uniform(0.03, 0.25, shape, generator)
    outline = ((along / length).abs() ** power + (across / width).abs() ** power) ** (1 / power)
    waves = torch.randn(count * layers, 1, 8, 8, generator=generator)
    waves = F.interpolate(waves, size=canvas, mode="bicubic").view(count, layers, canvas, canvas)
    outline = outline + _uniform(0, 0.5, shape, generator) * waves
    slope = (length + width) / 2 * canvas
    return ((1 - outline) * slope).clamp(0, 1).unsqueeze(2)


def _layer_textures(count: int, canvas: int, textures: Tensor, generator: torch.Generator) -> Tensor:
    """Parts of textures at random places, turned, mirrored, and with colours changed."""
    chosen = torch.randint(len(textures), (count,), generator=generator)
    # Textures smaller than the canvas repeat as in mirrors.
    angle = _uniform(-math.pi, math.pi, (count,), generator)
    scale = 2 ** _uniform(-0.5, 0.7, (count,), generator)
    matrix = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).view(count, 2, 2)
    matrix = matrix * (scale * canvas / TEXTURE_SIZE)[:, None, None]
    matrix[:, 0] *= torch.where(torch.rand(count, 1, generator=generator) < 0.5, -1.0, 1.0)
    offset = _uniform(-1, 1, (count, 2, 1), generator)
    grid = F.affine_grid(torch.cat((matrix, offset), 2), [count, 1, canvas, canvas], align_corners=False)
    cut = F.grid_sample(
        textures[chosen].float() / 255, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    order = torch.rand(count, 3, generator=generator).argsort(1)
    cut = cut.gather(1, order[:, :, None, None].expand_as(cut))
    gain, bias = _uniform(0.6, 1.4, (count, 3, 1, 1), generator), _uniform(-0.2, 0.2, (count, 3, 1, 1), generator)
    return (0.5 + gain * (cut - 0.5) + bias).clamp(0, 1)


def _inverse(motion: Tensor, places: Tensor) -> Tensor:
    """Where what is at ``places`` in the second image was in the first: solves g + motion(g) = places."""
    found = places.expand(len(motion), -1, -1, -1)
    # The motion of neighbours differs by far less than their distance, so this converges fast.
    for _ in range(7):
        found = places - _sample(motion, found, mode="bilinear")
    return found


def _compose(layered: Tensor) -> tuple[Tensor, Tensor]:
    """Layers Tensor[N, L, 4, H, W] on each other -> Tensor[N, 3, H, W] and the number of the one on top, [N, H, W]."""
    image = layered[:, 0, :3]
    top = torch.zeros(len(layered), *layered.shape[-2:], dtype=torch.int64)
    for number in range(1, layered.shape[1]):
        alpha = layered[:, number, 3:].clamp(0, 1)
        image = torch.lerp(image, layered[:, number, :3], alpha)
        top = torch.where(alpha[:, 0] > 0.5, number, top)
    return image.clamp(0, 1), top


def _photograph(image1: Tensor, image2: Tensor, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a camera does to both images, not quite the same to each: exposure, blur and noise."""
    count = len(image1)
    blur = _uniform(0, 1, (count, 1, 1, 1), generator) ** 2
    level = noise * _uniform(0, 1, (count, 1, 1, 1), generator) ** 2
    gamma = 2 ** _uniform(-0.4, 0.4, (count, 1, 1, 1), generator)
    taken = []
    for image in (image1, image2):
        soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        drift = 2 ** _uniform(-0.1, 0.1, (count, 3, 1, 1), generator)
        exposed = drift * torch.lerp(image, soft, blur).clamp(1e-4, 1) ** gamma
        taken.append((exposed + level * torch.randn(image.shape, generator=generator)).clamp(0, 1))
    return taken[0], taken[1]
