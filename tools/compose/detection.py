"""Scenes with boxes and masks in COCO's layout: ``train/``, ``val/`` and ``annotations/instances_SPLIT.json``."""

import json
from typing import Any

from tools.compose.scenes import CLASSES, compose, jpeg
from tools.compose.writing import Order, written
from zoo_detection.coco import run_lengths

SIZE = 320


def write(order: Order, processes: int) -> None:
    """Writes a split."""
    (order.folder / order.split).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, objects in enumerate(written(order, _write_scene, processes), 1):
        sides = {"width": order.size, "height": order.size}
        images.append({"id": number, "file_name": _name(number - 1)} | sides)
        annotations += [{"id": len(annotations) + i, "image_id": number} | entry for i, entry in enumerate(objects, 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    path = order.folder / "annotations" / f"instances_{order.split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _name(number: int) -> str:
    return f"{number:05d}.jpg"


def _write_scene(order: Order, number: int) -> list[dict[str, Any]]:
    rng = order.rng(number)
    scene = compose(order.sources, order.split, order.size, rng)
    (order.folder / order.split / _name(number)).write_bytes(jpeg(scene.image, rng))
    objects = []
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0].tolist(), mask.any(0).nonzero()[:, 0].tolist()
        left, top = columns[0], rows[0]
        objects.append(
            {
                "category_id": label + 1,
                "bbox": [left, top, columns[-1] + 1 - left, rows[-1] + 1 - top],
                "area": int(mask.sum()),
                "segmentation": run_lengths(mask),
                "iscrowd": 0,
            }
        )
    return objects
