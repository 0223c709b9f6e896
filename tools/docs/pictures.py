"""Makes the pictures of the documentation's pages, from weights that ship in packages and from composed data.

    python -m tools.docs.pictures [NAME...]

They lie in ``shared/zoo-core/docs/images``, as WebP files of some ten kilobytes each. What a picture takes that is not
in this repository are the sources of :mod:`tools.compose`.
"""

import argparse
import json
import math
import random
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tools import fashion_mnist
from tools.compose import scenes, sources
from tools.distributions import ROOT
from tools.fashion_mnist import CLASSES as KINDS
from zoo_core import predicting
from zoo_core.drawing import class_color, draw_objects, enlarged, overlay_labels, paint_classes
from zoo_core.embedding import embed
from zoo_core.images import open_image, write_png
from zoo_core.training import train
from zoo_core.videos import frames

FOLDER = ROOT / "shared/zoo-core/docs/images"
GARMENTS = ROOT / "packages/zoo-classification/src/zoo_classification/samples"
MOVING = ROOT / "packages/zoo-flow/src/zoo_flow/samples"
CLASSIFIER, WEIGHTS = "shufflenet_v2_x0_5", "FASHIONMNIST_V1"
VIDEOS = ROOT / "packages/zoo-video/src/zoo_video/samples"
_WIDTH = 960
_GAP = 12
_GROUND, _INK, _FAINT = (255, 255, 255), (24, 26, 31), (120, 124, 134)
_COLORS = [(38, 98, 217), (214, 106, 22), (30, 140, 90)]


def beside(images: Sequence[Image.Image], width: int = _WIDTH) -> Image.Image:
    """Images of equal height beside each other."""
    height = min(image.height for image in images)
    scaled = [image.resize((round(image.width * height / image.height), height)) for image in images]
    total = sum(image.width for image in scaled) + _GAP * (len(scaled) - 1)
    sheet = Image.new("RGB", (total, height), _GROUND)
    left = 0
    for image in scaled:
        sheet.paste(image, (left, 0))
        left += image.width + _GAP
    return sheet.resize((width, round(height * width / total)), Image.Resampling.LANCZOS)


def classify() -> Image.Image:
    """What the classifier that ships says of five garments."""
    files = [GARMENTS / f"{name}.png" for name in ("ankle-boot", "bag", "dress", "sandal", "trouser")]
    found = predicting.predict(CLASSIFIER, files, weights=WEIGHTS, options={"topk": 2})
    return beside([one.draw() for one in found if isinstance(one, predicting.Prediction)])


def flow() -> Image.Image:
    """Two images and how the first moves to the second, by the weights that ship."""
    pair = sorted(MOVING.glob("*.png"))
    (found,) = predicting.predict("raft_small", pair, weights="SYNTHETIC_V1")
    assert isinstance(found, predicting.Prediction)
    drawn = found.draw()  # the first image and the flow
    return beside([open_image(pair[0]), open_image(pair[1]), drawn.crop((drawn.width // 2, 0, *drawn.size))])


def _scene(seed: int, size: int = 320) -> scenes.Scene:
    return scenes.compose(sources.here(), "train", size, random.Random(seed))


def detect() -> Image.Image:
    """Composed scenes with their true boxes and masks, as detections are drawn."""
    return beside([_objects(_scene(seed)) for seed in (3, 8, 11)])


def _objects(scene: scenes.Scene) -> Image.Image:
    boxes = torch.tensor([_box(mask) for mask in scene.masks], dtype=torch.float32)
    labels = [KINDS[label] for label in scene.labels]
    return draw_objects(scene.image, boxes, scene.labels, labels, masks=scene.masks)


def _box(mask: torch.Tensor) -> list[int]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def segment() -> Image.Image:
    """A composed scene, and the class of each of its pixels painted over it, with a legend."""
    scene = _scene(30, 384)
    return beside([enlarged(scene.image), _classes(scene)], 760)


def _classes(scene: scenes.Scene) -> Image.Image:
    classes = torch.zeros(scene.image.height, scene.image.width, dtype=torch.uint8)
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        classes[mask] = label + 1
    shares = {label: float((classes == label + 1).float().mean()) for label in dict.fromkeys(scene.labels)}
    painted = paint_classes(scene.image, classes, {label + 1: class_color(label + 1) for label in shares})
    order = sorted(shares, key=lambda label: -shares[label])
    colors = [class_color(label + 1) for label in order]
    return overlay_labels(painted, [(KINDS[label], shares[label]) for label in order], colors=colors)


def search() -> Image.Image:
    """Garments, and those whose embeddings are nearest, with the cosine of the angle between."""
    with tempfile.TemporaryDirectory() as temporary:
        images, _ = fashion_mnist.load("t10k")
        for number in range(600):
            write_png(images[number][None], str(Path(temporary, f"{number:03}.png")))
        found = list(embed(CLASSIFIER, temporary, weights=WEIGHTS, normalize=True))
        matrix = torch.stack([one.result for one in found if isinstance(one, predicting.Prediction)])
        rows = []
        for query in (0, 18, 23):
            near = (matrix @ matrix[query]).topk(6)
            drawn = [
                _captioned(open_image(Path(temporary, f"{int(row):03}.png")), "query" if n == 0 else f"{score:.3f}")
                for n, (score, row) in enumerate(zip(near.values.tolist(), near.indices, strict=True))
            ]
            rows.append(beside(drawn, 720))
    sheet = Image.new("RGB", (720, sum(row.height for row in rows) + _GAP * (len(rows) - 1)), _GROUND)
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * (row.height + _GAP)))
    return sheet


def _captioned(image: Image.Image, text: str) -> Image.Image:
    tile = Image.new("RGB", (112, 134), _GROUND)
    tile.paste(image.convert("RGB").resize((112, 112), Image.Resampling.NEAREST))
    ImageDraw.Draw(tile).text((56, 116), text, _INK, ImageFont.load_default(14), anchor="ma")
    return tile


def chart(
    title: str,
    series: dict[str, list[tuple[float, float]]],
    horizontal: str,
    *,
    ticks: Sequence[float],
    power: bool = False,
) -> Image.Image:
    """Curves in one frame.

    Args:
        title: above, with the unit of the vertical axis.
        series: the points of each curve, by the name that the legend gives it.
        horizontal: what the horizontal axis counts.
        ticks: numbers at the vertical axis.
        power: whether the horizontal numbers are powers of two, which stand there in their place.
    """
    scale = 2
    width, height, left, top, right, bottom = 760 * scale, 300 * scale, 60 * scale, 44 * scale, 20 * scale, 44 * scale
    image = Image.new("RGB", (width, height), _GROUND)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14 * scale)
    points = [point for curve in series.values() for point in curve]
    x_min, x_max = min(x for x, _ in points), max(x for x, _ in points)
    y_min, y_max = min(0.0, *(y for _, y in points)), max(*ticks, *(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_min) / (x_max - x_min) * (width - left - right),
            height - bottom - (y - y_min) / (y_max - y_min) * (height - top - bottom),
        )

    draw.text((left, 12 * scale), title, _INK, font)
    for value in ticks:
        _, y = place(x_min, value)
        draw.line([(left, y), (width - right, y)], (225, 227, 232), scale)
        draw.text((left - 6 * scale, y), f"{value:g}", _FAINT, font, anchor="rm")
    for value in sorted({x for x, _ in points}):
        shown = f"{2**value:g}" if power else f"{value:g}"
        draw.text((place(value, y_min)[0], height - bottom + 8 * scale), shown, _FAINT, font, anchor="ma")
    draw.text((width - right, height - 4 * scale), horizontal, _FAINT, font, anchor="rd")
    at = width - right
    for (name, curve), color in zip(reversed(series.items()), reversed(_COLORS[: len(series)]), strict=True):
        draw.line([place(*point) for point in curve], color, 3 * scale, joint="curve")
        for point in curve:
            x, y = place(*point)
            draw.ellipse([x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale], color)
        draw.text((at, 12 * scale), name, color, font, anchor="ra")
        at -= round(draw.textlength(name, font)) + 18 * scale
    return image.resize((width // scale, height // scale), Image.Resampling.LANCZOS)


def fine_tune() -> Image.Image:
    """The accuracy on held-out garments by epoch, of the weights that ship and of fresh parameters."""
    images = {split: fashion_mnist.load(split) for split in ("train", "t10k")}
    series = {}
    with tempfile.TemporaryDirectory() as temporary:
        for split, (pixels, labels) in images.items():
            for kind in ("coat", "pullover", "shirt"):
                folder = Path(temporary, "data", "train" if split == "train" else "val", kind)
                folder.mkdir(parents=True)
                for row in torch.where(labels == KINDS.index(kind))[0][: 50 if split == "train" else 200].tolist():
                    write_png(pixels[row][None], str(folder / f"{row}.png"))
        sizes = {"train_crop_size": 64, "val_crop_size": 64, "val_resize_size": 64}
        for name, weights in (("fine-tuned", WEIGHTS), ("from scratch", None)):
            run = Path(temporary, name)
            train(
                CLASSIFIER,
                Path(temporary, "data"),
                recipe="finetune",
                weights=weights,
                from_scratch=weights is None,
                settings={"epochs": 10} | ({} if weights else sizes),
                output=run,
            )
            epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            series[name] = [(float(number), line["acc@1"]) for number, line in enumerate(epochs, 1)]
    title = "accuracy in percent on 600 held-out images, 50 a class to learn from"
    return chart(title, series, "epoch", ticks=(0, 25, 50, 75, 100))


def scale() -> Image.Image:
    """What the page on clusters computes of ResNet-50: the efficiency on more accelerators."""
    text = (ROOT / "shared/zoo-core/docs/clusters.md").read_text(encoding="utf-8")
    table = text.partition("### resnet50: 256 images for each accelerator")[2].partition("\n### ")[0]
    series: dict[str, list[tuple[float, float]]] = {}
    for row in re.findall(r"^\| (\d+) \| 256 \| (.*?) ?\| .*? \| (\d+)% \|", table, re.MULTILINE):
        # Within a machine there is no network.
        for name in [row[1]] if row[1] else ["8 x 400 Gb/s InfiniBand", "100 Gb/s Ethernet", "25 Gb/s Ethernet"]:
            series.setdefault(name, []).append((math.log2(int(row[0])), float(row[2])))
    return chart("efficiency in percent", series, "accelerators", ticks=(0, 25, 50, 75, 100), power=True)


def tasks() -> Image.Image:
    """The six tasks: what the weights that ship see, and the truth of composed samples where none do."""
    classes = ("zoo_classification", "zoo_quantized")
    named = {name: _labelled(model, weights) for name, (model, weights) in zip(classes, _CLASSIFIERS, strict=True)}
    tiles = {
        "Image classification": named["zoo_classification"],
        "Object detection": _objects(_scene(11)),
        "Semantic segmentation": _classes(_scene(30)),
        "Video classification": _frames(VIDEOS / "growing.mp4"),
        "Optical flow": flow().crop((320, 0, 960, 310)),
        "int8 classification": named["zoo_quantized"],
    }
    width, height, title = 420, 210, 30
    sheet = Image.new("RGB", (3 * width + 2 * _GAP, 2 * (height + title) + _GAP), _GROUND)
    for number, (name, image) in enumerate(tiles.items()):
        left, top = number % 3 * (width + _GAP), number // 3 * (height + title + _GAP)
        ImageDraw.Draw(sheet).text((left, top + 4), name, _INK, ImageFont.load_default(17))
        # Wide ones are shown whole.
        fitted = ImageOps.fit if image.height > height else ImageOps.contain
        sheet.paste(fitted(image, (width, height)), (left, top + title))
    return sheet


_CLASSIFIERS = ((CLASSIFIER, WEIGHTS), (f"quantized_{CLASSIFIER}", "FASHIONMNIST_FBGEMM_V1"))


def _labelled(model: str, weights: str) -> Image.Image:
    files = [GARMENTS / "dress.png", GARMENTS / "sneaker.png"]
    found = predicting.predict(model, files, weights=weights, options={"topk": 1})
    return beside([one.draw() for one in found if isinstance(one, predicting.Prediction)], 420)


def _frames(path: Path) -> Image.Image:
    """Three frames of a clip, with its class."""
    shown = list(frames(path))
    row = beside([shown[round(place * (len(shown) - 1))] for place in (0, 0.5, 1)], 420)
    return overlay_labels(row, [path.stem])


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "classify": classify,
    "detect": detect,
    "segment": segment,
    "flow": flow,
    "search": search,
    "fine-tune": fine_tune,
    "scale": scale,
    "tasks": tasks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all by default: {', '.join(PICTURES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names or PICTURES:
        path = FOLDER / f"{name}.webp"
        PICTURES[name]().save(path, quality=80, method=6)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
