"""The names of torchvision.ops, with the same arguments."""

import importlib
import inspect

import pytest
import torch

import zoo_detection
from support import reference, torchvision_names
from zoo_detection import ops

# What this project has no operator for.
OUT = {
    *("deform_conv2d", "DeformConv2d", "roi_pool", "RoIPool", "ps_roi_align", "PSRoIAlign", "ps_roi_pool", "PSRoIPool"),
    *("drop_block2d", "DropBlock2d", "drop_block3d", "DropBlock3d"),
}
SIGNATURES = reference.signatures("ops")

# Modules and names beside those.
LEFT_OUT = {
    **dict.fromkeys(("deform_conv", "drop_block", "ps_roi_align", "ps_roi_pool", "roi_pool"), "see OUT"),
    "poolers.LevelMapper": "a step of torchvision's MultiScaleRoIAlign",
    "poolers.initLevelMapper": "likewise",
    "roi_align.lazy_compile": "not about regions of interest",
    "roi_align.maybe_cast": "likewise",
}
CALLED_OTHERWISE = {
    "feature_pyramid_network.FeaturePyramidNetwork.get_result_from_inner_blocks": "a step of torchvision's forward",
    "feature_pyramid_network.FeaturePyramidNetwork.get_result_from_layer_blocks": "likewise",
    "feature_pyramid_network.LastLevelMaxPool.forward": "names its arguments as ExtraFPNBlock does",
    "feature_pyramid_network.LastLevelP6P7.forward": "likewise",
}


def test_modules() -> None:
    left_out = LEFT_OUT | dict.fromkeys(OUT, "see OUT")
    torchvision_names.assert_names("torchvision.ops", "zoo_detection.ops", left_out)
    torchvision_names.assert_calls("torchvision.ops", "zoo_detection.ops", CALLED_OTHERWISE)


def test_a_module_does_not_take_a_function_s_place() -> None:
    """Modules and functions share names; which of them a name means does not depend on what was imported."""
    for name in ("stochastic_depth", "roi_align"):
        importlib.import_module(f"zoo_detection.ops.{name}")
        assert inspect.isfunction(getattr(ops, name))


def test_what_is_out_is_what_we_say() -> None:
    assert set(SIGNATURES) - set(ops.__all__) == OUT
    assert ops.__doc__ is not None
    for name in OUT:
        assert name in ops.__doc__ or name[0].isupper()


@pytest.mark.parametrize("name", sorted(set(SIGNATURES) - OUT))
def test_signature(name: str) -> None:
    reference.assert_signature(getattr(ops, name), SIGNATURES[name])
    assert getattr(zoo_detection, name) is getattr(ops, name)


def test_functions_stay_whole_in_symbolic_traces() -> None:
    def run(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept = ops.nms(boxes, scores, 0.5)
        return (
            kept,
            ops.batched_nms(boxes, scores, idxs, iou_threshold=0.5),
            ops.box_iou(boxes, boxes),
            ops.complete_box_iou_loss(boxes, boxes[kept[:1]].expand(3, 4)),
            ops.box_convert(ops.clip_boxes_to_image(boxes, (9, 9)), "xyxy", "cxcywh"),
        )

    traced = torch.fx.symbolic_trace(run)
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert {ops.nms, ops.batched_nms, ops.box_iou, ops.box_convert} <= set(called)
    for count in (3, 3):
        boxes = torch.rand(count, 4) * 5 + torch.tensor([0.0, 0, 5, 5])
        inputs = boxes, torch.rand(count), torch.arange(count)
        for found, expected in zip(traced(*inputs), run(*inputs), strict=True):
            assert torch.equal(found, expected)
