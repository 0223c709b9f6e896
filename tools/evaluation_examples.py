"""Writes the small data sets with which the guides show `zoo evaluate`, and a model for them where no weights ship.

    python -m tools.evaluation_examples TASK FOLDER       # detection, segmentation, video or flow

Images of coloured rectangles with their boxes, masks and motion. The models have fresh parameters, the same each time:
they have learned nothing, and their figures show it.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from tools import described_checkpoints
from zoo_core.images import write_jpeg, write_png

COUNT = 40
LABELS = ("__background__", "red", "green", "blue")
Box = tuple[int, int, int, int]


def scenes(height: int = 240, width: int = 320) -> Iterator[tuple[Tensor, list[tuple[Box, int]]]]:
    """Images, uint8 Tensor[3, H, W], and the boxes and classes of what is on them, the foremost last."""
    generator = torch.Generator().manual_seed(0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    for _ in range(COUNT):
        image = torch.randint(0, 60, (3, height, width), dtype=torch.uint8, generator=generator)
        objects = []
        for _ in range(number(1, 4)):
            x, y = number(0, width - 120), number(0, height - 100)
            box, label = (x, y, x + number(60, 120), y + number(50, 100)), number(1, 4)
            image[label - 1, box[1] : box[3], box[0] : box[2]] = 230
            objects.append((box, label))
        yield image, objects


def detection(folder: Path) -> None:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number, (image, objects) in enumerate(scenes(), 1):
        write_jpeg(image, str(folder / "val2017" / f"{number:06d}.jpg"))
        images.append({"id": number, "file_name": f"{number:06d}.jpg", "height": 240, "width": 320})
        for (x1, y1, x2, y2), label in objects:
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": label, "iscrowd": 0}
            annotations.append(entry | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS) if number]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    described_checkpoints.save_fresh(folder / "model.pth", "ssdlite320_mobilenet_v3_large", labels=LABELS)


def segmentation(folder: Path) -> None:
    from zoo_segmentation.masks import write_mask

    for kind in ("images", "masks"):
        (folder / "val" / kind).mkdir(parents=True)
    for number, (image, objects) in enumerate(scenes(), 1):
        mask = torch.zeros(image.shape[1:], dtype=torch.uint8)
        for (x1, y1, x2, y2), label in objects:
            mask[y1:y2, x1:x2] = label
        write_jpeg(image, str(folder / "val" / "images" / f"{number:06d}.jpg"))
        write_mask(mask, folder / "val" / "masks" / f"{number:06d}.png")
    described_checkpoints.save_fresh(folder / "model.pth", "lraspp_mobilenet_v3_large", labels=LABELS)


def video(folder: Path) -> None:
    import av

    for number, (image, objects) in enumerate(scenes(120, 160)):
        label = LABELS[objects[-1][1]]
        path = folder / "val" / label / f"{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=15)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for place in range(20):
                moved = torch.roll(image, place, 2).permute(1, 2, 0).contiguous()
                frame = av.VideoFrame(160, 120, "rgb24")
                frame.planes[0].update(bytes(moved.flatten().tolist()))
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    described_checkpoints.save_fresh(folder / "model.pth", "mc3_18", labels=LABELS[1:])


def flow(folder: Path) -> None:
    from zoo_flow import write_flo

    for kind in ("frames", "flow"):
        (folder / "val" / kind).mkdir(parents=True)
    noise = torch.rand(1, 3, 300, 340, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)[0]
    ground = ((smooth - smooth.amin()) / (smooth.amax() - smooth.amin()) * 255).byte()
    places = [(10 + 7 * number % 13, 20 + 5 * number % 17) for number in range(11)]
    for number, (top, left) in enumerate(places):
        window = ground[:, top : top + 240, left : left + 300].contiguous()
        write_png(window, str(folder / "val" / "frames" / f"{number:03d}.png"))
        if number:
            motion = torch.tensor([places[number - 1][1] - left, places[number - 1][0] - top]).float()
            write_flo(motion[:, None, None].expand(2, 240, 300), folder / "val" / "flow" / f"{number - 1:03d}.flo")


EXAMPLES: dict[str, Callable[[Path], None]] = {
    "detection": detection,
    "segmentation": segmentation,
    "video": video,
    "flow": flow,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=EXAMPLES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    EXAMPLES[arguments.task](arguments.folder)


if __name__ == "__main__":
    main()
