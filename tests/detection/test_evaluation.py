"""`zoo evaluate` of detectors: any number of processes, and interruptions, give the same figures of COCO."""

import json

import torch

from support import evaluations
from tools import described_checkpoints
from zoo_core.images import write_jpeg

LABELS = ("__background__", "square", "bar", "person")
SMALL = {"min_size": 40, "max_size": 52, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 10}


def scenes(folder, keypoints=False):
    """101 images with coloured rectangles, with their boxes, masks and keypoints in COCO's form."""
    generator = torch.Generator().manual_seed(0)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, evaluations.COUNT + 1):
        height, width = 48 + number % 5, 64
        image = torch.randint(0, 60, (3, height, width), dtype=torch.uint8, generator=generator)
        for _ in range(number % 4):  # some have no objects
            x, y = (int(torch.randint(0, limit, (), generator=generator)) for limit in (40, 28))
            label = int(torch.randint(1, 4, (), generator=generator))
            image[label % 3, y : y + 20, x : x + 24] = 255
            corners = [x, y, x + 24, y, x + 24, y + 20, x, y + 20]
            entry = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 3 if keypoints else label,
                "bbox": [x, y, 24, 20],
                "area": 480,
                "iscrowd": 0,
                "segmentation": [corners],
            }
            if keypoints:
                entry |= {"keypoints": [v for _ in range(17) for v in (x + 12, y + 10, 2)], "num_keypoints": 17}
            annotations.append(entry)
        write_jpeg(image, str(folder / "images" / f"{number}.jpg"))
        images.append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
    categories = [{"id": number, "name": LABELS[number]} for number in ((3,) if keypoints else (1, 2, 3))]
    (folder / "annotations").mkdir()
    content = {"images": images, "annotations": annotations, "categories": categories}
    kind = "person_keypoints" if keypoints else "instances"
    (folder / "annotations" / f"{kind}_val.json").write_text(json.dumps(content))
    return folder


def test_any_number_of_processes_gives_the_same_figures(tmp_path):
    arguments = SMALL | {"box_score_thresh": 0.0}
    model = described_checkpoints.save_fresh(
        tmp_path / "model.pth", "fasterrcnn_mobilenet_v3_large_320_fpn", arguments=arguments, labels=LABELS
    )
    found = evaluations.check(model, scenes(tmp_path / "data"), tmp_path)
    assert found["box_map_50"] > 0
