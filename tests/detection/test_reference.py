"""Every builder against the reference: state dicts, each stage of the network, detections, signatures and metadata.

A case is a builder in one of its forms: as built without weights, or as built for published weights. Its model runs
once and serves all tests of the case.
"""

import gc
import importlib

import pytest
import torch
from torch import Tensor, nn

import zoo_core
import zoo_detection
from support import reference
from zoo_core.builders import without_storage
from zoo_core.inference import optimize_for_inference
from zoo_detection import FrozenBatchNorm2d

NAMES = reference.model_names("detection")
# v2, SSD and SSDLite have the same form with and without weights.
FORMS = [(name, form) for name in NAMES for form in ("default", "pretrained") if form in reference.manifest_forms(name)]


def build(name: str, form: str) -> nn.Module:
    """A model without parameters that make sense."""
    if form == "default":
        with reference.no_random_init():
            return zoo_core.get_model(name, weights=None, weights_backbone=None)
    return published_form(name)


def published_form(name: str) -> nn.Module:
    """The model that published weights are loaded into, without loading them."""
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo_core.builders.load", lambda model, weights, progress: model.to_empty(device="cpu"))
        model = zoo_core.get_model(name, weights=weights)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 1e-5  # that of the reference, whatever the checkpoint was trained with
    return model


class Run:
    """What went through a model, stage by stage."""

    def __init__(self, model: nn.Module) -> None:
        stages = {"transform": model.transform, "backbone": model.backbone}
        stages |= (
            {"head": model.rpn.head, "anchors": model.rpn.anchor_generator}
            if hasattr(model, "rpn")
            else {"head": model.head, "anchors": model.anchor_generator}
        )
        self.stages = {}
        hooks = [
            module.register_forward_hook(lambda _, args, output, name=name: self.stages.setdefault(name, output))
            for name, module in stages.items()
        ]
        with torch.inference_mode():
            self.detections = model([reference.image(1, 3, 200, 300), reference.image(2, 3, 240, 180)])
        for hook in hooks:
            hook.remove()


@pytest.fixture(scope="module", params=FORMS, ids=lambda case: "-".join(case))
def case(request) -> tuple[str, str, Run, list]:
    name, form = request.param
    model = reference.fill_parameters(build(name, form))
    manifest = reference.manifest_of(model)
    run = Run(model)
    del model
    gc.collect()
    return name, form, run, manifest


def expected(name: str, form: str):
    return reference.golden(name)["default_eval" if form == "default" else "pretrained_form_eval"]


def test_state_dict(case):
    name, form, _, manifest = case
    assert manifest == reference.manifest(name, form)


def test_stages(case):
    name, form, run, _ = case
    assert_stages(run, expected(name, form)["stages"])


def assert_stages(run: Run, stages) -> None:
    batch, _ = run.stages["transform"]
    reference.assert_matches(batch.tensors, stages["transformed"])
    assert [list(size) for size in batch.image_sizes] == stages["image_sizes"]
    for feature, summary in zip(run.stages["backbone"].values(), stages["features"], strict=True):
        reference.assert_matches(feature, summary)
    reference.assert_matches(run.stages["anchors"][0], stages["anchors"])
    if "head" in stages:
        assert set(run.stages["head"]) == set(stages["head"])
        for key, summary in stages["head"].items():
            reference.assert_matches(run.stages["head"][key], summary)
    else:
        for outputs, key in zip(run.stages["head"], ("rpn_objectness", "rpn_deltas"), strict=True):
            for output, summary in zip(outputs, stages[key], strict=True):
                reference.assert_matches(output, summary)


@pytest.mark.parametrize(
    "name",
    ["maskrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"],
)
def test_optimized_for_inference(name):
    """Backbones lose their frozen normalisation, and heads theirs."""
    model = optimize_for_inference(reference.fill_parameters(published_form(name)))
    assert not any(isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d) for module in model.modules())
    run = Run(model)
    form = "default" if name in ("maskrcnn_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large") else "pretrained"
    assert_stages(run, expected(name, form)["stages"])
    assert_detections(run, expected(name, form)["detections"])


def test_detections(case):
    """The best ones of the reference are found, and as many in all. Random parameters make scores tie."""
    name, form, run, _ = case
    assert_detections(run, expected(name, form)["detections"])


def assert_detections(run: Run, detections) -> None:
    for ours, theirs in zip(run.detections, detections, strict=True):
        assert len(ours["boxes"]) == theirs["count"]
        assert all(len(value) == theirs["count"] for value in ours.values())
        assert ours["labels"].dtype == torch.int64
        assert (ours["scores"].diff() <= 0).all()
        if theirs["count"]:
            assert_same_set(ours, theirs)
        for key in theirs.keys() & {"masks", "keypoints", "keypoints_scores"}:
            # Heat maps of random parameters have many nearly equal peaks: a keypoint can be at another of them.
            assert_same_distribution(ours[key], theirs[key], tolerance=0.03 if key == "keypoints" else 1e-3)


def assert_same_distribution(tensor: Tensor, summary, tolerance: float) -> None:
    """Compares what does not depend on the order of the detections."""
    assert list(tensor.shape) == summary["shape"]
    assert str(tensor.dtype) == f"torch.{summary['dtype']}"
    if tensor.numel():
        assert tensor.double().mean().item() == pytest.approx(summary["mean"], rel=tolerance)
        assert tensor.double().std().item() == pytest.approx(summary["std"], rel=tolerance)
        assert tensor.abs().max().item() == pytest.approx(summary["absmax"], rel=tolerance)


def assert_same_set(ours: dict[str, Tensor], theirs) -> None:
    """Compares boxes by their coordinates, since some are empty."""
    boxes, labels, scores = (torch.tensor(theirs[key]) for key in ("boxes", "labels", "scores"))
    distance = (boxes[:, None] - ours["boxes"]).abs().amax(2)
    distance[labels[:, None] != ours["labels"]] = torch.inf
    nearest, match = distance.min(dim=1)
    found = nearest < 0.1
    assert found.float().mean() >= 0.95, f"{int(found.sum())} of {len(found)} found"
    torch.testing.assert_close(ours["scores"][match][found], scores[found], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    for member, published in reference.assert_builder(name, zoo_detection):
        assert_metadata(member, published)


def assert_metadata(member, published):
    meta = member.meta
    assert meta["categories"] == reference.labels()[published["categories"]]
    names = published.get("keypoint_names")
    assert meta.get("keypoint_names") == (reference.labels()[names] if names else None)
    assert member.transforms.func.__name__ == published["transforms"]["preset"]
    assert member.transforms.keywords == {}


@pytest.mark.parametrize("name", sorted(reference.signatures("detection")))
def test_public_signature(name):
    package = importlib.import_module("zoo_detection")
    reference.assert_signature(getattr(package, name), reference.signatures("detection")[name])


@pytest.mark.parametrize("name", NAMES)
def test_constructs_without_storage(name):
    with without_storage():
        model = zoo_core.get_model(name, weights=None, weights_backbone=None)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
