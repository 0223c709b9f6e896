"""``zoo export`` of segmentation: the file predicts and scores as the model does."""

import pytest
import torch

from support.exporting import check_file, runner, saved
from zoo_core.images import write_jpeg
from zoo_segmentation import lraspp_mobilenet_v3_large
from zoo_segmentation.masks import write_mask

LABELS = ("__background__", "red", "green")


@pytest.fixture
def run(capsys):
    return runner(capsys)


def test_the_command(run, tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    for number in range(3):
        write_jpeg(
            torch.randint(0, 256, (3, 40, 48 + number), dtype=torch.uint8, generator=generator),
            str(data / "images" / f"{number}.jpg"),
        )
        mask = torch.zeros(40, 48 + number, dtype=torch.uint8)
        mask[:, 20:] = number
        write_mask(mask, data / "masks" / f"{number}.png")
    torch.manual_seed(0)
    model = lraspp_mobilenet_v3_large(num_classes=3, weights_backbone=None)
    fields = {"preset": "SemanticSegmentation", "preset_arguments": {"resize_size": 48}, "labels": LABELS}
    path = saved(tmp_path, "lraspp_mobilenet_v3_large", model, arguments={"num_classes": 3}, **fields)
    (tmp_path / "out").mkdir()
    images = sorted((data / "images").iterdir())
    exported = check_file(run, [path], tmp_path / "out" / "lraspp.onnx", images, data)
    assert exported["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]
    assert exported["outputs"] == [{"name": "logits", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]
