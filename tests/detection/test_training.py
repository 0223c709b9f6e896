"""Training: what is learnt, and from what."""

import pytest
import torch

import zoo_core
from detection.toy import DETECTORS, pictures
from support import reference
from zoo_detection import box_iou

NAMES = reference.model_names("detection")
LOSSES = {
    "faster_rcnn": {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"},
    "retinanet": {"classification", "bbox_regression"},
    "fcos": {"classification", "bbox_regression", "bbox_ctrness"},
    "ssd": {"classification", "bbox_regression"},
}
LOSSES["mask_rcnn"] = LOSSES["faster_rcnn"] | {"loss_mask"}
LOSSES["keypoint_rcnn"] = LOSSES["faster_rcnn"] | {"loss_keypoint"}


def train(model, images, targets, steps, rate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(steps):
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.mark.parametrize("name", DETECTORS)
def test_overfits_two_pictures(name):
    """After some steps every object is found, by a box of its class that overlaps it well, and nothing else is."""
    torch.manual_seed(0)
    images, targets = pictures()
    model = train(DETECTORS[name](), images, targets, steps=300, rate=5e-3)
    with torch.inference_mode():
        detections = model(images)
    for found, target in zip(detections, targets, strict=True):
        sure = found["scores"] > 0.5
        boxes, labels = found["boxes"][sure], found["labels"][sure]
        iou = box_iou(target["boxes"], boxes) * (target["labels"][:, None] == labels)
        assert len(boxes) > 0
        best, match = iou.max(dim=1)
        assert (best > 0.7).all(), f"best overlaps {best.tolist()}"
        assert len(boxes) == len(target["boxes"])
        if name == "mask_rcnn":
            masks, truth = found["masks"][sure][match, 0] > 0.5, target["masks"].bool()
            overlap = (masks & truth).flatten(1).sum(1) / (masks | truth).flatten(1).sum(1)
            assert (overlap > 0.7).all()
        if name == "keypoint_rcnn":
            distance = (found["keypoints"][sure][match] - target["keypoints"])[..., :2].norm(dim=-1)
            assert distance.max() < 6


@pytest.mark.parametrize("name", DETECTORS)
def test_losses(name):
    torch.manual_seed(0)
    images, targets = pictures()
    losses = DETECTORS[name]().train()(images, targets)
    assert set(losses) == LOSSES[name]
    assert all(loss.ndim == 0 and loss.isfinite() and loss > 0 for loss in losses.values())


@pytest.mark.parametrize("name", DETECTORS)
def test_targets_are_not_changed(name):
    images, targets = pictures()
    before = [image.clone() for image in images], [{k: v.clone() for k, v in t.items()} for t in targets]
    DETECTORS[name]().train()(images, targets)
    for image, old in zip(images, before[0], strict=True):
        assert torch.equal(image, old)
    for target, old in zip(targets, before[1], strict=True):
        assert target.keys() == old.keys()
        assert all(torch.equal(target[key], old[key]) for key in target)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_same_seed_gives_the_same_losses(name):
    images, targets = pictures()
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(DETECTORS[name]().train()(images, targets))
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


@pytest.mark.parametrize("name", DETECTORS)
def test_detections_alone_and_in_a_batch(name):
    torch.manual_seed(0)
    images, _ = pictures()
    model = DETECTORS[name]().eval()
    with torch.inference_mode():
        together = model(images)
        for image, expected in zip(images, together, strict=True):
            (alone,) = model([image])
            for key, value in expected.items():
                torch.testing.assert_close(alone[key], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 1), (3, 200)])
def test_long_thin_images(name, size):
    torch.manual_seed(0)
    images, targets = pictures()
    model = DETECTORS[name]()
    image = torch.rand(3, *size)
    with torch.inference_mode():
        (found,) = model.eval()([image])
    height, width = size
    assert (found["boxes"] <= torch.tensor([width, height, width, height]) + 1e-3).all()
    target = nothing(image) | {
        "boxes": torch.tensor([[0.0, 0, width, height]]),
        "labels": torch.tensor([1]),
        "masks": torch.ones(1, height, width, dtype=torch.uint8),
        "keypoints": torch.tensor([[[0.5, 0.5, 1.0]] * 4]),
    }
    losses = model.train()([image, images[0]], [target, targets[0]])
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_gives_results_of_single_precision(name, dtype, autocast):
    """Half precision cannot tell pixels of large images apart."""
    torch.manual_seed(0)
    images, _ = pictures()
    model = DETECTORS[name]().eval()
    (model.roi_heads if hasattr(model, "roi_heads") else model).score_thresh = 0.0
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=autocast):
        if autocast:
            (found,) = model(images[:1])
        else:
            (found,) = model.to(dtype)([images[0].to(dtype)])
    assert len(found["boxes"]) > 0
    assert all(value.isfinite().all() for value in found.values())
    assert {value.dtype for key, value in found.items() if key != "labels"} == {torch.float32}


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_nothing_is_above_a_threshold_of_one(name, threshold):
    images, _ = pictures()
    model = DETECTORS[name]().eval()
    (model.roi_heads if hasattr(model, "roi_heads") else model).score_thresh = threshold
    with torch.inference_mode():
        assert [len(found["boxes"]) for found in model(images)] == [0, 0]


def nothing(image):
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, *image.shape[1:], dtype=torch.uint8),
        "keypoints": torch.zeros(0, 4, 3),
    }


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("empty", [(0,), (1,), (0, 1)])
def test_images_without_objects(name, empty):
    """They teach what the background looks like."""
    torch.manual_seed(0)
    images, targets = pictures()
    for index in empty:
        targets[index] = nothing(images[index])
    model = DETECTORS[name]().train()
    losses = model(images, targets)
    assert set(losses) == LOSSES[name]
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.backbone.parameters())


@pytest.mark.parametrize("name", DETECTORS)
def test_an_image_without_objects_pushes_scores_down(name):
    torch.manual_seed(0)
    images, _ = pictures()
    model = DETECTORS[name]().eval()
    (model.roi_heads if hasattr(model, "roi_heads") else model).score_thresh = 0.0

    def best():
        with torch.inference_mode():
            return max(found["scores"].max().item() for found in model.eval()(images))

    before = best()
    train(model, images, [nothing(image) for image in images], steps=10, rate=1e-3)
    assert best() < before


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    kwargs = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 64}
    if name.startswith("keypoint"):
        kwargs["num_keypoints"] = 4
    model = zoo_core.get_model(name, weights=None, weights_backbone=None, num_classes=3, **kwargs).train()
    images, targets = pictures()
    losses = model(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad, key
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
