"""Training steps on the CPU, alternately with a plain loop: samples a second, and peak memory.

The plain loop has torchvision's model, transforms v2 on PIL images (what those do not have, pairs with flow, is ours),
a DataLoader, torch's optimiser as it is by default, and nothing else. Ours is the loop of `zoo train`, with the same
files, batch, augmentation, optimiser and schedule; both read in the process that trains. The first columns are in
float32, as both are by default; the others in bfloat16 by autocast, of both, and of ours beside the plain one in
float32. Times are those of the processor, in one thread. The last column is what the process of a plain loop needs at
the most beside what it had after its imports, over ours.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) of the names for some of them only. With ZOO_BENCH_MEANS=1, a
second table leaves out what our loop does otherwise, one at a time.
"""

import contextlib
import dataclasses
import functools
import gc
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from tools import oracle
from tools.bench.measure import compare, in_process, measure_models, resident, table
from tools.bench.transforms import photo
from zoo_core.training import Job, Observer, fit, prepare
from zoo_core.training.samples import Subset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIDEO_MEAN, VIDEO_STD = MEAN, STD
SAMPLES, REPEATS = 8, 4000
SGD = {"opt": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 1e-4, "lr_scheduler": "constant", "epochs": 1}
ADAMW = {"opt": "adamw", "lr": 0.0001, "weight_decay": 1e-4, "lr_scheduler": "constant", "epochs": 1}


class Case(NamedTuple):
    """What is trained, in both ways."""

    write: Callable[[Path], None]
    settings: Mapping[str, Any]
    theirs: Callable[[Path, Job], "Dataset[Any]"]
    collate: Callable[[list[Any]], Any] | None
    loss: Callable[[nn.Module, Any], Tensor]
    arguments: Mapping[str, Any] = {}
    labels: tuple[str, ...] | None = None


# Data -----------------------------------------------------------------------------------------------------------------


def write_photos(folder: Path) -> None:
    for number in range(SAMPLES):
        path = folder / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(375, 500, number).save(path, quality=90)


def write_masks(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / "train" / kind).mkdir(parents=True)
    for number in range(SAMPLES):
        photo(375, 500, number).save(folder / "train" / "images" / f"{number}.jpg", quality=90)
        mask = Image.new("L", (500, 375))
        mask.paste(1 + number % 2, (100, 100, 300, 300))
        mask.save(folder / "train" / "masks" / f"{number}.png")


def write_boxes(folder: Path) -> None:
    (folder / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number in range(SAMPLES):
        photo(375, 500, number).save(folder / "train" / f"{number}.jpg", quality=90)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 500, "height": 375})
        for place, box in enumerate(([20, 30, 100, 120], [200, 100, 180, 200])):
            entry = {"id": 2 * number + place + 1, "image_id": number, "category_id": place + 1, "bbox": box}
            annotations.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))


def write_videos(folder: Path) -> None:
    import av

    for number in range(SAMPLES):
        path = folder / "train" / f"class{number % 2}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = photo(128, 171 + 5, number)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=15)
            stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
            for shift in range(16):
                frame = av.VideoFrame.from_image(image.crop((shift, 0, shift + 160, 128)))
                file.mux(stream.encode(frame))
            file.mux(stream.encode())


def write_pairs(folder: Path) -> None:
    from zoo_flow.flo import write_flo

    for number in range(SAMPLES):
        frames, flows = (folder / "train" / kind / f"scene{number}" for kind in ("frames", "flow"))
        frames.mkdir(parents=True)
        flows.mkdir(parents=True)
        image = photo(256, 330, number)
        image.crop((4, 0, 324, 256)).save(frames / "0.png")
        image.crop((0, 0, 320, 256)).save(frames / "1.png")
        write_flo(torch.tensor([4.0, 0.0])[:, None, None].expand(2, 256, 320), flows / "0.flo")


# The plain loop -------------------------------------------------------------------------------------------------------


class Plain(Dataset[Any]):
    """Samples by number, as often as they are asked for."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return SAMPLES * REPEATS

    def __getitem__(self, index: int) -> Any:
        return self.sample(index % SAMPLES)


def v2() -> Any:
    oracle.torchvision()
    from torchvision.transforms import v2 as transforms

    return transforms


def normalized(*first: Any) -> Any:
    t = v2()
    return t.Compose([*first, t.PILToTensor(), t.ToDtype(torch.float32, scale=True), t.Normalize(MEAN, STD)])


def plain_classification(folder: Path, job: Job) -> Plain:
    t = v2()
    files = sorted((folder / "train").glob("*/*.jpg"))
    augment = normalized(t.RandomResizedCrop(224, antialias=True), t.RandomHorizontalFlip())

    def sample(index: int) -> tuple[Tensor, int]:
        with Image.open(files[index]) as image:
            return augment(image.convert("RGB")), int(files[index].parent.name[-1])

    return Plain(sample)


def plain_segmentation(folder: Path, job: Job) -> Plain:
    t = v2()
    from torchvision import tv_tensors

    files = sorted((folder / "train" / "images").glob("*.jpg"))
    crop = t.RandomCrop(320, pad_if_needed=True, fill={tv_tensors.Mask: 255, "others": 0})
    augment = normalized(t.RandomResize(180, 720, antialias=True), t.RandomHorizontalFlip(), crop)

    def sample(index: int) -> tuple[Tensor, Tensor]:
        with Image.open(files[index]) as image, Image.open(files[index].parents[1] / "masks" / f"{index}.png") as mask:
            levels = tv_tensors.Mask(t.functional.pil_to_tensor(mask))
            augmented, found = augment(image.convert("RGB"), levels)
        return augmented, found[0].long()

    return Plain(sample)


def plain_detection(folder: Path, job: Job) -> Plain:
    t = v2()
    from torchvision import tv_tensors

    content = json.loads((folder / "annotations" / "instances_train.json").read_text())
    boxes: dict[int, list[Any]] = {}
    for entry in content["annotations"]:
        boxes.setdefault(entry["image_id"], []).append(entry["bbox"])
    augment = t.Compose([t.RandomHorizontalFlip(), t.PILToTensor(), t.ToDtype(torch.float32, scale=True)])
    sanitize = t.SanitizeBoundingBoxes()

    def sample(index: int) -> tuple[Tensor, dict[str, Tensor]]:
        corners = [[x, y, x + width, y + height] for x, y, width, height in boxes[index]]
        target = {
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(375, 500), dtype=torch.float32),
            "labels": torch.tensor([1, 2]),
        }
        with Image.open(folder / "train" / f"{index}.jpg") as image:
            augmented, target = sanitize(*augment(image.convert("RGB"), target))
        return augmented, {"boxes": target["boxes"].as_subclass(torch.Tensor), "labels": target["labels"]}

    return Plain(sample)


def plain_video(folder: Path, job: Job) -> Plain:
    import av

    t = v2()
    files = sorted((folder / "train").glob("*/*.mp4"))
    augment = t.Compose(
        [
            *(t.Resize((128, 171), antialias=True), t.RandomCrop(112), t.RandomHorizontalFlip()),
            *(t.ToDtype(torch.float32, scale=True), t.Normalize(VIDEO_MEAN, VIDEO_STD)),
        ]
    )

    def sample(index: int) -> tuple[Tensor, int]:
        with av.open(str(files[index])) as file:
            frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
        clip = augment(torch.stack(frames[:16]).permute(0, 3, 1, 2)).transpose(0, 1)
        return clip, int(files[index].parent.name[-1])

    return Plain(sample)


def plain_flow(folder: Path, job: Job) -> Plain:
    """Transforms v2 have none for flow: ours, without the rest of our loop."""
    import random

    rng = random.Random(0)

    def sample(index: int) -> Any:
        found = job.samples.sample(index)
        first, second = (Image.open(file).convert("RGB") for file in found.files)
        return job.training.sample((first, second), found.truth, rng)

    return Plain(sample)


def lists(samples: list[Any]) -> tuple[list[Any], list[Any]]:
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def classes_loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def maps_loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0])["out"], batch[1], ignore_index=255)


def detection_loss(model: nn.Module, batch: Any) -> Tensor:
    return torch.stack(list(model(*batch).values())).sum()


def flow_loss(model: nn.Module, batch: Any) -> Tensor:
    predictions = model(batch[0], batch[1])
    distances = [(found - batch[2]).abs().mean() for found in predictions]
    return torch.stack([0.8 ** (len(distances) - 1 - place) * each for place, each in enumerate(distances)]).sum()


def plain_steps(case: Case, name: str, job: Job, folder: Path, half: bool) -> Iterator[None]:
    """The plain loop, a step at a time."""
    torch.manual_seed(0)
    model = oracle.builder(name)(weights=None, **case.arguments).train()
    recipe = job.recipe
    kind: Any = torch.optim.SGD if recipe.opt == "sgd" else torch.optim.AdamW
    extra: dict[str, Any] = {"momentum": 0.9} if recipe.opt == "sgd" else {}
    optimizer = kind(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, **extra)
    loader = DataLoader(
        case.theirs(folder, job), recipe.batch_size, shuffle=True, collate_fn=case.collate, drop_last=True
    )
    for batch in loader:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = case.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield


# Our loop -------------------------------------------------------------------------------------------------------------


class _Stopped(BaseException):
    """Ends a run from outside."""


class _Few(Observer):
    """Ends a run after four steps, in the thread that began it: what another thread frees, it keeps for itself."""

    def step(self, done: int, loss: float) -> None:
        if done == 4:
            raise _Stopped


class OurSteps(Observer):
    """The loop of `zoo train` in a thread of its own, a step at a time."""

    def __init__(self, job: Job, folder: Path) -> None:
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._ends = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(job, folder), daemon=True)
        self._thread.start()
        self._go.release()
        self._wait()

    def _run(self, job: Job, folder: Path) -> None:
        self._go.acquire()
        try:
            fit(job, folder, workers=0, observer=self)
        except BaseException as error:
            self._error = error
            self._done.release()

    def step(self, done: int, loss: float) -> None:
        self._done.release()
        self._go.acquire()
        if self._ends:
            raise _Stopped

    def _wait(self) -> None:
        self._done.acquire()
        if self._error is not None and not isinstance(self._error, _Stopped):
            raise self._error

    def __call__(self) -> None:
        """Takes a step."""
        self._go.release()
        self._wait()

    def close(self) -> None:
        self._ends = True
        self._go.release()
        self._thread.join()


def our_job(case: Case, name: str, folder: Path, **changes: Any) -> Job:
    job = prepare(
        name,
        folder,
        recipe="finetune",
        from_scratch=True,
        settings={**BASE, **case.settings, **changes},
        labels=case.labels,
    )
    assert isinstance(job.samples, Subset)
    whole = list(range(SAMPLES))
    return dataclasses.replace(job, samples=Subset(job.samples.whole, whole * REPEATS))


# What a recipe of fine-tuning has, and a plain loop has not.
BASE = {
    "label_smoothing": 0.0,
    "clip_grad_norm": 0.0,
    "lr_warmup_epochs": 0.0,
    "lr_base_size": 0,
    "norm_weight_decay": None,
    "bias_weight_decay": None,
    "transformer_embedding_decay": None,
}
PHOTO = {"scale": [0.08, 1.0], "train_crop_size": 224}
CASES = {
    "resnet18": Case(
        write_photos, SGD | PHOTO | {"batch_size": 16}, plain_classification, None, classes_loss, {"num_classes": 2}
    ),
    "mobilenet_v3_large": Case(
        write_photos, SGD | PHOTO | {"batch_size": 16}, plain_classification, None, classes_loss, {"num_classes": 2}
    ),
    "ssdlite320_mobilenet_v3_large": Case(
        write_boxes,
        SGD | {"batch_size": 4, "data_augmentation": "hflip"},
        plain_detection,
        lists,
        detection_loss,
        {"num_classes": 3, "weights_backbone": None},
    ),
    "lraspp_mobilenet_v3_large": Case(
        write_masks,
        SGD | {"batch_size": 4, "base_size": 360, "train_crop_size": 320, "resize_scale": [0.5, 2.0]},
        plain_segmentation,
        None,
        maps_loss,
        {"num_classes": 3, "weights_backbone": None},
        ("__background__", "one", "two"),
    ),
    "swin3d_t": Case(
        write_videos,
        ADAMW | {"batch_size": 2, "train_resize_size": [128, 171], "train_crop_size": 112},
        plain_video,
        None,
        classes_loss,
        {"num_classes": 2},
    ),
    "raft_small": Case(
        write_pairs,
        ADAMW | {"batch_size": 1, "crop_size": [192, 256], "freeze_batch_norm": False},
        plain_flow,
        None,
        flow_loss,
    ),
}
CLIP_LENGTH = 16


def adapted(job: Job) -> Job:
    """With as many frames of a video as are there."""
    if job.spec.task != "video":
        return job
    facts = dict(job.spec.facts) | {"clip_length": CLIP_LENGTH, "frame_rate": 15}
    spec = dataclasses.replace(job.spec, facts=facts)
    task = type(job.task)(spec, scoring=True)
    return dataclasses.replace(job, spec=spec, task=task, training=task.training(job.recipe))


def measure(name: str, seconds: float = 12.0) -> list[str]:
    case = CASES[name]
    ratios = []
    speed = ""
    with tempfile.TemporaryDirectory() as work:
        case.write(folder := Path(work, "data"))
        for number, (ours_half, theirs_half) in enumerate(((False, False), (True, True), (True, False))):
            job = adapted(our_job(case, name, folder, amp=ours_half))
            steps = OurSteps(job, Path(work, f"run{number}"))
            plain = plain_steps(case, name, job, folder, theirs_half)
            found = compare(steps, functools.partial(next, plain), seconds=seconds, clock=time.process_time)
            steps.close()
            speed = speed or f"{job.recipe.batch_size / min(found.ours):.1f}"
            ratios.append(f"{found.ratio:.2f}")
            gc.collect()
    peaks = {which: peak(name, which) for which in ("ours", "theirs")}
    return [name, speed, *ratios, f"{peaks['ours']:.0f}", f"{peaks['theirs'] / peaks['ours']:.2f}"]


def measure_means(name: str, seconds: float = 8.0) -> list[str]:
    """What each means brings: the time of our loop without it, over the time with it."""
    case = CASES[name]
    row = [name]
    with tempfile.TemporaryDirectory() as work:
        case.write(folder := Path(work, "data"))
        for number, changes in enumerate(({"channels_last": False}, {"amp": True})):
            usual = OurSteps(adapted(our_job(case, name, folder)), Path(work, f"usual{number}"))
            other = OurSteps(adapted(our_job(case, name, folder, **changes)), Path(work, f"other{number}"))
            found = compare(usual, other, seconds=seconds, clock=time.process_time)
            row.append(f"{found.ratio if number == 0 else 1 / found.ratio:.2f}")
            usual.close()
            other.close()
    return row


def peak(name: str, which: str) -> float:
    code = f"from tools.bench.train import peak_of; print(peak_of({name!r}, {which!r}))"
    return float(in_process(code, OMP_NUM_THREADS="1"))


def peak_of(name: str, which: str) -> float:
    """MiB that some steps need at the most, beside what the process has after its imports."""
    case = CASES[name]
    oracle.torchvision()
    with tempfile.TemporaryDirectory() as work:
        case.write(folder := Path(work, "data"))
        job = adapted(our_job(case, name, folder))
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident()
        if which == "ours":
            with contextlib.suppress(_Stopped):
                fit(job, Path(work, "run"), workers=0, observer=_Few())
        else:
            plain = plain_steps(case, name, job, folder, half=False)
            for _ in range(4):
                next(plain)
        return resident(peak=True) - before


def main() -> None:
    torch.set_num_threads(1)
    rows = measure_models(CASES, functools.partial(measure, seconds=float(os.environ.get("ZOO_BENCH_SECONDS", "12"))))
    header = ["model", "samples/s", "float32", "bfloat16", "ours bfloat16", "MiB", "memory"]
    table("Training: how many times faster than a plain loop with torchvision's model", header, rows)
    if os.environ.get("ZOO_BENCH_MEANS"):
        rows = measure_models(CASES, measure_means)
        table("What our loop gains", ["model", "channels-last", "bfloat16"], rows)


if __name__ == "__main__":
    main()
