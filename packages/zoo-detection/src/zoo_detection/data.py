"""Data sets of boxes, masks and keypoints as they lie on disk: COCO's JSON, Pascal VOC's XML, YOLO's text files."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog.labels import BACKGROUND
from zoo_core.data import (
    DataError,
    Dataset,
    Fault,
    LabelledSample,
    doubled,
    files_in,
    find_split,
    match_labels,
    read_lines,
)
from zoo_core.data.coco import NO_CATEGORY, CocoAnnotations, coco_split
from zoo_core.images.bands import size_of_bands
from zoo_core.images.files import upright_size
from zoo_core.tasks import IMAGE_SUFFIXES
from zoo_detection.yolo_names import yolo_names

__all__ = ["CocoDetection", "VocDetection", "YoloDetection", "labels_in", "open_detection_data"]

_COCO_VAL_SIZE = 5_000


def open_detection_data(
    folder: Path, labels: Sequence[str], split: str = "val", annotations: Path | None = None
) -> Dataset:
    """Opens a data set of any layout that is known here.

    - COCO: ``val2017/`` beside ``annotations/instances_val2017.json`` (or ``person_keypoints_val2017.json``, for
      labels that are COCO's two of persons), or any folder of images with the JSON file ``annotations``.
    - Pascal VOC: ``JPEGImages/``, ``Annotations/`` and ``ImageSets/Main/val.txt``.
    - YOLO: ``images/val/`` beside ``labels/val/``, or ``val/images`` beside ``val/labels``.

    Args:
        folder: the data set's folder.
        labels: name of each class as the model has them, the background first.
        split: which part of it.
        annotations: a JSON file in COCO's form; image files are found below ``folder``.

    Raises:
        DataError: the folder has none of these layouts, or what it has is at fault.
    """
    folder = Path(folder)
    if annotations is not None:
        return CocoDetection(folder, Path(annotations), labels)
    if not folder.is_dir():
        raise DataError(Fault(folder, "no such folder"))
    if (folder / "annotations").is_dir():
        kind = "person_keypoints" if list(labels[1:]) == ["person"] else "instances"
        return CocoDetection(*coco_split(folder, kind, split), labels)
    if (folder / "Annotations").is_dir():
        return VocDetection(folder, labels, split)
    if any((folder / part).is_dir() for part in ("labels", f"{split}/labels", f"labels/{split}")):
        return YoloDetection(folder, labels, split)
    raise DataError(
        Fault(
            folder,
            "no annotations are here: expected COCO's annotations/*.json, Pascal VOC's Annotations/*.xml or YOLO's "
            "labels/*.txt; --annotations FILE names a JSON file that lies elsewhere",
        )
    )


def labels_in(folder: Path, split: str = "val") -> tuple[str, ...] | None:
    """The names of the classes that a data set has itself, the background first; ``None`` where it has no list of them.

    Args:
        folder: in COCO's or YOLO's layout, see :func:`open_detection_data`.
        split: which part of it.

    Raises:
        DataError: COCO's JSON is at fault.
    """
    folder = Path(folder)
    names: Sequence[str] = ()
    if (folder / "annotations").is_dir():
        categories = CocoAnnotations(coco_split(folder, "instances", split)[1]).categories
        names = [categories[number] for number in sorted(categories)]
    elif (classes := folder / "classes.txt").is_file():
        names = [line for _, line in read_lines(classes)]
    elif (listed := folder / "data.yaml").is_file():
        names = yolo_names(listed)
    return (BACKGROUND, *names) if names else None


class CocoDetection(Dataset):
    """Images with a JSON file in `COCO's form <https://cocodataset.org/#format-data>`__.

    Truths are dicts of ``boxes`` (float32 Tensor[N, 4], ``x1, y1, x2, y2`` in pixels), ``labels`` (int64 Tensor[N]),
    ``iscrowd`` (bool Tensor[N]) and ``area`` (float32 Tensor[N], that of the mask, by which COCO calls objects small,
    medium or large). Where the file has them for any object of the image there are ``segmentations`` (polygons or run
    lengths, as in the file, ``None`` for an object without) and ``keypoints`` (float32 Tensor[N, K, 3], 0 for an object
    without). ``size`` is height and width of the image, if the file says them. Images without objects count.

    Args:
        folder: where the images are.
        annotations: the JSON file.
        labels: name of each class as the model has them, the background first.

    Raises:
        DataError: the file is no such JSON, lacks what it must have, or its categories are not among the labels.
    """

    def __init__(self, folder: Path, annotations: Path, labels: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.labels = tuple(labels)
        self._file = CocoAnnotations(annotations)
        self._label_of = self._file.match(self.labels)
        if self._file.path.name.endswith("_val2017.json") and len(self) == _COCO_VAL_SIZE:
            self.published_as = "COCO-val2017"

    def __len__(self) -> int:
        return len(self._file.images)

    def name(self, index: int) -> str:
        return str(self._file.images[index]["file_name"])

    def sample(self, index: int) -> LabelledSample:
        image = self._file.images[index]
        file = self.folder / image["file_name"]
        if not file.is_file():
            raise DataError(Fault(file, f"no such file, which {self._file.path.name} lists"))
        objects = self._file.objects(image)
        boxes = [[x, y, x + width, y + height] for x, y, width, height in (entry["bbox"] for entry in objects)]
        labels = [self._label_of[entry["category_id"]] for entry in objects]
        truth = _truth(boxes, labels, [bool(entry.get("iscrowd", 0)) for entry in objects])
        truth["area"] = torch.tensor([entry.get("area", math.prod(entry["bbox"][2:])) for entry in objects]).float()
        if "height" in image and "width" in image:
            truth["size"] = (image["height"], image["width"])
            if any(entry.get("segmentation") for entry in objects):
                truth["segmentations"] = [entry.get("segmentation") or None for entry in objects]
        points = [entry.get("keypoints") or [] for entry in objects]
        if count := max(map(len, points), default=0):
            if any(len(numbers) not in (0, count) for numbers in points):
                raise DataError(self._file.fault(f"the image {image['id']} has objects of different keypoints"))
            padded = [numbers or [0] * count for numbers in points]
            truth["keypoints"] = torch.tensor(padded, dtype=torch.float32).reshape(len(points), -1, 3)
        return LabelledSample(image["file_name"], (file,), truth)


class VocDetection(Dataset):
    """`Pascal VOC <http://host.robots.ox.ac.uk/pascal/VOC/>`__: an XML file for each image, lists of names for splits.

    Truths are as those of :class:`CocoDetection`, with ``iscrowd`` for objects that are marked as difficult: finding
    them counts neither way. VOC counts pixels from 1 and includes the last one; boxes here span ``x1 - 1`` to ``x2``.

    Args:
        folder: has ``JPEGImages`` and ``Annotations``; without ``ImageSets/Main/SPLIT.txt`` all images are taken.
        labels: name of each class as the model has them, the background first.
        split: name of the list.

    Raises:
        DataError: a folder or file is missing.
    """

    def __init__(self, folder: Path, labels: Sequence[str], split: str = "val") -> None:
        self.folder = Path(folder)
        self.labels = tuple(labels)
        self._label_of: dict[str, int] = {}
        images = self.folder / "JPEGImages"
        if not images.is_dir():
            raise DataError(Fault(images, "no such folder, in which Pascal VOC has its images"))
        files = files_in(images, IMAGE_SUFFIXES)
        by_stem = {file.stem: file for file in files}
        lists = self.folder / "ImageSets" / "Main"
        if lists.is_dir():
            names = _names_in(lists, split)
        else:
            names = [(file.stem, None, 0) for file in (self.folder / "Annotations").glob("*.xml")]
        self._items: list[tuple[Path, Path]] = []
        listed = {name for name, _, _ in names}
        faults = doubled((file for file in files if file.stem in listed), key=lambda file: file.stem)
        seen: dict[str, int] = {}
        for name, source, line in sorted(names, key=lambda item: item[0]):
            annotation = self.folder / "Annotations" / f"{name}.xml"
            if seen.setdefault(name, line) != line:
                faults.append(Fault(source or annotation, f"{name} is in line {seen[name]} already", line))
            elif name not in by_stem:
                faults.append(Fault(source or annotation, f"there is no image {name} in {images}", line or None))
            elif not annotation.is_file():
                faults.append(Fault(annotation, "no such file, which the image of that name needs"))
            else:
                self._items.append((by_stem[name], annotation))
        if not names:
            faults.append(Fault(self.folder / "Annotations", "no annotation is here"))
        if faults:
            raise DataError(faults, self if self._items else None)

    def __len__(self) -> int:
        return len(self._items)

    def name(self, index: int) -> str:
        return self._items[index][0].name

    def sample(self, index: int) -> LabelledSample:
        file, annotation = self._items[index]
        boxes, labels, difficult = [], [], []
        try:
            root = ElementTree.parse(annotation).getroot()
        except ElementTree.ParseError as error:
            raise DataError(Fault(annotation, f"no valid XML: {error.msg}", error.position[0])) from error
        except (OSError, ValueError, LookupError) as error:  # the last two: of an encoding that is none
            raise DataError(Fault(annotation, f"cannot be read: {error}")) from error
        for found in root.iter("object"):
            name = (found.findtext("name") or "").strip()
            box = found.find("bndbox")
            try:
                if box is None:
                    raise ValueError("it has no bndbox")
                x1, y1, x2, y2 = (float(box.findtext(side) or "") for side in ("xmin", "ymin", "xmax", "ymax"))
                if not all(map(math.isfinite, (x1, y1, x2, y2))):
                    raise ValueError(f"its box {x1:g}, {y1:g}, {x2:g}, {y2:g} is no box")
                if x2 < x1 or y2 < y1:
                    raise ValueError(f"its box {x1:g}, {y1:g}, {x2:g}, {y2:g} has its corners swapped")
            except ValueError as error:
                raise DataError(Fault(annotation, f"the object {name!r}: {error}")) from error
            boxes.append([x1 - 1, y1 - 1, x2, y2])
            labels.append(self._label(name, annotation))
            difficult.append((found.findtext("difficult") or "0").strip() == "1")
        return LabelledSample(file.name, (file,), _truth(boxes, labels, difficult))

    def _label(self, name: str, where: Path) -> int:
        if name not in self._label_of:
            (index,) = match_labels([name], self.labels[1:], where)
            self._label_of[name] = index + 1
        return self._label_of[name]


def _names_in(lists: Path, split: str) -> list[tuple[str, Path | None, int]]:
    file = lists / f"{split}.txt"
    if not file.is_file():
        there = ", ".join(path.stem for path in sorted(lists.glob("*.txt"))) or "none"
        raise DataError(Fault(file, f"no such list of images; there are {there}"))
    return [(line.split()[0], file, number) for number, line in read_lines(file)]


class YoloDetection(Dataset):
    """YOLO's text files: one beside each image, with a line ``class x y width height`` for each object.

    Numbers are shares of the image's width and height; ``x`` and ``y`` are the middle of the box. A line with more of
    them is a polygon, ``class x1 y1 x2 y2 ...``, whose bounding box is taken. An image without a file, or with an
    empty one, has no objects. Truths are as those of :class:`CocoDetection`.

    Args:
        folder: has ``images/SPLIT`` beside ``labels/SPLIT``, ``SPLIT/images`` beside ``SPLIT/labels``, or ``images``
            beside ``labels``. ``classes.txt`` has the names of the classes, a line each, or ``data.yaml`` has them
            under ``names``; without either, class 0 is the model's first label after the background, and numbers that
            COCO never gave to a category are left out.
        labels: name of each class as the model has them, the background first.
        split: which part of it.

    Raises:
        DataError: there are no images, or the classes are not among the labels.
    """

    def __init__(self, folder: Path, labels: Sequence[str], split: str = "val") -> None:
        self.folder = Path(folder)
        self.labels = tuple(labels)
        if (self.folder / "images").is_dir():
            self._images = find_split(self.folder / "images", split)
            self._texts = self.folder / "labels" / self._images.relative_to(self.folder / "images")
        else:
            root = find_split(self.folder, split)
            self._images, self._texts = root / "images", root / "labels"
        self._files = files_in(self._images, IMAGE_SUFFIXES)
        if not self._files:
            raise DataError(Fault(self._images, "no images are here"))
        self._label_of = self._match()
        if faults := doubled(self._files):
            self._files = [file for file in self._files if file not in {fault.path for fault in faults}]
            raise DataError(faults, self)

    def _match(self) -> list[int]:
        """The label of each class."""
        lists = [self.folder / "classes.txt", self._texts / "classes.txt", self.folder / "data.yaml"]
        classes = next((path for path in lists if path.is_file()), None)
        if classes is None:
            return [index for index, label in enumerate(self.labels) if index and label != NO_CATEGORY]
        names = yolo_names(classes) if classes.suffix == ".yaml" else [line for _, line in read_lines(classes)]
        return [index + 1 for index in match_labels(names, self.labels[1:], classes)]

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index].relative_to(self._images).as_posix()

    def sample(self, index: int) -> LabelledSample:
        file = self._files[index]
        below = file.relative_to(self._images)
        text = (self._texts / below).with_suffix(".txt")
        boxes: list[list[float]] = []
        labels: list[int] = []
        if text.is_file():
            try:
                width, height = size_of_bands(file) or upright_size(file)
            except (ValueError, OSError) as error:
                raise DataError(Fault(file, str(error).removeprefix(f"{file}: "))) from error
            faults = []
            for number, line in read_lines(text):
                try:
                    label, box = self._parse(line)
                except ValueError as error:
                    faults.append(Fault(text, str(error), number))
                    continue
                labels.append(label)
                boxes.append([box[0] * width, box[1] * height, box[2] * width, box[3] * height])
            if faults:
                raise DataError(faults)
        return LabelledSample(below.as_posix(), (file,), _truth(boxes, labels, [False] * len(labels)))

    def _parse(self, line: str) -> tuple[int, tuple[float, float, float, float]]:
        """The label, and the corners as shares of the image's size."""
        first, *rest = line.split()
        if not first.isdecimal() or int(first) >= len(self._label_of):
            raise ValueError(f"there is no class {first!r}: they are numbered from 0 to {len(self._label_of) - 1}")
        try:
            numbers = [float(word) for word in rest]
        except ValueError as error:
            raise ValueError(f"expected numbers behind the class, not {' '.join(rest)!r}") from error
        if len(numbers) == 4:
            x, y, width, height = numbers
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(numbers) >= 6 and len(numbers) % 2 == 0:
            corners = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
        else:
            raise ValueError(f"expected x y width height, or the corners of a polygon, not {len(numbers)} numbers")
        if not all(-0.01 <= corner <= 1.01 for corner in corners):
            raise ValueError("the box lies outside its image: numbers are shares of its width and height, in [0, 1]")
        return self._label_of[int(first)], corners


def _truth(boxes: Sequence[Sequence[float]], labels: Sequence[int], ignored: Sequence[bool]) -> dict[str, Any]:
    corners: Tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": corners,
        "labels": torch.tensor(labels, dtype=torch.int64),
        "iscrowd": torch.tensor(ignored, dtype=torch.bool),
        "area": (corners[:, 2:] - corners[:, :2]).prod(dim=1),
    }
