"""`zoo evaluate` of segmentation: any number of processes, and interruptions, give the figures of a plain loop."""

import torch

from support import evaluations
from tools import described_checkpoints
from zoo_core.images import write_jpeg
from zoo_core.specs import build, find
from zoo_segmentation.masks import write_mask
from zoo_segmentation.metrics import ConfusionMatrix

LABELS = ("__background__", "red", "green", "blue")


def scenes(folder):
    """101 images of coloured rectangles, with their masks."""
    generator = torch.Generator().manual_seed(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(evaluations.COUNT):
        image = torch.randint(0, 60, (3, 40, 48 + number % 3), dtype=torch.uint8, generator=generator)
        mask = torch.zeros(image.shape[1:], dtype=torch.uint8)
        mask[:, :2] = 255
        for _ in range(3):
            x, y, channel = (int(torch.randint(0, limit, (), generator=generator)) for limit in (30, 25, 3))
            image[channel, y : y + 15, x : x + 18] = 255
            mask[y : y + 15, x : x + 18] = channel + 1
        write_jpeg(image, str(folder / "images" / f"{number:03d}.jpg"))
        write_mask(mask, folder / "masks" / f"{number:03d}.png")
    return folder


def test_any_number_of_processes_gives_the_figures_of_a_plain_loop(tmp_path):
    data = scenes(tmp_path / "data")
    model = described_checkpoints.save_fresh(
        tmp_path / "model.pth", "lraspp_mobilenet_v3_large", preset_arguments={"resize_size": 48}, labels=LABELS
    )
    found = evaluations.check(model, data, tmp_path, batch_size=2)
    assert 0 < found["miou"] < found["pixel_acc"] < 100

    from zoo_core.images import open_image
    from zoo_core.presets import SemanticSegmentation
    from zoo_segmentation.masks import read_mask

    transform, model = SemanticSegmentation(resize_size=48), build(find(model))
    matrix = ConfusionMatrix(len(LABELS))
    for number in range(evaluations.COUNT):
        mask = read_mask(data / "masks" / f"{number:03d}.png")
        with torch.inference_mode():
            scores = model(transform(open_image(data / "images" / f"{number:03d}.jpg"))[None])["out"]
        enlarged = torch.nn.functional.interpolate(scores, size=mask.shape, mode="bilinear", align_corners=False)
        matrix.update(enlarged[0].argmax(0), mask)
    assert abs(100 * matrix.mean_iou() - found["miou"]) < 0.05
    assert abs(100 * matrix.pixel_accuracy() - found["pixel_acc"]) < 0.05
