"""Annotations in `COCO's form <https://cocodataset.org/#format-data>`__: one JSON file for all images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo_core.data.classes import match_labels
from zoo_core.data.faults import DataError, Fault
from zoo_core.extras import require

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CocoAnnotations", "coco_split", "compressed", "decode_mask"]

# What a list of COCO's 91 categories says where a number was never given to one.
_NO_CATEGORY = "N/A"


class CocoAnnotations:
    """A JSON file of annotations, checked, with its objects by image.

    Args:
        path: the file.

    Attributes:
        images: the entries of the images, sorted by ``id``.
        categories: number of each category -> its name.

    Raises:
        DataError: the file is no such JSON, or contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        content = _read(self.path)
        try:
            self.categories: dict[int, str] = {entry["id"]: entry["name"] for entry in content["categories"]}
        except (TypeError, KeyError) as error:
            raise DataError(self.fault("categories must be a list of objects with id and name")) from error
        self.images: list[dict[str, Any]] = []
        self._objects: dict[int, list[dict[str, Any]]] = {}
        faults = []
        for image in content["images"]:
            if not isinstance(image, dict) or not isinstance(image.get("id"), int) or "file_name" not in image:
                faults.append(self.fault(f"an image without id or file_name: {str(image)[:100]}"))
            elif image["id"] in self._objects:
                faults.append(self.fault(f"the image id {image['id']} is there twice"))
            else:
                self.images.append(image)
                self._objects[image["id"]] = []
        for entry in content["annotations"]:
            if not isinstance(entry, dict) or entry.get("image_id") not in self._objects:
                faults.append(self.fault(f"annotation {_number(entry)} is of no image of this file"))
            else:
                self._objects[entry["image_id"]].append(entry)
        if not self.images:
            faults.append(self.fault("lists no images"))
        if faults:
            raise DataError(faults)
        self.images.sort(key=lambda image: int(image["id"]))

    def objects(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The annotations of an image, in the order of the file.

        Raises:
            DataError: one of them cannot be used.
        """
        objects = self._objects[image["id"]]
        faults = [fault for entry in objects for fault in self._check(entry, image)]
        if faults:
            raise DataError(faults)
        return objects

    def match(self, labels: Sequence[str]) -> dict[int, int]:
        """Number of each category -> index of the label of that name. Label 0 is the background's.

        Raises:
            DataError: there is a category that no label has.
        """
        known = ["" if label == _NO_CATEGORY else label for label in labels[1:]]
        places = match_labels(list(self.categories.values()), known, self.path)
        return {number: place + 1 for number, place in zip(self.categories, places, strict=True)}

    def fault(self, message: str) -> Fault:
        """A fault of this file."""
        return Fault(self.path, message)

    def _check(self, entry: Mapping[str, Any], image: Mapping[str, Any]) -> Iterator[Fault]:
        box, number = entry.get("bbox"), _number(entry)
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)):
            yield self.fault(f"annotation {number}: bbox must be [x, y, width, height], not {box!r}")
        elif box[2] < 0 or box[3] < 0:
            yield self.fault(f"annotation {number}: a box with negative width or height: {box}")
        elif "width" in image and "height" in image:
            width, height = image["width"], image["height"]
            # Published boxes reach over the edge by a fraction of a pixel.
            if min(box[0], box[1]) < -1 or box[0] + box[2] > width + 1 or box[1] + box[3] > height + 1:
                yield self.fault(
                    f"annotation {number}: the box {box} lies outside its image of {width} x {height} pixels"
                )
        if entry.get("category_id") not in self.categories:
            yield self.fault(f"annotation {number}: there is no category {entry.get('category_id')!r}")
        if len(entry.get("keypoints", ())) % 3:
            yield self.fault(f"annotation {number}: keypoints must be x, y, visibility for each, in one list")


def coco_split(folder: Path, kind: str, split: str) -> tuple[Path, Path]:
    """The folder of images and the annotations of a split, as COCO publishes them: ``val2017/`` beside
    ``annotations/instances_val2017.json``.

    Args:
        folder: holds ``annotations``.
        kind: ``"instances"`` or ``"person_keypoints"``.
        split: ``"val"``; of several years the last is taken.

    Raises:
        DataError: there is no such file; the message lists those there are.
    """
    found = sorted((folder / "annotations").glob(f"{kind}_{split}*.json"))
    if not found:
        there = ", ".join(sorted(path.name for path in (folder / "annotations").glob("*.json"))) or "none"
        raise DataError(Fault(folder / "annotations", f"has no {kind}_{split}*.json; of JSON files there are {there}"))
    name = found[-1].stem.removeprefix(f"{kind}_")
    candidates = (folder / name, folder / "images" / name, folder / split, folder / "images" / split, folder / "images")
    return next((candidate for candidate in candidates if candidate.is_dir()), folder), found[-1]


def decode_mask(segmentation: Any, size: tuple[int, int]) -> "Tensor":
    """The mask of an object, from its polygons or run lengths.

    Args:
        segmentation: as the file has it: a list of polygons (``[x1, y1, x2, y2, ...]``), or a dict with ``counts``.
        size: height and width of the image.

    Returns:
        bool Tensor[height, width].

    Raises:
        zoo_core.extras.MissingExtraError: pycocotools is not installed.
        ValueError: it is neither.
    """
    import torch

    return torch.from_numpy(_masks().decode(compressed(segmentation, size))).bool()


def compressed(segmentation: Any, size: tuple[int, int]) -> Any:
    """Polygons, or run lengths of either form, as pycocotools' compressed run lengths.

    Args:
        segmentation, size: see :func:`decode_mask`, as what is raised.
    """
    masks = _masks()
    if isinstance(segmentation, list):
        return masks.merge(masks.frPyObjects(segmentation, *size))
    if isinstance(segmentation, dict):
        return masks.frPyObjects(segmentation, *size) if isinstance(segmentation.get("counts"), list) else segmentation
    raise ValueError(f"a segmentation is a list of polygons or a dict of run lengths, not {segmentation!r}")


def _masks() -> ModuleType:
    return require("pycocotools.mask", extra="coco", purpose="to read COCO's masks")


def _number(entry: Any) -> Any:
    return entry.get("id", "without id") if isinstance(entry, dict) else repr(entry)[:50]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(Fault(path, "no such file")) from error
    except json.JSONDecodeError as error:
        raise DataError(Fault(path, f"no valid JSON: {error.msg}", error.lineno)) from error
    except (UnicodeDecodeError, RecursionError, OSError) as error:
        raise DataError(Fault(path, f"cannot be read: {error}")) from error
    lists = ("images", "annotations", "categories")
    lacking = [key for key in lists if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if lacking:
        raise DataError(Fault(path, f"lacks the lists {', '.join(lacking)} of COCO's form"))
    return dict(content)
