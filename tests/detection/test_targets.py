"""Images and targets that are converted, and those that are refused with words that name them."""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from detection.toy import DETECTORS, pictures
from zoo_detection import RetinaNetHead


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
        (["photo.jpg"], TypeError, r"images\[0\] must be a Tensor.*transforms\(\) make one"),
        (Image.new("RGB", (64, 64)), TypeError, r"a list of Tensor\[C, H, W\], not Image.*transforms\(\) make one"),
    ],
)
def test_bad_images_are_named(name, images, error, message):
    with pytest.raises(error, match=message):
        DETECTORS[name]().eval()(images)
