"""Training: what is learnt, from what, and what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F

import zoo_core
from detection.toy import DETECTORS, pictures
from support import reference
from zoo_detection import RetinaNetHead, box_iou
from zoo_detection.building import RegionBatchNorm2d

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


def test_normalisation_of_no_regions():
    """It leaves the statistics as they are, and gradients defined."""
    norm = RegionBatchNorm2d(4).train()
    empty = torch.zeros(0, 4, 2, 2, requires_grad=True)
    norm(empty).sum().backward()
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(norm.weight.grad, torch.zeros(4))
    reference_norm, x = torch.nn.BatchNorm2d(4), torch.rand(3, 4, 2, 2)
    for _ in range(2):
        torch.testing.assert_close(norm(x), reference_norm(x))
    torch.testing.assert_close(norm.eval()(x), reference_norm.eval()(x))


# Targets that cannot be right


def spoil(targets, index, **changes):
    targets[index] = targets[index] | changes
    return targets


BAD_TARGETS = [
    ({"boxes": torch.tensor([[4.0, 6, 24, 32], [30, 28, 30, 56]])}, ValueError, r"box 1 of targets\[1\].*30\.0"),
    ({"boxes": torch.tensor([[24.0, 6, 4, 32], [30, 28, 58, 56]])}, ValueError, r"box 0 of targets\[1\]"),
    ({"boxes": torch.tensor([[4.0, 6, math.nan, 32], [30, 28, 58, 56]])}, ValueError, r"box 0 of targets\[1\]"),
    ({"boxes": torch.tensor([[4.0, 6, math.inf, 32], [30, 28, 58, 56]])}, ValueError, r"box 0 of targets\[1\]"),
    ({"boxes": torch.zeros(4)}, ValueError, r"boxes of targets\[1\] must have shape \[N, 4\], not \[4\]"),
    ({"boxes": torch.zeros(2, 5)}, ValueError, r"not \[2, 5\]"),
    ({"boxes": [[4.0, 6, 24, 32]]}, TypeError, "must be a Tensor"),
    ({"boxes": torch.zeros(2, 4, dtype=torch.complex64)}, TypeError, "real dtype, not torch.complex64"),
    ({"labels": torch.tensor([2])}, ValueError, r"labels of targets\[1\] must have shape.*\[2\], not \[1\]"),
    ({"labels": torch.tensor([2.0, 1.0])}, TypeError, "int64, not torch.float32"),
    ({"labels": torch.tensor([2, 3])}, ValueError, r"label of box 1 of targets\[1\] is 3.*to 2"),
    ({"labels": torch.tensor([-1, 1])}, ValueError, r"label of box 0 of targets\[1\] is -1"),
    ({"masks": torch.zeros(2, 64, 60)}, ValueError, r"masks of targets\[1\] must have shape.*not \[2, 64, 60\]"),
    ({"keypoints": torch.zeros(2, 4, 2)}, ValueError, r"keypoints of targets\[1\] must have shape"),
    ({"labels": torch.tensor([1, 2], device="meta")}, ValueError, r"labels of targets\[1\] are on meta, but.*on cpu"),
]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(("changes", "error", "message"), BAD_TARGETS)
def test_bad_targets_are_named(name, changes, error, message):
    images, targets = pictures()
    with pytest.raises(error, match=message):
        DETECTORS[name]().train()(images, spoil(targets, 1, **changes))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    "convert",
    [
        {"boxes": torch.int64, "labels": torch.int32, "keypoints": torch.int64},
        {"boxes": torch.int16, "labels": torch.uint8, "masks": torch.bool},
        {"boxes": torch.float64, "keypoints": torch.float64, "masks": torch.float32},
        {"boxes": torch.float16, "labels": torch.int8},
    ],
    ids=str,
)
def test_targets_of_other_dtypes_give_the_same_losses(name, convert):
    images, targets = pictures()
    losses = []
    for change in ({}, convert):
        torch.manual_seed(0)
        model = DETECTORS[name]().train()
        changed = [{k: v.to(change.get(k, v.dtype)) for k, v in target.items()} for target in targets]
        losses.append(model(images, changed))
    for key, expected in losses[0].items():
        torch.testing.assert_close(losses[1][key], expected, check_dtype=False)


def test_images_as_one_tensor():
    """What is a list of images to Python is one to a detector."""
    torch.manual_seed(0)
    images, targets = pictures()
    model = DETECTORS["retinanet"]().train()
    listed, together = model(images, targets), model(torch.stack(images), tuple(targets))
    assert all(torch.equal(listed[key], together[key]) for key in listed)
    with pytest.raises(ValueError, match=r"images\[0\] must be one image.*put it into a list"):
        model.eval()(images[0])


@pytest.mark.parametrize("name", ["faster_rcnn", "ssd"])
def test_the_background_is_no_label(name):
    images, targets = pictures()
    with pytest.raises(ValueError, match=r"box 0 of targets\[0\] is 0.*0 is the background"):
        DETECTORS[name]().train()(images, spoil(targets, 0, labels=torch.tensor([0])))


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_labels_of_detectors_without_background_begin_at_0(name):
    images, targets = pictures()
    DETECTORS[name]().train()(images, spoil(targets, 0, labels=torch.tensor([0])))


def test_labels_of_a_head_that_was_replaced():
    images, targets = pictures()
    model = DETECTORS["retinanet"]().train()
    model.head = RetinaNetHead(32, 6, 200)
    model(images, spoil(targets, 0, labels=torch.tensor([199])))
    with pytest.raises(ValueError, match=r"box 0 of targets\[0\] is 200.*to 199"):
        model(images, spoil(targets, 0, labels=torch.tensor([200])))


@pytest.mark.parametrize("name", DETECTORS)
def test_missing_targets(name):
    images, targets = pictures()
    model = DETECTORS[name]().train()
    with pytest.raises(ValueError, match="needs targets"):
        model(images)
    with pytest.raises(ValueError, match="1 for 2 images"):
        model(images, targets[:1])
    with pytest.raises(ValueError, match=r"targets\[0\] lacks labels; it has boxes"):
        model(images, [{"boxes": targets[0]["boxes"]}, targets[1]])
    with pytest.raises(TypeError, match=r"targets\[1\] must be a dict with boxes and labels, not NoneType"):
        model(images, [targets[0], None])


@pytest.mark.parametrize(("name", "key"), [("mask_rcnn", "masks"), ("keypoint_rcnn", "keypoints")])
def test_what_else_is_learnt_must_be_there(name, key):
    images, targets = pictures()
    del targets[1][key]
    with pytest.raises(ValueError, match=rf"learns from {key}, but targets\[1\]"):
        DETECTORS[name]().train()(images, targets)


def test_wrong_number_of_keypoints():
    images, targets = pictures()
    targets = [target | {"keypoints": F.pad(target["keypoints"], (0, 0, 0, 1))} for target in targets]
    with pytest.raises(ValueError, match="num_keypoints=4, but the targets have 5"):
        DETECTORS["keypoint_rcnn"]().train()(images, targets)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "no images"),
        ([torch.rand(3, 64, 64), torch.rand(1, 3, 64, 64)], ValueError, r"images\[1\] must be one image"),
        ([torch.rand(3, 0, 64)], ValueError, r"images\[0\].*not empty"),
        ([torch.zeros(3, 64, 64, dtype=torch.uint8)], TypeError, r"images\[0\].*uint8.*transforms"),
        ([torch.rand(1, 64, 64)], ValueError, "3 channels.*not 1"),
        (["photo.jpg"], TypeError, r"images\[0\] must be a Tensor"),
    ],
)
def test_bad_images_are_named(name, images, error, message):
    with pytest.raises(error, match=message):
        DETECTORS[name]().eval()(images)
