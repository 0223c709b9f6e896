import json

import pytest
import torch
from PIL import Image

from zoo_core.data import DataError
from zoo_segmentation.data import CocoSegmentation, open_segmentation_data
from zoo_segmentation.masks import write_mask

LABELS = ("__background__", "aeroplane", "person", "sofa")


def image(path, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def mask(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(torch.tensor(rows), path)


def test_pascal_voc_takes_the_names_of_its_list_in_their_order(tmp_path):
    for name, value in (("b", 2), ("a", 255), ("c", 1)):
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{name}.png", [value, 0])
    names = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    names.parent.mkdir(parents=True)
    names.write_text("b\n\na\n")
    data = open_segmentation_data(tmp_path, LABELS)
    assert [(sample.name, sample.truth.tolist()) for sample in data] == [("b.jpg", [[2, 0]]), ("a.jpg", [[255, 0]])]
    names.write_text("b\nnot_there\n")
    with pytest.raises(DataError, match=r"val\.txt:2: there is no .*not_there\.jpg"):
        open_segmentation_data(tmp_path, LABELS)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/val", "masks/val"),
        ("val/images", "val/labels"),
        ("images", "annotations"),
        ("images/valid", "masks/valid"),
    ],
)
def test_pairs_of_folders(tmp_path, images, masks):
    image(tmp_path / images / "deep" / "a.jpg")
    mask(tmp_path / masks / "deep" / "a.png", [3, 1])
    (sample,) = open_segmentation_data(tmp_path, LABELS)
    assert sample.name == "deep/a.jpg"
    assert sample.truth.tolist() == [[3, 1]]


def test_faults_of_pairs(tmp_path):
    image(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match="expected folders images and masks"):
        open_segmentation_data(tmp_path, LABELS)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"a\.jpg: has no mask"):
        open_segmentation_data(tmp_path, LABELS)
    mask(tmp_path / "masks" / "a.png", [4, 0])
    with pytest.raises(DataError, match=r"a\.png: has the class 4, but the model's end at 3"):
        open_segmentation_data(tmp_path, LABELS)[0]
    (tmp_path / "masks" / "a.png").write_bytes(b"no png")
    assert [fault.path.name for fault in open_segmentation_data(tmp_path, LABELS).faults()] == ["a.png"]


def coco(folder, *objects):
    categories = [
        {"id": 1, "name": "person"},
        {"id": 5, "name": "airplane"},
        {"id": 9, "name": "spoon"},
        {"id": 63, "name": "couch"},
    ]
    images = [{"id": 1, "file_name": "a.jpg", "width": 6, "height": 4}]
    image(folder / "val2017" / "a.jpg")
    file = folder / "annotations" / "instances_val2017.json"
    file.parent.mkdir()
    annotations = [{"id": n, "image_id": 1, "bbox": [0, 0, 1, 1]} | entry for n, entry in enumerate(objects)]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def test_coco_becomes_the_classes_of_pascal_voc_and_pixels_of_two_objects_are_void(tmp_path):
    square = [[0, 0, 3, 0, 3, 2, 0, 2]]  # rows 0 and 1, columns 0 to 2
    # Run lengths go down the columns: all of the columns 2 and 3.
    runs = {"size": [4, 6], "counts": [8, 8, 8]}
    coco(
        tmp_path,
        {"category_id": 5, "segmentation": square},
        {"category_id": 63, "segmentation": runs, "iscrowd": 1},
        {"category_id": 9, "segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]]},  # no class of VOC's
    )
    data = open_segmentation_data(tmp_path, LABELS)
    assert isinstance(data, CocoSegmentation)
    assert data[0].truth.tolist() == [
        [1, 1, 255, 3, 0, 0],
        [1, 1, 255, 3, 0, 0],
        [0, 0, 3, 3, 0, 0],
        [0, 0, 3, 3, 0, 0],
    ]


def test_coco_without_any_class_of_the_model_is_refused(tmp_path):
    coco(tmp_path)
    with pytest.raises(DataError, match="has no category that is among the labels"):
        open_segmentation_data(tmp_path, ("background", "road"))


def test_a_list_that_names_an_image_twice(tmp_path):
    for name in "ab":
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{name}.png", [1, 0])
    names = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    names.parent.mkdir(parents=True)
    names.write_text("a\nb\na\nmissing\n")
    with pytest.raises(DataError, match=r"val\.txt:3: a is in line 1 already") as raised:
        open_segmentation_data(tmp_path, LABELS)
    assert [fault.line for fault in raised.value.faults] == [3, 4, 4]
    assert [sample.name for sample in raised.value.rest] == ["a.jpg", "b.jpg"]


def test_images_of_one_name_would_share_a_mask(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg"):
        image(tmp_path / "images" / name)
    for name in ("a.png", "b.png"):
        mask(tmp_path / "masks" / name, [1, 0])
    with pytest.raises(DataError, match=r"a\.png: has the same name as a\.jpg") as raised:
        open_segmentation_data(tmp_path, LABELS)
    assert [sample.name for sample in raised.value.rest] == ["a.jpg", "b.jpg"]


def test_a_mask_of_another_size_than_its_image_is_found_without_a_model():
    from zoo_core.specs import find
    from zoo_segmentation.task import SemanticSegmentationTask

    task = SemanticSegmentationTask(find("fcn_resnet50"), scoring=True)
    task.check_truth(Image.new("RGB", (6, 4)), torch.zeros(4, 6))
    with pytest.raises(ValueError, match="the mask has 4 x 6 pixels, and the image 6 x 4"):
        task.check_truth(Image.new("RGB", (6, 4)), torch.zeros(6, 4))
