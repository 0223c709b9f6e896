"""The files that examples of the documentation name: written for each page into the folder where they run.

A page gets those whose names it has: images and a video that are painted here, the images that ship with
zoo-classification and zoo-flow, and small data sets made of them. In place of published weights, which cannot be
fetched everywhere, the cache gets files of fresh parameters, from a seed; their results mean nothing.
"""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tools.distributions import ROOT
from zoo_core import catalog, checkpoints
from zoo_core.whole_files import write_beside

EMBEDDED = frozenset(
    checkpoint.name
    for model in catalog.models().values()
    for checkpoint in model.checkpoints.values()
    if checkpoint.embedded
)
"""Names of weights that ship in packages."""

_GARMENTS = ROOT / "packages/zoo-classification/src/zoo_classification/samples"
_MOVING = ROOT / "packages/zoo-flow/src/zoo_flow/samples"
_SIZE = (320, 240)


def scene(frame: int = 0, size: tuple[int, int] = _SIZE) -> Image.Image:
    """A field of view with coloured shapes in front, which move to the right from frame to frame."""
    width, height = size
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for y in range(height):
        draw.line([(0, y), (width, y)], (90 + 100 * y // height, 130 + 60 * y // height, 210 - 120 * y // height))
    for number, colour in enumerate([(220, 60, 50), (60, 160, 70), (240, 200, 60)]):
        left, top = (30 + 95 * number + 4 * frame * (1 + number)) % width, 60 + 45 * number
        draw.rectangle([left, top, left + 70, top + 60], colour, outline=(30, 30, 30), width=3)
        draw.ellipse([left + 15, top + 12, left + 55, top + 48], fill=tuple(255 - value for value in colour))
    return image


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another file, another image.
    scene(sum(map(ord, path.name)) % 40).save(path, quality=90)


def garment(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((_GARMENTS / path.name).read_bytes())


def moving(number: int) -> Callable[[Path], None]:
    return lambda path: _copy(sorted(_MOVING.glob("*.png"))[number - 1], path)


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read_bytes())


def video(path: Path) -> None:
    """Three seconds of a scene, 10 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *_SIZE, "yuv420p"
        for number in range(30):
            container.mux(stream.encode(av.VideoFrame.from_image(scene(number))))
        container.mux(stream.encode())


def images(folder: Path) -> None:
    for name in ("beach.jpg", "forest.jpg", "street.jpg", "trip/harbour.jpg"):
        image(folder / name)


def labelled_garments(folder: Path) -> None:
    """The ten garments of zoo-classification, in a folder for each class."""
    for path in _GARMENTS.glob("*.png"):
        _copy(path, folder / "val" / path.stem / path.name)


def flowers(folder: Path) -> None:
    """Three classes of four images and two held out."""
    for kind in ("daisy", "rose", "tulip"):
        for number in range(6):
            image(folder / ("val" if number < 2 else "train") / kind / f"{kind}{number}.jpg")


def own_checkpoint(path: Path) -> None:
    """The state dict of a classifier of three classes, of fresh parameters."""
    import torch

    from zoo_classification import shufflenet_v2_x0_5

    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(shufflenet_v2_x0_5(num_classes=3).state_dict(), path)


def own_labels(path: Path) -> None:
    path.write_text("cat\ndog\nhorse\n", encoding="utf-8")


# By what pages call them. A folder's name ends in a slash.
FILES: dict[str, Callable[[Path], None]] = {
    "photo.jpg": image,
    "a.png": moving(1),
    "b.png": moving(2),
    "bag.png": garment,
    "clip.mp4": video,
    "lecture.mp4": video,
    "photos/": images,
    "holiday/": images,
    "garments/": labelled_garments,
    "flowers/": flowers,
    "mine.pth": own_checkpoint,
    "runs/last.pth": own_checkpoint,
    "labels.txt": own_labels,
}


def write(folder: Path, text: str) -> None:
    """Writes the files that a page names.

    Args:
        folder: where to.
        text: of the page.
    """
    for name, make in FILES.items():
        if re.search(rf"(?<![\w./-]){re.escape(name)}", text):
            make(folder / name)


def provide_weights(text: str, cache: Path) -> None:
    """Fills a cache with fresh parameters in place of the published weights that an example takes.

    Args:
        text: of the example; the names of builders and weights in it count.
        cache: the folder that ``TORCH_HOME`` names.
    """
    words = set(re.findall(r"\w+", text))
    if "zoo_quantized" in words:
        # Its functions are called as their float siblings; in the registry they are not.
        words |= {f"quantized_{word}" for word in words}
    for name in sorted(words & catalog.models().keys()):
        model = catalog.models()[name]
        wanted = {model.checkpoint().name} | (words & model.checkpoints.keys())
        for weights in sorted(wanted):
            checkpoint = model.checkpoints[weights]
            if not checkpoint.embedded:
                _provide(name, cache / "hub" / "checkpoints" / checkpoints.locate(checkpoint.url).name)


def _provide(name: str, path: Path) -> None:
    if path.exists():
        return
    import torch

    from zoo_core import get_model, get_model_builder

    taken = inspect.signature(get_model_builder(name)).parameters
    # As the published files were made: with auxiliary classifiers, and in int8.
    wanted = {"weights_backbone": None, "aux_loss": True, "aux_logits": True, "init_weights": False, "quantize": True}
    options: dict[str, Any] = {key: value for key, value in wanted.items() if key in taken}
    torch.manual_seed(0)
    model = get_model(name, weights=None, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, lambda beside: torch.save(model.state_dict(), beside))
