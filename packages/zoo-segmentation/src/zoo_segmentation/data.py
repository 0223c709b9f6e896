"""Data sets of label maps as they lie on disk: Pascal VOC, pairs of folders, COCO's images with VOC's classes."""

from collections.abc import Sequence
from pathlib import Path

import torch

from zoo_core.data import (
    DataError,
    Dataset,
    Fault,
    LabelledSample,
    doubled,
    files_in,
    find_split,
    read_lines,
)
from zoo_core.data.coco import CocoAnnotations, coco_split, decode_mask
from zoo_core.tasks import IMAGE_SUFFIXES
from zoo_segmentation.masks import VOID, read_mask

__all__ = ["CocoSegmentation", "MaskFolders", "VocSegmentation", "open_segmentation_data"]

# COCO's names for those of Pascal VOC's classes that it calls otherwise.
_VOC_NAMES = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}
_COCO_VAL_SIZE = 5_000


def open_segmentation_data(
    folder: Path, labels: Sequence[str], split: str = "val", annotations: Path | None = None
) -> Dataset:
    """Opens a data set of any layout that is known here.

    - Pascal VOC: ``JPEGImages/``, ``SegmentationClass/`` and ``ImageSets/Segmentation/val.txt``.
    - COCO: ``val2017/`` beside ``annotations/instances_val2017.json``, of which the classes of Pascal VOC are taken.
    - Pairs: ``images/`` beside ``masks/`` (``labels/``, ``annotations/``), with or without a folder for each split
      above or below them; a mask has its image's name and is a PNG file.

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
        return CocoSegmentation(folder, Path(annotations), labels)
    if not folder.is_dir():
        raise DataError(Fault(folder, "no such folder"))
    if (folder / "SegmentationClass").is_dir():
        return VocSegmentation(folder, labels, split)
    if any((folder / "annotations").glob("instances_*.json")):
        return CocoSegmentation(*coco_split(folder, "instances", split), labels)
    return MaskFolders(folder, labels, split)


class _LabelMaps(Dataset):
    """Pairs of an image and a label map.

    Raises:
        DataError: there are faults, which were found on the way.
    """

    def __init__(
        self, root: Path, pairs: Sequence[tuple[Path, Path]], labels: Sequence[str], faults: Sequence[Fault]
    ) -> None:
        self.root = root
        self.labels = tuple(labels)
        self._pairs = pairs
        if faults:
            raise DataError(faults, self if pairs else None)

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        return self._pairs[index][0].relative_to(self.root).as_posix()

    def sample(self, index: int) -> LabelledSample:
        """The image, and the class of each of its pixels: Tensor[H, W] of integers, 255 where none counts."""
        image, mask = self._pairs[index]
        try:
            truth = read_mask(mask)
        except (ValueError, OSError) as error:
            raise DataError(Fault(mask, str(error).removeprefix(f"{mask}: "))) from error
        classes = truth[truth != VOID]
        if classes.numel() and int(classes.max()) >= len(self.labels):
            raise DataError(
                Fault(mask, f"has the class {int(classes.max())}, but the model's end at {len(self.labels) - 1}")
            )
        return LabelledSample(self.name(index), (image,), truth)


class VocSegmentation(_LabelMaps):
    """`Pascal VOC <http://host.robots.ox.ac.uk/pascal/VOC/>`__: indexed PNG files in ``SegmentationClass``.

    Args:
        folder: has ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation``.
        labels: name of each class as the model has them, the background first.
        split: name of the list in ``ImageSets/Segmentation``.

    Raises:
        DataError: a folder or file is missing; the message names the list's line.
    """

    def __init__(self, folder: Path, labels: Sequence[str], split: str = "val") -> None:
        folder = Path(folder)
        names = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not names.is_file():
            there = ", ".join(path.stem for path in sorted(names.parent.glob("*.txt"))) or "none"
            raise DataError(Fault(names, f"no such list of images; there are {there}"))
        pairs, faults = [], []
        seen: dict[str, int] = {}
        for number, name in read_lines(names):
            pair = folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png"
            found = [Fault(names, f"there is no {path}", number) for path in pair if not path.is_file()]
            if seen.setdefault(name, number) != number:
                found = [Fault(names, f"{name} is in line {seen[name]} already", number)]
            faults += found
            if not found:
                pairs.append(pair)
        if not seen:
            faults.append(Fault(names, "lists no images"))
        super().__init__(folder / "JPEGImages", pairs, labels, faults)


class MaskFolders(_LabelMaps):
    """A folder of images beside one of masks, PNG files of the same names whose numbers are classes.

    Args:
        folder: has ``images`` beside ``masks``, ``labels`` or ``annotations``, with splits above or below them.
        labels: name of each class as the model has them.
        split: which part of it.

    Raises:
        DataError: a folder is missing, or an image has no mask.
    """

    _MASKS = ("masks", "labels", "annotations", "annotation")

    def __init__(self, folder: Path, labels: Sequence[str], split: str = "val") -> None:
        folder = Path(folder)
        root = folder if (folder / "images").is_dir() else find_split(folder, split)
        images = root / "images"
        masks = next((root / name for name in self._MASKS if (root / name).is_dir()), None)
        if not images.is_dir() or masks is None:
            raise DataError(Fault(root, f"expected folders images and {' or '.join(self._MASKS)} side by side"))
        images = find_split(images, split)
        masks = masks / images.relative_to(root / "images")
        files = files_in(images, IMAGE_SUFFIXES)
        faults = doubled(files) if files else [Fault(images, "no images are here")]
        left_out = {fault.path for fault in faults}
        pairs = []
        for image in files:
            mask = (masks / image.relative_to(images)).with_suffix(".png")
            if not mask.is_file():
                faults.append(Fault(image, f"has no mask {mask}"))
            elif image not in left_out:
                pairs.append((image, mask))
        super().__init__(images, pairs, labels, faults)


class CocoSegmentation(Dataset):
    """COCO's images with the classes of Pascal VOC, which the published figures of segmentation models are of.

    Objects of the classes that Pascal VOC has are painted, crowds included; a pixel in several of them is void (255).
    All images of the split count, also those without such objects.

    Args:
        folder: where the images are.
        annotations: the JSON file, ``instances_val2017.json``.
        labels: name of each class as the model has them, the background first, in the names of Pascal VOC or of COCO.

    Raises:
        DataError: the file is no such JSON, or has none of the classes.
    """

    def __init__(self, folder: Path, annotations: Path, labels: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.labels = tuple(labels)
        self._file = CocoAnnotations(annotations)
        indices = {label: index for index, label in enumerate(self.labels)}
        named = {number: _VOC_NAMES.get(name, name) for number, name in self._file.categories.items()}
        self._label_of = {
            number: indices[name if name in indices else self._file.categories[number]]
            for number, name in named.items()
            if name in indices or self._file.categories[number] in indices
        }
        if not self._label_of:
            raise DataError(self._file.fault(f"has no category that is among the labels {', '.join(self.labels[:8])}"))
        if self._file.path.name.endswith("_val2017.json") and len(self) == _COCO_VAL_SIZE:
            self.published_as = "COCO-val2017-VOC-labels"

    def __len__(self) -> int:
        return len(self._file.images)

    def name(self, index: int) -> str:
        return str(self._file.images[index]["file_name"])

    def sample(self, index: int) -> LabelledSample:
        image = self._file.images[index]
        file = self.folder / image["file_name"]
        if not file.is_file():
            raise DataError(Fault(file, f"no such file, which {self._file.path.name} lists"))
        height, width = image.get("height"), image.get("width")
        if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
            raise DataError(self._file.fault(f"the image {image['id']} has no height and width"))
        size = height, width
        truth = torch.zeros(size, dtype=torch.uint8)
        taken = torch.zeros(size, dtype=torch.bool)
        for entry in self._file.objects(image):
            if entry["category_id"] not in self._label_of:
                continue
            try:
                mask = decode_mask(entry.get("segmentation"), size)
            except ValueError as error:
                raise DataError(self._file.fault(f"annotation {entry.get('id')}: {error}")) from error
            truth[mask] = self._label_of[entry["category_id"]]
            truth[mask & taken] = VOID
            taken |= mask
        return LabelledSample(image["file_name"], (file,), truth)
