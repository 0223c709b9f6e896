"""End-point errors of an optical flow model, where the truth is known.

    python -m tools.evaluate_flow raft_small --weights SYNTHETIC_V1 --pictures FOLDER [--stereo FOLDER]

- held-out synthetic pairs: 256 x 256 pixels, motion up to 20 pixels, of textures that training never saw; once of those
  that have structure everywhere, and once of all, where much of the motion cannot be seen by anyone
- pictures with a known shift: parts of real pictures, the second one moved by up to 20 pixels
- with `--stereo`, a real pair: the Motorcycle of Middlebury's stereo data, whose motion was measured with structured
  light, as scikit-image ships it (`skimage/data`), at a third of its size

The figures in the catalogue are for photographs that training left out: those in Debian's package mate-backgrounds
(folder `nature`, most of them blurred in large parts), and `chelsea`, `coffee` and `motorcycle_left` of scikit-image.
"""

import argparse
import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tools.synthetic_motion import Pairs, lengths, make_pairs, texture_bank
from zoo_core.declarations import IMAGE_SUFFIXES
from zoo_core.images import open_image, pil_to_tensor
from zoo_core.registry import get_model
from zoo_flow import Padding
from zoo_flow.task import EndPointError, Flow

SEED = 1_000_000
SIZE = 256
MOTION = 20


def pictures_in(folders: list[Path]) -> list[Path]:
    """All pictures in folders and below."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]


def held_out_pairs(pictures: list[Path], count: int, *, everywhere: bool = True) -> Pairs:
    """Synthetic pairs whose textures training never saw. ``everywhere``: of textures that have structure everywhere."""
    textures = texture_bank(SEED, 60, pictures, views=8, everywhere=everywhere)
    return make_pairs(count, SIZE, MOTION, textures, torch.Generator().manual_seed(SEED))


def shifted_pairs(pictures: list[Path], views: int = 4) -> Pairs:
    """Parts of pictures, and the same moved by a whole number of pixels."""
    rng = random.Random(SEED)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for path in pictures:
        picture = open_image(path)
        # About the scale at which people look at a picture.
        scale = min(1, 720 / min(picture.size))
        size = (round(picture.width * scale), round(picture.height * scale))
        tensor = pil_to_tensor(picture.resize(size, Image.Resampling.LANCZOS)).float() / 255
        for _ in range(views):
            length, direction = rng.uniform(0, MOTION), rng.uniform(0, 2 * math.pi)
            dx, dy = round(length * math.cos(direction)), round(length * math.sin(direction))
            left = rng.randint(MOTION, size[0] - SIZE - MOTION)
            top = rng.randint(MOTION, size[1] - SIZE - MOTION)
            first = tensor[:, top : top + SIZE, left : left + SIZE]
            second = tensor[:, top - dy : top - dy + SIZE, left - dx : left - dx + SIZE]
            flow = torch.tensor([float(dx), float(dy)])[:, None, None].expand(2, SIZE, SIZE)
            line = torch.arange(SIZE)
            inside_x, inside_y = ((line + d >= 0) & (line + d < SIZE) for d in (dx, dy))
            parts.append((first, second, flow, inside_x[None, :] & inside_y[:, None]))
    return Pairs(*(torch.stack(tensors) for tensors in zip(*parts, strict=True)))


def stereo_pair(folder: Path, factor: int = 3) -> Pairs:
    """Middlebury's Motorcycle, made smaller. The flow is NaN where it was not measured."""
    import numpy as np

    first, second = (
        pil_to_tensor(open_image(folder / f"motorcycle_{side}.png").reduce(factor)).float() / 255
        for side in ("left", "right")
    )
    with np.load(folder / "motorcycle_disp.npz") as arrays:
        disparity = torch.from_numpy(arrays["arr_0"]).float()
    disparity = torch.where(disparity.isfinite(), disparity, torch.nan)[None, None]
    height, width = first.shape[1:]
    half = factor // 2
    middle = F.pad(disparity, (0, factor, 0, factor), value=torch.nan)[..., half::factor, half::factor]
    motion = -middle[0, 0, :height, :width] / factor
    flow = torch.stack((motion, torch.where(motion.isnan(), motion, 0)))
    return Pairs(first[None], second[None], flow[None], motion.isfinite()[None])


@torch.inference_mode()
def errors(model: nn.Module, pairs: Pairs) -> dict[str, float]:
    """End-point error of all pixels and of those visible in both pictures, and what no motion at all would give."""
    model.eval()
    of_all, of_visible, still = EndPointError(), EndPointError(), EndPointError()
    padding = Padding(*pairs.flow.shape[-2:])
    for i in range(len(pairs.flow)):
        images = (padding.pad(2 * image[i : i + 1] - 1) for image in (pairs.image1, pairs.image2))
        flow = Flow(padding.crop(model(*images, last_only=True)[-1])[0].float())
        of_all.update(i, flow, pairs.flow[i])
        of_visible.update(i, flow, torch.where(pairs.visible[i], pairs.flow[i], torch.nan))
        still.update(i, Flow(torch.zeros_like(pairs.flow[i])), pairs.flow[i])
    found = of_all.compute()
    figures = {
        "epe": found["epe"],
        "epe_visible": of_visible.compute()["epe"],
        "1px": found["1px"],
        "no_motion": still.compute()["epe"],
    }
    return {name: round(value, 3) for name, value in figures.items()}


def evaluate(model: nn.Module, pictures: list[Path], stereo: Path | None = None, count: int = 64) -> str:
    """All errors, a line for each kind of pairs."""
    lines = [
        f"synthetic pairs, {kind}: {errors(model, held_out_pairs(pictures, count, everywhere=everywhere))}"
        for kind, everywhere in (("textured", True), ("any", False))
    ]
    if pictures:
        lines.append(f"shifted pictures: {errors(model, shifted_pairs(pictures))}")
    if stereo is not None:
        pair = stereo_pair(stereo)
        size = f"{pair.flow.shape[-2]}x{pair.flow.shape[-1]}"
        largest = float(lengths(pair.flow.nan_to_num()).max())
        lines.append(f"Motorcycle, {size}, up to {largest:.0f} px: {errors(model, pair)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights", default="DEFAULT")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders of pictures")
    parser.add_argument("--stereo", type=Path, help="the folder skimage/data")
    parser.add_argument("--count", type=int, default=64, help="number of synthetic pairs")
    arguments = parser.parse_args()
    model = get_model(arguments.model, weights=arguments.weights)
    print(evaluate(model, pictures_in(arguments.pictures), arguments.stereo, arguments.count))


if __name__ == "__main__":
    main()
