"""NMS and RoIAlign against torchvision's kernels, on the CPU and, where there is one, on a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tools.bench.measure import Comparison, compare, table
from tools.torchvision_operators import torchvision_operators
from zoo_detection import ops
from zoo_detection.ops.roi_align import levels_of

SCALE = 1 / 4
IMAGE = (800, 1088)
MAP = (256, 200, 272)


def random_boxes(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Boxes of 5 to 105 pixels in 800 x 800, and their scores."""
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=g) * 800
    boxes = torch.cat((corner, corner + 5 + 100 * torch.rand(count, 2, generator=g)), 1)
    return boxes.to(device), torch.rand(count, generator=g).to(device)


def random_rois(count: int, device: torch.device) -> Tensor:
    """Regions with sides of 20 to 220 pixels in the image."""
    g = torch.Generator().manual_seed(0)
    size = 20 + 200 * torch.rand(count, 2, generator=g)
    corner = torch.rand(count, 2, generator=g) * (torch.tensor([IMAGE[1], IMAGE[0]]) - size)
    return torch.cat((torch.zeros(count, 1), corner, corner + size), 1).to(device)


def compare_on(
    device: torch.device, ours: Callable[[], Any], reference: Callable[[], Any], seconds: float
) -> Comparison:
    if device.type == "cpu":
        return compare(ours, reference, seconds=seconds)

    def finished(function: Callable[[], Any]) -> Callable[[], None]:
        def call() -> None:
            function()
            torch.cuda.synchronize(device)

        return call

    return compare(finished(ours), finished(reference), seconds=seconds)


def nms(theirs: Any, count: int, device: torch.device) -> Comparison:
    boxes, scores = random_boxes(count, device)
    assert torch.equal(ops.nms(boxes, scores, 0.5), theirs.nms(boxes, scores, 0.5))
    return compare_on(device, lambda: ops.nms(boxes, scores, 0.5), lambda: theirs.nms(boxes, scores, 0.5), 4)


def forward(theirs: Any, memory_format: torch.memory_format, device: torch.device) -> Comparison:
    x = torch.randn(1, *MAP, device=device).contiguous(memory_format=memory_format)
    arguments = (x, random_rois(1000, device), SCALE, 7, 7, 2, False)
    ours = torch.ops.zoo.roi_align(*arguments)
    torch.testing.assert_close(ours, theirs.roi_align(*arguments), rtol=1e-4, atol=1e-4)
    return compare_on(
        device, lambda: torch.ops.zoo.roi_align(*arguments), lambda: theirs.roi_align(*arguments), seconds=10
    )


def backward(theirs: Any, memory_format: torch.memory_format, device: torch.device) -> Comparison:
    grad = torch.randn(1000, MAP[0], 7, 7, device=device).contiguous(memory_format=memory_format)
    arguments = (grad, random_rois(1000, device), SCALE, 7, 7, 1, *MAP, 2, False)
    return compare_on(
        device,
        lambda: torch.ops.zoo.roi_align_backward(*arguments),
        lambda: theirs._roi_align_backward(*arguments),
        seconds=15,
    )


def multiscale(device: torch.device) -> Comparison:
    """The module beside the operator that it calls: what the choice of levels and the checks cost."""
    channels, height, width = MAP
    maps = {str(i): torch.randn(1, channels, height >> i, width >> i, device=device) for i in range(4)}
    rois = random_rois(1000, device)
    pool = ops.MultiScaleRoIAlign(list(maps), 7, 2)
    scales = [SCALE / 2**i for i in range(4)]
    levels = levels_of(rois, scales, pool.canonical_scale, pool.canonical_level)
    features = list(maps.values())
    return compare_on(
        device,
        lambda: torch.ops.zoo.multiscale_roi_align(features, rois, levels, scales, 7, 7, 2, False),
        lambda: pool(maps, [rois[:, 1:]], [IMAGE]),
        seconds=8,
    )


def main(kinds: Sequence[str] = ("cpu", "cuda")) -> None:
    theirs = torchvision_operators()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, operators: {ops.backend()}")
    devices = [torch.device(kind) for kind in kinds if kind != "cuda" or torch.cuda.is_available()]
    layouts = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
    for device in devices:
        results = {f"nms of {count:,} boxes": nms(theirs, count, device) for count in (1_000, 10_000, 30_000)}
        for layout, memory_format in layouts.items():
            results[f"roi_align, {layout}"] = forward(theirs, memory_format, device)
            results[f"roi_align backward, {layout}"] = backward(theirs, memory_format, device)
        rows = [
            [
                name,
                f"{min(result.ours) * 1e3:.2f}",
                f"{min(result.reference) * 1e3:.2f}",
                f"{result.ratio:.1f}",
                f"{result.median_ratio:.1f}",
            ]
            for name, result in results.items()
        ]
        header = [device.type, "ours (ms)", "torchvision (ms)", "times as fast", "by medians"]
        table("Operators, the fastest run of each", header, rows)
        alone = multiscale(device)
        operator, module = min(alone.ours) * 1e3, min(alone.reference) * 1e3
        table(
            "MultiScaleRoIAlign of 1,000 regions on 4 levels",
            [device.type, "module (ms)", "operator (ms)", "module / operator"],
            [["forward", f"{module:.2f}", f"{operator:.2f}", f"{module / operator:.3f}"]],
        )


if __name__ == "__main__":
    main()
