import json

import pytest
import torch
from PIL import Image

from zoo_core.data import DataError
from zoo_detection.data import CocoDetection, VocDetection, YoloDetection, open_detection_data

LABELS = ("__background__", "cat", "N/A", "dog", "traffic light")


def image(path, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def coco(folder, objects, images=None, categories=None, name="instances_val2017.json"):
    file = folder / "annotations" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    images = images or [{"id": 7, "file_name": "b.jpg", "width": 40, "height": 20}]
    # Numbers that are not those of the labels.
    categories = categories or [{"id": 90, "name": "dog"}, {"id": 3, "name": "Cat"}]
    file.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    for entry in images:
        image(folder / "val2017" / entry["file_name"])
    return file


def test_coco_boxes_are_corners_and_categories_go_by_name(tmp_path):
    objects = [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 5], "area": 31.5, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 20], "iscrowd": 1},
    ]
    coco(tmp_path, objects)
    data = open_detection_data(tmp_path, LABELS)
    assert isinstance(data, CocoDetection)
    (sample,) = data
    assert sample.name == "b.jpg"
    assert sample.files == (tmp_path / "val2017" / "b.jpg",)
    assert sample.truth["boxes"].tolist() == [[1, 2, 11, 7], [0, 0, 40, 20]]
    assert sample.truth["labels"].tolist() == [3, 1]
    assert sample.truth["iscrowd"].tolist() == [False, True]
    assert sample.truth["area"].tolist() == [31.5, 800]
    assert data.published_as is None  # one image is not COCO


def test_coco_images_without_objects_count_and_come_in_the_order_of_their_numbers(tmp_path):
    coco(tmp_path, [], images=[{"id": 9, "file_name": "a.jpg"}, {"id": 2, "file_name": "z.jpg"}])
    data = open_detection_data(tmp_path, LABELS)
    assert [sample.name for sample in data] == ["z.jpg", "a.jpg"]
    assert data[0].truth["boxes"].shape == (0, 4)
    assert data[0].truth["labels"].dtype == torch.int64


def test_coco_keypoints_and_segmentations_are_kept(tmp_path):
    points = [5, 6, 2, 0, 0, 0]
    polygon = [[1, 1, 5, 1, 5, 5]]
    box = [1, 1, 4, 4]
    entry = {"id": 1, "image_id": 7, "category_id": 1, "bbox": box, "keypoints": points, "segmentation": polygon}
    coco(tmp_path, [entry], categories=[{"id": 1, "name": "person"}], name="person_keypoints_val2017.json")
    (sample,) = open_detection_data(tmp_path, ("no person", "person"))
    assert sample.truth["keypoints"].tolist() == [[[5, 6, 2], [0, 0, 0]]]
    assert sample.truth["segmentations"] == [polygon]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"bbox must be \[x, y, width, height\]"),
        ({"bbox": [1, 2, -3, 4]}, "negative width"),
        ({"bbox": [1, 2, 300, 4]}, "outside its image of 40 x 20 pixels"),
        ({"category_id": 4}, "there is no category 4"),
        ({"keypoints": [1, 2]}, "keypoints must be"),
    ],
)
def test_coco_faults_name_file_and_annotation(tmp_path, entry, message):
    file = coco(tmp_path, [{"id": 55, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]} | entry])
    data = open_detection_data(tmp_path, LABELS)
    with pytest.raises(DataError, match=f"annotation 55.*{message}") as raised:
        data[0]
    assert raised.value.faults[0].path == file
    assert [fault.path for fault in data.faults()] == [file]


def test_coco_files_that_contradict_themselves_are_refused_with_every_fault(tmp_path):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]
    coco(tmp_path, [{"id": 3, "image_id": 8, "category_id": 3, "bbox": [0, 0, 1, 1]}], images=images)
    with pytest.raises(DataError) as raised:
        open_detection_data(tmp_path, LABELS)
    assert ["twice" in str(f) or "of no image" in str(f) for f in raised.value.faults] == [True, True]


def test_coco_categories_that_the_model_does_not_know_list_both_sides(tmp_path):
    coco(tmp_path, [], categories=[{"id": 1, "name": "zebra"}])
    with pytest.raises(DataError, match="does not know: zebra; labels of the model that are not here: cat, , dog"):
        open_detection_data(tmp_path, LABELS)


def test_json_that_is_none_names_the_line(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"images": [],\n "annotations": oops}')
    with pytest.raises(DataError, match=r"a\.json:2: no valid JSON"):
        open_detection_data(tmp_path, LABELS, annotations=file)
    file.write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="lacks the lists categories"):
        open_detection_data(tmp_path, LABELS, annotations=file)


def test_an_image_that_is_missing_is_named(tmp_path):
    coco(tmp_path, [])
    (tmp_path / "val2017" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"b\.jpg: no such file, which instances_val2017\.json lists"):
        open_detection_data(tmp_path, LABELS)[0]


def voc_object(name, *corners, difficult=0):
    sides = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


def voc(folder, *objects, names=("x",)):
    (folder / "Annotations").mkdir(exist_ok=True)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "val.txt").write_text("\n".join(names) + "\n")
    for name in names:
        image(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")


def test_voc_counts_pixels_from_one_and_difficult_objects_are_ignored(tmp_path):
    voc(tmp_path, voc_object("dog", 1, 1, 40, 20), voc_object("traffic_light", 5, 6, 7, 8, difficult=1))
    data = open_detection_data(tmp_path, LABELS)
    assert isinstance(data, VocDetection)
    truth = data[0].truth
    assert truth["boxes"].tolist() == [[0, 0, 40, 20], [4, 5, 7, 8]]
    assert truth["labels"].tolist() == [3, 4]
    assert truth["iscrowd"].tolist() == [False, True]


def test_voc_faults_name_file_and_line(tmp_path):
    voc(tmp_path, voc_object("dog", 9, 1, 4, 20), names=("x", "y"))
    with pytest.raises(DataError, match=r"x\.xml: the object 'dog': its box 9, 1, 4, 20 has its corners swapped"):
        open_detection_data(tmp_path, LABELS)[0]
    (tmp_path / "Annotations" / "x.xml").write_text("<annotation>\n<object>\n</annotation>")
    with pytest.raises(DataError, match=r"x\.xml:3: no valid XML"):
        open_detection_data(tmp_path, LABELS)[0]
    (tmp_path / "JPEGImages" / "y.jpg").unlink()
    with pytest.raises(DataError, match=r"val\.txt:2: there is no image y"):
        open_detection_data(tmp_path, LABELS)
    with pytest.raises(DataError, match="no such list of images; there are val"):
        open_detection_data(tmp_path, LABELS, "test")


def yolo(folder, *lines):
    image(folder / "images" / "val" / "deep" / "a.png")
    text = folder / "labels" / "val" / "deep" / "a.txt"
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text("\n".join(lines))
    return text


def test_yolo_boxes_are_shares_around_a_middle(tmp_path):
    yolo(tmp_path, "1 0.5 0.5 0.25 0.5", "", "0 0 0 1 0 0.5 0.5")
    image(tmp_path / "images" / "val" / "empty.png")
    data = open_detection_data(tmp_path, LABELS)
    assert isinstance(data, YoloDetection)
    first, second = data
    assert first.name == "deep/a.png"
    assert first.truth["boxes"].tolist() == [[15, 5, 25, 15], [0, 0, 40, 10]]
    assert first.truth["labels"].tolist() == [3, 1]
    assert second.truth["boxes"].shape == (0, 4)


def test_yolo_classes_go_by_name_where_a_file_has_them(tmp_path):
    yolo(tmp_path, "1 0.5 0.5 0.25 0.5")
    (tmp_path / "classes.txt").write_text("traffic light\ndog\n")
    assert open_detection_data(tmp_path, LABELS)[0].truth["labels"].tolist() == [3]


def test_yolo_faults_name_every_line(tmp_path):
    text = yolo(tmp_path, "9 0 0 0 0", "0 0.5 0.5 3 3", "0 a b c d", "0 1 2 3", "0 0.5 0.5 0.1 0.1")
    faults = list(open_detection_data(tmp_path, LABELS).faults())
    assert [(fault.path, fault.line) for fault in faults] == [(text, 1), (text, 2), (text, 3), (text, 4)]
    assert "numbered from 0 to 2" in str(faults[0])
    assert "outside its image" in str(faults[1])


def test_a_folder_of_no_known_layout_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"expected COCO's annotations/\*\.json, Pascal VOC's"):
        open_detection_data(tmp_path, LABELS)
    with pytest.raises(DataError, match="no such folder"):
        open_detection_data(tmp_path / "nowhere", LABELS)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox must be"),
        ({"bbox": [True, 2, 3, 4]}, "bbox must be"),
        ({"iscrowd": "yes"}, "iscrowd must be 0 or 1"),
        ({"area": None}, "area must be a number"),
        ({"segmentation": [[1, 2, 3, 4]]}, "a polygon must be"),
        ({"segmentation": [[1, 2, 3, 4, 5, "6"]]}, "a polygon must be"),
        ({"segmentation": "mask.png"}, "a list of polygons or a dict of run lengths"),
        ({"segmentation": {"size": [20, 40], "counts": [1, 2]}}, "do not add up to 20 x 40 pixels"),
        ({"segmentation": {"size": [40, 20], "counts": [800]}}, r"the size \[40, 20\], and not \[20, 40\]"),
        ({"segmentation": {"size": [20, 40], "counts": "a"}}, "must be a list, or a text"),
    ],
)
def test_coco_values_are_checked_before_anything_is_computed_of_them(tmp_path, entry, message):
    coco(tmp_path, [{"id": 55, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]} | entry])
    with pytest.raises(DataError, match=f"annotation 55: .*{message}"):
        open_detection_data(tmp_path, LABELS)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}]}, "1 and 2 are both a.jpg"),
        ({"images": [{"id": 1, "file_name": "a.jpg", "width": 0}]}, "has the sides"),
        ({"images": [{"id": 1, "file_name": 5}]}, "without id or file_name"),
        ({"annotations": [{"id": 1, "image_id": 7}] * 2}, "the annotation id 1 is there twice"),
        ({"annotations": [{"id": 1, "image_id": [7]}]}, "annotation 1 has no image_id"),
        ({"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}, "the category id 1 is there twice"),
        ({"categories": [{"id": 1}]}, "categories must be"),
    ],
)
def test_coco_files_that_say_something_twice_or_wrongly(tmp_path, change, message):
    file = coco(tmp_path, [])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=message):
        open_detection_data(tmp_path, LABELS)


def test_compressed_run_lengths_are_those_of_pycocotools():
    import numpy as np
    from pycocotools import mask as coco_masks

    from zoo_core.data.coco import _counts

    generator = np.random.default_rng(0)
    for size in ((1, 1), (3, 500), (200, 130)):
        mask = (generator.random(size) < 0.3).astype(np.uint8)
        mask[: size[0] // 2] = 1
        counts = coco_masks.encode(np.asfortranarray(mask))["counts"].decode()
        runs, value = [], 0
        for pixel in [*mask.T.flatten().tolist(), 2]:
            if runs and pixel == value:
                runs[-1] += 1
            else:
                runs, value = ([*runs, 1] if runs or pixel == 0 else [0, 1]), pixel
        assert _counts(counts) == runs[:-1]
    assert _counts("\x00") is None


def test_a_data_set_goes_on_without_what_a_list_names_wrongly(tmp_path):
    voc(tmp_path, names=("x", "y", "z"))
    names = tmp_path / "ImageSets" / "Main" / "val.txt"
    names.write_text("x\ny\nx\nmissing\nz\n")
    (tmp_path / "Annotations" / "z.xml").unlink()
    with pytest.raises(DataError) as raised:
        open_detection_data(tmp_path, LABELS)
    assert [fault.line for fault in raised.value.faults] == [4, 3, None]
    assert "x is in line 1 already" in str(raised.value)
    assert [sample.name for sample in raised.value.rest] == ["x.jpg", "y.jpg"]
    names.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"val\.txt: is no text in UTF-8"):
        open_detection_data(tmp_path, LABELS)


def test_yolo_images_of_one_name_are_doubled(tmp_path):
    yolo(tmp_path, "0 0.5 0.5 0.1 0.1")
    image(tmp_path / "images" / "val" / "deep" / "a.jpg")
    with pytest.raises(DataError, match="has the same name as") as raised:
        open_detection_data(tmp_path, LABELS)
    assert len(raised.value.rest) == 1


@pytest.mark.parametrize(
    "text",
    [
        "path: here\nnames: ['traffic light', \"dog\"]  # two\nnc: 2\n",
        "names: {1: dog, 0: traffic light}\n",
        "nc: 2\nnames:\n  - traffic light\n  - dog\nval: images/val\n",
        "names:\n- 'traffic light'\n- dog\n",
        "names:\n  0: traffic light\n  1: dog\n\n# the end\n",
        "names: [traffic light,\n  dog]\n",
    ],
)
def test_yolo_classes_of_data_yaml(tmp_path, text):
    yolo(tmp_path, "1 0.5 0.5 0.25 0.5", "0 0.5 0.5 0.25 0.5")
    (tmp_path / "data.yaml").write_text(text)
    assert open_detection_data(tmp_path, LABELS)[0].truth["labels"].tolist() == [3, 4]


@pytest.mark.parametrize("text", ["nc: 2\n", "names: 5\n", "names:\n  0: dog\n  2: cat\n", "names: []\n"])
def test_data_yaml_without_names_is_refused(tmp_path, text):
    yolo(tmp_path, "0 0.5 0.5 0.25 0.5")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match="names must be a list"):
        open_detection_data(tmp_path, LABELS)


def test_yolo_sizes_are_those_of_the_upright_image_and_no_pixel_is_decoded(tmp_path):
    yolo(tmp_path, "0 0.5 0.5 1 0.5")
    file = tmp_path / "images" / "val" / "deep" / "a.png"
    file.unlink()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20)).save(file.with_suffix(".jpg"), exif=turned)
    content = file.with_suffix(".jpg").read_bytes()
    scan = content.index(b"\xff\xda") + 2
    end = scan + int.from_bytes(content[scan : scan + 2])
    file.with_suffix(".jpg").write_bytes(content[:end])  # the header, without any pixel
    assert open_detection_data(tmp_path, LABELS)[0].truth["boxes"].tolist() == [[0, 10, 20, 30]]


def test_keypoints_and_masks_that_some_objects_lack(tmp_path):
    polygon = [[1, 1, 5, 1, 5, 5]]
    box = [1, 1, 4, 4]
    first = {"id": 1, "image_id": 7, "category_id": 1, "bbox": box, "keypoints": [5, 6, 2], "segmentation": polygon}
    second = {"id": 2, "image_id": 7, "category_id": 1, "bbox": box, "segmentation": []}
    categories = [{"id": 1, "name": "person"}]
    coco(tmp_path, [first, second], categories=categories, name="person_keypoints_val2017.json")
    truth = open_detection_data(tmp_path, ("no person", "person"))[0].truth
    assert truth["keypoints"].tolist() == [[[5, 6, 2]], [[0, 0, 0]]]
    assert truth["segmentations"] == [polygon, None]
