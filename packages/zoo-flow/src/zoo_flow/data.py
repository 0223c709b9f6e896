"""Data sets of optical flow as they lie on disk: Sintel, KITTI 2015, FlyingChairs, and one's own pairs."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_core.data import (
    DataError,
    Dataset,
    Fault,
    LabelledSample,
    doubled,
    files_in,
    find_split,
    read_lines,
    subfolders,
)
from zoo_core.tasks import IMAGE_SUFFIXES
from zoo_flow.flo import read_flow

__all__ = ["FlowPairs", "chairs", "kitti", "open_flow_data", "own_pairs", "sintel"]


def open_flow_data(folder: Path, split: str | None = None) -> Dataset:
    """Opens a data set of any layout that is known here; see :func:`sintel`, :func:`kitti`, :func:`chairs` and
    :func:`own_pairs`.

    Args:
        folder: the data set's folder.
        split: which part of it: ``"clean"`` or ``"final"`` of Sintel, ``"train"`` or ``"val"`` of FlyingChairs, a
            folder of one's own; by default the first, and FlyingChairs' second. Sintel and KITTI publish true flow for
            training only.

    Raises:
        DataError: the folder has none of these layouts, or what it has is at fault.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(Fault(folder, "no such folder"))
    for root in (folder, folder / "training"):
        if (root / "flow").is_dir() and ((root / "clean").is_dir() or (root / "final").is_dir()):
            return sintel(root, "clean" if split in (None, "train", "val") else str(split))
        if (root / "image_2").is_dir():
            return kitti(root)
    for root in (folder, folder / "data"):
        if next(root.glob("*_flow.flo"), None) is not None:
            return chairs(folder, split or "val")
    return own_pairs(find_split(folder, split or "val"))


class FlowPairs(Dataset):
    """Pairs of images with a file of the flow from the first to the second.

    Truths are float32 Tensor[2, H, W]: displacement of each pixel, x and y, in pixels; NaN where that is
    not known.

    Args:
        root: what names are relative to.
        pairs: first image, second image, flow.
        published_as: name of the data set in the catalogue.
        options: those with which figures on it are published.
        faults: what was found on the way.

    Raises:
        DataError: there are faults, a file is missing, or there are no pairs.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[tuple[Path, Path, Path]],
        published_as: str | None = None,
        options: Mapping[str, Any] | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        self.root = root
        self.published_as = published_as
        self.options = options or {}
        missing = dict.fromkeys(path for pair in pairs for path in pair if not path.is_file())
        self._pairs = [pair for pair in pairs if missing.keys().isdisjoint(pair)]
        faults = [*faults, *(Fault(path, "no such file, which its pair needs") for path in missing)]
        if not pairs and not faults:
            faults = [Fault(root, "no pairs of images with a flow are here")]
        if faults:
            raise DataError(faults, self if self._pairs else None)

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        return self._pairs[index][0].relative_to(self.root).as_posix()

    def sample(self, index: int) -> LabelledSample:
        first, second, flow = self._pairs[index]
        try:
            truth = read_flow(flow)
        except (ValueError, OSError) as error:
            raise DataError(Fault(flow, str(error).removeprefix(f"{flow}: "))) from error
        return LabelledSample(self.name(index), (first, second), truth)


def sintel(root: Path, render: str = "clean") -> FlowPairs:
    """`MPI Sintel <http://sintel.is.tue.mpg.de/>`__: ``clean/alley_1/frame_0001.png`` beside
    ``flow/alley_1/frame_0001.flo``. Figures on it are published with 32 updates of the flow.

    Args:
        root: the folder ``training``.
        render: ``"clean"`` or ``"final"``.

    Raises:
        DataError: a folder is missing, or a frame has no flow.
    """
    if not (root / render).is_dir():
        raise DataError(Fault(root / render, "no such folder, which Sintel has for this pass"))
    pairs = []
    for scene in subfolders(root / render):
        for first, second in itertools.pairwise(sorted(scene.glob("*.png"))):
            pairs.append((first, second, root / "flow" / scene.name / f"{first.stem}.flo"))
    complete = len(pairs) == 1041
    name = f"Sintel-Train-{render.capitalize()}pass" if complete else None
    return FlowPairs(root, pairs, name, options={"updates": 32})


def kitti(root: Path) -> FlowPairs:
    """`KITTI 2015 <https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php?benchmark=flow>`__:
    ``image_2/000000_10.png`` and ``000000_11.png`` beside ``flow_occ/000000_10.png``. Figures on it are
    published with 24 updates of the flow.

    Args:
        root: the folder ``training``.

    Raises:
        DataError: a folder is missing, or an image has no flow.
    """
    firsts = sorted((root / "image_2").glob("*_10.png"))
    pairs = [
        (first, first.with_name(first.name.replace("_10.png", "_11.png")), root / "flow_occ" / first.name)
        for first in firsts
    ]
    return FlowPairs(root, pairs, "Kitti-Train" if len(pairs) == 200 else None, options={"updates": 24})


def chairs(folder: Path, split: str = "val") -> FlowPairs:
    """`FlyingChairs <https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs.en.html>`__:
    ``data/00001_img1.ppm``, ``00001_img2.ppm`` and ``00001_flow.flo``.

    Args:
        folder: holds ``data``, and ``FlyingChairs_train_val.txt`` (1 for training, 2 for validation, a line for each
            pair); without that file all pairs are taken.
        split: ``"train"`` or ``"val"``.

    Raises:
        DataError: an image is missing, or the list has another length.
    """
    root = folder / "data" if (folder / "data").is_dir() else folder
    flows = sorted(root.glob("*_flow.flo"))
    names = next((path for path in (folder.glob("*_train_val.txt"))), None)
    if names is not None:
        lines = read_lines(names)
        marks = [mark for _, mark in lines]
        if wrong := [number for number, mark in lines if mark not in ("1", "2")]:
            raise DataError(Fault(names, "a line must be 1, for training, or 2, for validation", wrong[0]))
        if len(marks) != len(flows):
            raise DataError(Fault(names, f"has {len(marks)} lines, but there are {len(flows)} pairs in {root}"))
        wanted = "1" if split == "train" else "2"
        flows = [flow for flow, mark in zip(flows, marks, strict=True) if mark == wanted]

    def image(flow: Path, number: int) -> Path:
        return flow.with_name(re.sub(r"_flow\.flo$", f"_img{number}.ppm", flow.name))

    return FlowPairs(root, [(image(flow, 1), image(flow, 2), flow) for flow in flows])


def own_pairs(folder: Path) -> FlowPairs:
    """One's own pairs: ``frames/0001.png``, ``0002.png``, ... beside ``flow/0001.flo`` (or a PNG file as KITTI's).

    A flow leads from the frame of its name to the next one in the order of names; folders of scenes may lie between.

    Raises:
        DataError: a folder is missing, a flow has no frame of its name, or no frame comes after that.
    """
    frames, flows = folder / "frames", folder / "flow"
    for needed in (frames, flows):
        if not needed.is_dir():
            raise DataError(
                Fault(
                    folder,
                    "no data set of flow that is known: expected Sintel's, KITTI's or FlyingChairs' folders, or images "
                    "in frames/ beside flow/ with a .flo or KITTI's .png file for each pair",
                )
            )
    next_of: dict[Path, tuple[Path, Path | None]] = {}
    images = files_in(frames, IMAGE_SUFFIXES)
    faults = doubled(images)
    for _, scene in itertools.groupby(images, key=lambda path: path.parent):
        files = list(scene)
        for first, second in itertools.zip_longest(files, files[1:]):
            next_of[first.relative_to(frames).with_suffix("")] = (first, second)
    truths = files_in(flows, {".flo", ".png"})
    faults += doubled(truths)
    pairs = []
    for flow in truths:
        first, second = next_of.get(flow.relative_to(flows).with_suffix(""), (None, None))
        if first is None or second is None:
            lacks = "there is no frame of its name" if first is None else "no frame comes after that of its name"
            faults.append(Fault(flow, f"{lacks} in {frames}"))
        else:
            pairs.append((first, second, flow))
    return FlowPairs(folder, pairs, faults=faults)
