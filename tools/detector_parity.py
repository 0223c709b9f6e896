"""What scripts do with detectors beyond reading their outputs, compared with torchvision as a black box.

For a builder: the parameters that a seed gives, the losses of a training step, the gradients that reach the images and
the parameters from them, the gradients that reach an image from its detections, losses and detections by the steps of
a forward, and how often the hooks of each module are called. All in double precision, where sums in another order make
no difference.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tools import counterparts, oracle, reference_values
from tools.model_parity import calls_by_module, difference
from tools.torchvision_operators import torchvision_operators
from zoo_core import get_model_builder

TOLERANCE = 1e-4  # of gradients, relative to the largest


def checks(name: str) -> Iterator[tuple[str, float]]:
    """Each check of a builder by its name, and the largest difference found relative to the largest value.

    Raises:
        AssertionError: something differs that has no size.
    """
    torchvision_operators()
    yield "initial parameters", initial_parameters(name)
    yield from training(name)
    yield "losses and boxes by steps", by_steps(name)
    yield "gradient of detections", gradient_of_detections(name)
    yield "calls of hooks", calls_of_hooks(name)


def builders(name: str) -> tuple[Callable[..., nn.Module], Callable[..., nn.Module]]:
    return get_model_builder(name), oracle.builder(name)


def small(name: str) -> dict[str, Any]:
    """Arguments with which a model resizes images to few pixels, unless its size is fixed."""
    return {"weights": None, "weights_backbone": None} | (
        {} if name.startswith("ssd") else {"min_size": (96, 128), "max_size": 256}
    )


def initial_parameters(name: str) -> float:
    states = []
    for builder in builders(name):
        torch.manual_seed(0)
        model = builder(weights=None, weights_backbone=None)
        # What is drawn next must be the same as well: training goes on with it.
        states.append(model.state_dict() | {"next": torch.rand(4)})
    ours, theirs = states
    differing = [key for key in theirs if not torch.equal(ours[key], theirs[key])]
    assert not differing, f"{len(differing)} initial parameters differ, {differing[0]} first"
    return 0.0


def samples(name: str) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images with objects, and one without."""
    images = [reference_values.image(seed, 3, *size) for seed, size in enumerate([(120, 150), (170, 110), (90, 100)])]
    boxes = [[[10, 12, 80, 90], [60, 30, 140, 110]], [[5, 20, 100, 160]], []]
    targets = []
    for image, objects in zip(images, boxes, strict=True):
        count = len(objects)
        box = torch.tensor(objects, dtype=torch.float32).reshape(-1, 4)
        masks = torch.zeros(count, *image.shape[1:], dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, objects, strict=True):
            mask[y1:y2, x1 : (x1 + x2) // 2] = 1
        keypoints = torch.cat((box[:, None, :2] + torch.arange(17.0)[:, None] * 3, torch.ones(count, 17, 1)), -1)
        targets.append(
            {"boxes": box, "labels": torch.ones(count, dtype=torch.int64), "masks": masks, "keypoints": keypoints}
        )
    if name.startswith("ssd"):
        # An image without objects teaches our SSD, and not torchvision's.
        return images[:2], targets[:2]
    return images, targets


def training(name: str) -> Iterator[tuple[str, float]]:
    results = []
    for builder in builders(name):
        torch.manual_seed(0)
        model = builder(**small(name)).double().train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # of so few values it would make noise of rounding
        images, targets = samples(name)
        images = [image.double().requires_grad_() for image in images]
        torch.manual_seed(1)
        losses = model(images, targets)
        sum(losses.values()).backward()
        gradients = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}
        results.append((losses, {str(i): image.grad for i, image in enumerate(images)}, gradients))
    for what, ours, theirs in zip(("losses", "gradient of images", "gradient of parameters"), *results, strict=True):
        assert ours.keys() == theirs.keys(), f"{what}: {sorted(ours.keys() ^ theirs.keys())}"
        yield what, max(difference(ours[key].detach(), theirs[key].detach()) for key in theirs)


def by_steps(name: str) -> float:
    results = []
    for model in filled(name):
        images, targets = samples(name)
        images = [image.double() for image in images]
        torch.manual_seed(1)
        losses = losses_by_steps(model, images, targets)
        results.append(losses | {"boxes": torch.cat([found["boxes"] for found in detections_by_steps(model, images)])})
    ours, theirs = results
    assert ours.keys() == theirs.keys(), f"losses: {sorted(ours.keys() ^ theirs.keys())}"
    return max(_sorted_difference(ours[key].detach(), theirs[key].detach()) for key in theirs)


def _sorted_difference(ours: Tensor, theirs: Tensor) -> float:
    """Where scores are equal, the order is anyone's."""
    assert ours.shape == theirs.shape, f"shapes {list(ours.shape)} and {list(theirs.shape)}"
    return difference(ours.flatten().sort()[0], theirs.flatten().sort()[0]) if ours.numel() else 0.0


def _features(model: Any, images: list[Tensor], targets: Any = None) -> tuple[Any, Any, dict[str, Tensor]]:
    """The batch, its targets, and the feature maps by name."""
    batch, targets = model.transform(images, targets)
    features = model.backbone(batch.tensors)
    return batch, targets, {"0": features} if isinstance(features, Tensor) else features


def losses_by_steps(model: Any, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the boxes are trained with, by the steps that validation scripts call in eval mode, of ours or theirs."""
    batch, targets, features = _features(model, images, targets)
    maps = list(features.values())
    if not hasattr(model, "rpn"):
        outputs, anchors = model.head(maps), model.anchor_generator(batch, maps)
        if "bbox_ctrness" in outputs:
            places = [level.shape[-2] * level.shape[-1] for level in maps]
            return model.compute_loss(targets, outputs, anchors, num_anchors_per_level=places)
        if "SSD" in type(model).__name__:
            similarity = sys.modules[f"{type(model).__module__.partition('.')[0]}.ops"].box_iou
            overlaps = [similarity(target["boxes"], boxes) for target, boxes in zip(targets, anchors, strict=True)]
            matches = [model.proposal_matcher(overlap) for overlap in overlaps]
            return model.compute_loss(targets, outputs, anchors, matched_idxs=matches)
        return model.compute_loss(targets, outputs, anchors)
    rpn, heads = model.rpn, model.roi_heads
    objectness, deltas = rpn.head(maps)
    counts = [level[0].numel() for level in objectness]
    anchors = rpn.anchor_generator(batch, maps)
    join = sys.modules[type(rpn).__module__].concat_box_prediction_layers
    objectness, deltas = join(objectness, deltas)
    decoded = rpn.box_coder.decode(deltas.detach(), anchors).view(len(images), -1, 4)
    rpn.training = True  # as many proposals as in training
    proposals, _ = rpn.filter_proposals(decoded, objectness, batch.image_sizes, counts)
    rpn.training = False
    labels, matched = rpn.assign_targets_to_anchors(anchors, targets)
    losses = rpn.compute_loss(objectness, deltas, labels, rpn.box_coder.encode(matched, anchors))
    proposals, _, labels, regression = heads.select_training_samples(proposals, targets)
    pooled = heads.box_roi_pool(features, proposals, batch.image_sizes)
    predicted = heads.box_predictor(heads.box_head(pooled))
    box_losses = sys.modules[type(heads).__module__].fastrcnn_loss(*predicted, labels, regression)
    names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
    return dict(zip(names, (*losses, *box_losses), strict=True))


def detections_by_steps(model: Any, images: list[Tensor]) -> list[dict[str, Tensor]]:
    """What a model in eval mode detects, by the steps of its forward."""
    batch, _, features = _features(model, images)
    maps = list(features.values())
    if hasattr(model, "rpn"):
        proposals, _ = model.rpn(batch, features)
        detections, _ = model.roi_heads(features, proposals, batch.image_sizes)
    else:
        outputs, anchors = model.head(maps), model.anchor_generator(batch, maps)
        if "SSD" not in type(model).__name__:
            places = [level.shape[-2] * level.shape[-1] for level in maps]
            counts = [place * len(anchors[0]) // sum(places) for place in places]
            outputs = {key: list(value.split(counts, 1)) for key, value in outputs.items()}
            anchors = [list(boxes.split(counts)) for boxes in anchors]
        detections = model.postprocess_detections(outputs, anchors, batch.image_sizes)
    return model.transform.postprocess(detections, batch.image_sizes, [tuple(image.shape[-2:]) for image in images])


def filled(name: str) -> tuple[nn.Module, nn.Module]:
    """Both models with the same parameters, with which they detect something."""
    kwargs = small(name)
    if "rcnn" in name:
        kwargs |= {"box_score_thresh": 0.0, "rpn_score_thresh": 0.0, "box_detections_per_img": 20}
    ours, theirs = counterparts.pair(name, **kwargs)
    return ours.double(), theirs.double()


def gradient_of_detections(name: str) -> float:
    """Of sums over all detections, whose order may differ where scores are equal."""
    gradients = []
    for model in filled(name):
        image = samples(name)[0][0].double().requires_grad_()
        found = model([image])[0]
        assert len(found["scores"]), "nothing is detected"
        total = sum(found[key].sum() / max(1.0, float(found[key].detach().abs().max())) for key in found)
        (gradient,) = torch.autograd.grad(total, image)
        gradients.append(gradient)
    return difference(*gradients)


def calls_of_hooks(name: str) -> float:
    """A forward hook and a pre-hook on every module that both have.

    Raises:
        AssertionError: they are called another number of times.
    """
    images = [image.double() for image in samples(name)[0][:2]]
    ours, theirs = (calls_by_module(model, (images,)) for model in filled(name))
    differing = [path for path in sorted(ours.keys() & theirs.keys()) if ours[path] != theirs[path]]
    assert not differing, f"hooks differ: {[(path, ours[path], theirs[path]) for path in differing[:3]]}"
    return 0.0
