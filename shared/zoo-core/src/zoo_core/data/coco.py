"""Annotations in `COCO's form <https://cocodataset.org/#format-data>`__: one JSON file for all images."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo_core.data.classes import match_labels
from zoo_core.data.faults import DataError, Fault, MissingSplitError
from zoo_core.extras import require

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NO_CATEGORY", "CocoAnnotations", "coco_split", "compressed", "decode_mask"]

NO_CATEGORY = "N/A"
"""What a list of COCO's 91 categories says where a number was never given to one."""


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
        self.categories = self._categories(content["categories"])
        self.images: list[dict[str, Any]] = []
        self._objects: dict[int, list[dict[str, Any]]] = {}
        faults = []
        files: dict[str, int] = {}
        for image in content["images"]:
            problem = _problem_of_image(image)
            if problem is not None:
                faults.append(self.fault(problem))
            elif image["id"] in self._objects:
                faults.append(self.fault(f"the image id {image['id']} is there twice"))
            elif image["file_name"] in files:
                faults.append(
                    self.fault(
                        f"the images {files[image['file_name']]} and {image['id']} are both {image['file_name']}"
                    )
                )
            else:
                self.images.append(image)
                self._objects[image["id"]] = []
                files[image["file_name"]] = image["id"]
        numbers = set()
        for entry in content["annotations"]:
            number = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not _is_whole(entry.get("image_id")):
                faults.append(self.fault(f"annotation {_number(entry)} has no image_id, a whole number"))
            elif entry["image_id"] not in self._objects:
                faults.append(self.fault(f"annotation {_number(entry)} is of no image of this file"))
            elif number is not None and (not _is_whole(number) or number in numbers):
                faults.append(self.fault(f"the annotation id {number!r} is there twice, or is no whole number"))
            else:
                numbers.add(number)
                self._objects[entry["image_id"]].append(entry)
        if not self.images:
            faults.append(self.fault("lists no images"))
        if faults:
            raise DataError(faults)
        self.images.sort(key=lambda image: int(image["id"]))

    def _categories(self, entries: Sequence[Any]) -> dict[int, str]:
        found: dict[int, str] = {}
        for entry in entries:
            if not (isinstance(entry, dict) and _is_whole(entry.get("id")) and isinstance(entry.get("name"), str)):
                raise DataError(self.fault("categories must be a list of objects with id and name"))
            if entry["id"] in found:
                raise DataError(self.fault(f"the category id {entry['id']} is there twice"))
            found[entry["id"]] = entry["name"]
        return found

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
        known = ["" if label == NO_CATEGORY else label for label in labels[1:]]
        places = match_labels(list(self.categories.values()), known, self.path)
        return {number: place + 1 for number, place in zip(self.categories, places, strict=True)}

    def fault(self, message: str) -> Fault:
        """A fault of this file."""
        return Fault(self.path, message)

    def _check(self, entry: Mapping[str, Any], image: Mapping[str, Any]) -> Iterator[Fault]:
        box, number = entry.get("bbox"), _number(entry)
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
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
        if not _is_whole(entry.get("category_id")) or entry["category_id"] not in self.categories:
            yield self.fault(f"annotation {number}: there is no category {entry.get('category_id')!r}")
        if entry.get("iscrowd", 0) not in (0, 1):
            yield self.fault(f"annotation {number}: iscrowd must be 0 or 1, not {entry['iscrowd']!r}")
        if not _is_finite(entry.get("area", 0)):
            yield self.fault(f"annotation {number}: area must be a number, not {entry['area']!r}")
        points = entry.get("keypoints", [])
        if not isinstance(points, list) or len(points) % 3 or not all(map(_is_finite, points)):
            yield self.fault(f"annotation {number}: keypoints must be x, y, visibility for each, in one list")
        problem = _problem_of_segmentation(entry.get("segmentation") or [], image)
        if problem is not None:
            yield self.fault(f"annotation {number}: {problem}")


def _problem_of_image(image: Any) -> str | None:
    if not isinstance(image, dict) or not _is_whole(image.get("id")) or not isinstance(image.get("file_name"), str):
        return f"an image without id or file_name: {str(image)[:100]}"
    sides = [image[side] for side in ("width", "height") if side in image]
    if not all(_is_whole(side) and side > 0 for side in sides):
        return f"the image {image['id']} has the sides {sides}, and not whole numbers above 0"
    return None


def _problem_of_segmentation(segmentation: Any, image: Mapping[str, Any]) -> str | None:
    """What is wrong with polygons or run lengths, if anything is."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not (
                isinstance(polygon, list)
                and len(polygon) >= 6
                and not len(polygon) % 2
                and all(map(_is_finite, polygon))
            ):
                return "a polygon must be x1, y1, x2, y2, x3, y3, ... of three corners at least, in one list"
        return None
    if not isinstance(segmentation, dict) or "counts" not in segmentation or "size" not in segmentation:
        return f"a segmentation is a list of polygons or a dict of run lengths, not {str(segmentation)[:60]}"
    counts, size = segmentation["counts"], segmentation["size"]
    expected = [image.get("height"), image.get("width")]
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_whole, size))) or (
        None not in expected and size != expected
    ):
        return f"run lengths of the size {size}, and not {expected}, height and width of their image"
    if isinstance(counts, str):
        counts = _counts(counts)
    if isinstance(counts, list):
        if not all(_is_whole(count) and count >= 0 for count in counts) or sum(counts) != size[0] * size[1]:
            return f"run lengths that do not add up to {size[0]} x {size[1]} pixels"
    else:
        return "the counts of run lengths must be a list, or a text that is their compressed form"
    return None


def _counts(text: str) -> list[int] | None:
    """What compressed run lengths stand for; ``None`` if they are cut off or damaged.

    A number is written in groups of 5 bits, the lowest first, in characters from "0" on; bit 5 says that another
    follows, and bit 4 of the last one is the sign. From the fourth on, numbers are differences to the last but one.
    """
    counts: list[int] = []
    value = bits = 0
    for character in text:
        group = ord(character) - ord("0")
        if not 0 <= group < 64:
            return None
        value |= (group & 31) << bits
        bits += 5
        if not group & 32:
            if group & 16:
                value -= 1 << bits
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = bits = 0
    return None if bits else counts


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def coco_split(folder: Path, kind: str, split: str) -> tuple[Path, Path]:
    """The folder of images and the annotations of a split, as COCO publishes them: ``val2017/`` beside
    ``annotations/instances_val2017.json``.

    Args:
        folder: holds ``annotations``.
        kind: ``"instances"`` or ``"person_keypoints"``.
        split: ``"val"``; of several years the last is taken.

    Raises:
        MissingSplitError: there are files of other splits; the message lists them.
        DataError: there is none.
    """
    found = sorted((folder / "annotations").glob(f"{kind}_{split}*.json"))
    if not found:
        there = ", ".join(sorted(path.name for path in (folder / "annotations").glob("*.json"))) or "none"
        fault = Fault(folder / "annotations", f"has no {kind}_{split}*.json; of JSON files there are {there}")
        has_others = any((folder / "annotations").glob(f"{kind}_*.json"))
        raise MissingSplitError(fault) if has_others else DataError(fault)
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
        segmentation, size: see :func:`decode_mask`.

    Raises:
        zoo_core.extras.MissingExtraError: pycocotools is not installed.
        ValueError: it is neither.
    """
    masks = _masks()
    if not segmentation:
        raise ValueError("it has no segmentation")
    problem = _problem_of_segmentation(segmentation, {"height": size[0], "width": size[1]})
    if problem is not None:
        raise ValueError(problem)
    if isinstance(segmentation, list):
        return masks.merge(masks.frPyObjects(segmentation, *size))
    return masks.frPyObjects(segmentation, *size) if isinstance(segmentation["counts"], list) else segmentation


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
