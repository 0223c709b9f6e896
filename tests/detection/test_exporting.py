"""``zoo export`` of detectors: the file finds what the model finds, also with outputs of one size."""

import json

import pytest
import torch

from detection.exported import detector, picture
from support.exporting import check_file, runner, saved
from zoo_core.images import write_png
from zoo_core.specs import find

NAME = "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a detector whose scores are as far apart as a trained one's."""
    fields = {"preset": "ObjectDetection", "labels": find(NAME).labels, "arguments": {"detections_per_img": 20}}
    return saved(tmp_path_factory.mktemp("model"), NAME, detector(NAME), **fields)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images with COCO's annotations."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number, size in enumerate(((100, 140), (90, 70)), 1):
        write_png((picture(number, *size) * 255).byte(), str(folder / "images" / f"{number}.png"))
        images.append({"id": number, "file_name": f"{number}.png", "height": size[0], "width": size[1]})
        box = {"bbox": [4, 4, 50, 60], "area": 3000, "iscrowd": 0, "category_id": 1}
        annotations.append({"id": number, "image_id": number, **box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def run(capsys):
    return runner(capsys)


def test_the_command(run, model, data, tmp_path):
    images = sorted((data / "images").iterdir())
    options = ["--threshold", 0]
    exported = check_file(
        run, [model], tmp_path / "ssd.onnx", images, data, options, export=["--size", "100x140"], tolerance=0.02
    )
    assert exported["inputs"] == [{"name": "images", "dtype": "float32", "shape": [1, 3, "height", "width"]}]
    shapes = {tensor["name"]: tensor["shape"] for tensor in exported["outputs"]}
    assert shapes == {"boxes": ["detections", 4], "scores": ["detections"], "labels": ["detections"]}


def test_outputs_of_one_size(run, model, data, tmp_path):
    """More rows than there are detections are filled up; of fewer, the best are taken. Images run one at a time."""
    images = sorted((data / "images").iterdir())
    export = ["--size", "100x140", "--max-detections", 30, "--batch-size", 2, "--preprocess"]
    options = ["--threshold", 0, "--batch-size", 2]
    file = tmp_path / "ssd.pt2"
    exported = check_file(run, [model], file, images, data, options, export=export, tolerance=0.02)
    assert exported["inputs"] == [{"name": "images", "dtype": "uint8", "shape": [2, 3, "height", "width"]}]
    shapes = {tensor["name"]: tensor["shape"] for tensor in exported["outputs"]}
    assert shapes == {"boxes": [2, 30, 4], "scores": [2, 30], "labels": [2, 30], "num_detections": [2]}

    from zoo_core.engines import open_file

    program = open_file(file)
    batch = torch.stack([(picture(1, 100, 140) * 255).byte()] * 2)
    boxes, scores, labels, number = program(batch)
    assert number.tolist() == [20, 20]
    assert torch.equal(boxes[0], boxes[1])
    assert (scores[:, 20:] == 0).all()
    assert (boxes[:, 20:] == 0).all()
    assert (labels[:, 20:] == 0).all()
    assert (scores[:, :19] >= scores[:, 1:20]).all()
