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
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageOps

from tools import fashion_mnist
from tools.compose import scenes, sources
from tools.distributions import ROOT
from tools.docs import diagrams
from tools.docs.drawn import GAP, GROUND, INK, Node, bars, below, beside, captioned, chart, diagram, font, matrix
from tools.fashion_mnist import CLASSES as KINDS
from zoo_core import get_model, get_model_weights, predicting
from zoo_core.drawing import class_color, draw_objects, enlarged, overlay_labels, paint_classes
from zoo_core.embedding import embed
from zoo_core.features import features as extracted
from zoo_core.features import model_features
from zoo_core.images import open_image, to_pil_image, write_png
from zoo_core.training import train
from zoo_core.training.transforms.copy_paste import boxes_of_masks
from zoo_core.videos import frames

FOLDER = ROOT / "shared/zoo-core/docs/images"
GARMENTS = ROOT / "packages/zoo-classification/src/zoo_classification/samples"
MOVING = ROOT / "packages/zoo-flow/src/zoo_flow/samples"
CAT, COFFEE, MOTORCYCLE = (f"skimage/{name}.png" for name in ("chelsea", "coffee", "motorcycle_left"))
PHOTOGRAPHS = "efficientnet_lite0"
CLASSIFIER, WEIGHTS = "shufflenet_v2_x0_5", "FASHIONMNIST_V1"
VIDEOS = ROOT / "packages/zoo-video/src/zoo_video/samples"


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
    boxes = boxes_of_masks(scene.masks)
    labels = [KINDS[label] for label in scene.labels]
    return draw_objects(scene.image, boxes, scene.labels, labels, masks=scene.masks)


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
                captioned(open_image(Path(temporary, f"{int(row):03}.png")), "query" if n == 0 else f"{score:.3f}")
                for n, (score, row) in enumerate(zip(near.values.tolist(), near.indices, strict=True))
            ]
            rows.append(beside(drawn, 720))
    return below(rows)


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
    sheet = Image.new("RGB", (3 * width + 2 * GAP, 2 * (height + title) + GAP), GROUND)
    for number, (name, image) in enumerate(tiles.items()):
        left, top = number % 3 * (width + GAP), number // 3 * (height + title + GAP)
        ImageDraw.Draw(sheet).text((left, top + 4), name, INK, font(17))
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


def evaluate() -> Image.Image:
    """What the classifier that ships takes held-out garments for."""
    images, labels = fashion_mnist.load("t10k")
    counts = [[0] * len(KINDS) for _ in KINDS]
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(2000):
            write_png(images[number][None], str(Path(temporary, f"{number:04}.png")))
        for number, one in enumerate(predicting.predict(CLASSIFIER, temporary, weights=WEIGHTS, options={"topk": 1})):
            assert isinstance(one, predicting.Prediction)
            counts[int(labels[number])][one.result.top(1)[0][0]] += 1
    right = sum(counts[kind][kind] for kind in range(len(KINDS)))
    return matrix(f"what 2,000 held-out garments were taken for: {right / 20:.1f}% right", KINDS, counts)


def engines() -> Image.Image:
    """The page's own table of classifiers."""
    text = (ROOT / "shared/zoo-core/docs/engines.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| [\d.]+ \|", text, re.MULTILINE)
    kinds = ("ONNX Runtime", "OpenVINO", "OpenVINO, bf16")
    groups = {name: dict(zip(kinds, map(float, values), strict=True)) for name, *values in rows}
    return bars("times as fast as torchvision in eager mode", groups, mark=1)


def fast() -> Image.Image:
    """What the page's own table says in ranges."""
    text = (ROOT / "shared/zoo-core/docs/fast.md").read_text(encoding="utf-8")
    found = re.findall(r"([A-Za-z]\w+(?: \w+)*) ([\d.]+) to ([\d.]+) times", text)
    groups = {name: {"least": float(least), "most": float(most)} for name, least, most in found}
    return bars("times as fast as torchvision, on one processor", groups, mark=1)


def features() -> Image.Image:
    """A photograph, and the mean over the channels of each stage of a classifier."""
    image = open_image(sources.installed(CAT))
    model, weights = get_model(PHOTOGRAPHS, weights="DEFAULT").eval(), get_model_weights(PHOTOGRAPHS)["DEFAULT"]
    sample = weights.transforms()(image)
    told = model_features(PHOTOGRAPHS)
    with torch.inference_mode():
        maps = extracted(model, sample[None], layers=[stage.name for stage in told.stages])
    tiles = [captioned(ImageOps.fit(image, (224, 224)), "image", 150)]
    for stage in told.stages:
        mean = maps[stage.name][0].abs().mean(0)
        levels = ((mean - mean.min()) / (mean.max() - mean.min()) * 255).round().to(torch.uint8)
        caption = f"{stage.channels} x {mean.shape[0]} x {mean.shape[1]}"
        tiles.append(captioned(to_pil_image(levels[None]), caption, 150))
    return beside(tiles)


def quantize() -> Image.Image:
    """What the float model and the int8 one see in the same photographs."""
    photographs = [sources.installed(name) for name in (CAT, COFFEE, MOTORCYCLE)]
    rows = []
    for model, kind in ((PHOTOGRAPHS, "float32, 18.8 MB"), (f"quantized_{PHOTOGRAPHS}", "int8, 5.0 MB")):
        found = predicting.predict(model, photographs, weights="DEFAULT", options={"topk": 1})
        tiles = []
        for one in found:
            assert isinstance(one, predicting.Prediction)
            ((_, label, score),) = one.result.top(1)
            photo = ImageOps.fit(one.input, (200, 150))
            tile = Image.new("RGB", (200, 176), GROUND)
            tile.paste(photo)
            ImageDraw.Draw(tile).text((100, 156), f"{label} {score:.0%}", INK, font(14), anchor="ma")
            tiles.append(tile)
        name = Image.new("RGB", (150, 176), GROUND)
        ImageDraw.Draw(name).text((4, 66), kind.replace(", ", "\n"), INK, font(16))
        rows.append(beside([name, *tiles], 780))
    return below(rows)


def clip() -> Image.Image:
    """Frames of two clips that ship, with the motion that they show."""
    return beside([_frames(VIDEOS / f"{name}.mp4") for name in ("growing", "left")])


def bands() -> Image.Image:
    """An image as bands on top of each other, and how the first layer is made for them."""
    channels = open_image(sources.installed(CAT)).resize((150, 100)).split()
    tiles = [*channels, ImageOps.invert(channels[0]), ImageOps.equalize(channels[1])]
    names = ("red", "green", "blue", "near infrared", "...")
    stack = Image.new("RGB", (150 + 60 * (len(tiles) - 1) + 130, 100 + 26 * (len(tiles) - 1)), GROUND)
    draw = ImageDraw.Draw(stack)
    for number, (tile, name) in reversed(list(enumerate(zip(tiles, names, strict=True)))):
        left, top = 60 * number, 26 * number
        stack.paste(tile.convert("RGB"), (left, top))
        draw.rectangle([left, top, left + 149, top + 99], None, GROUND, 2)
        draw.text((left + 156, top + 4), name, INK, font(14))
    shown = diagram(
        [
            [Node("field.tif", ["12 bands, 16 bits"])],
            [Node("--in-channels 12", ["first layer and normalisation", "made from those for RGB"], ours=True)],
            [Node("any model of any task")],
        ],
        [("field.tif", "--in-channels 12"), ("--in-channels 12", "any model of any task")],
    )
    return below([stack, shown])


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "classify": classify,
    "detect": detect,
    "segment": segment,
    "flow": flow,
    "search": search,
    "fine-tune": fine_tune,
    "scale": scale,
    "evaluate": evaluate,
    "export": diagrams.export,
    "engines": engines,
    "fast": fast,
    "features": features,
    "quantize": quantize,
    "own-checkpoint": diagrams.own_checkpoint,
    "from-torchvision": diagrams.from_torchvision,
    "from-timm": diagrams.from_timm,
    "own-package": diagrams.own_package,
    "offline": diagrams.offline,
    "clusters": diagrams.clusters,
    "serving": diagrams.serving,
    "tested": diagrams.tested,
    "bands": bands,
    "clip": clip,
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
