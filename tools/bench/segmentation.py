"""Each segmentation builder in eval mode on the CPU, alternately with torchvision's, and the memory of what follows.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only.
"""

import torch

from tools import counterparts, reference_values
from tools.bench.measure import compare, in_process, least_ratio, measure_models, table, with_counterpart

# What the published weights are evaluated on: images whose shorter side is 520 pixels.
HEIGHT, WIDTH = 520, 693


def measure(name: str) -> list[str]:
    """The row of one builder."""
    # The form that the published weights are for.
    ours, theirs = counterparts.pair(name, **({} if name.startswith("lraspp") else {"aux_loss": True}))
    x = reference_values.image(1, 1, 3, HEIGHT, WIDTH)
    expected, got = theirs(x), ours(x)
    error = max(float((got[key] - expected[key]).abs().max() / expected[key].abs().max()) for key in expected)
    result = compare(lambda: ours(x), lambda: theirs(x), seconds=12.0, at_least=8)
    fastest = f"{1e3 * min(result.ours):.0f}", f"{1e3 * min(result.reference):.0f}"
    return [name, *fastest, f"{result.ratio:.2f}", f"{result.median_ratio:.2f}", f"{error:.0e}"]


# A model of nothing but its final upsampling, from 1/8 of the size, and what makes labels of its scores.
_PREPARE = """
import json, torch
from collections import OrderedDict
from tools.bench.measure import resident
class Backbone(torch.nn.Module):
    def forward(self, x):
        return OrderedDict(out=torch.zeros(1, 21, 256, 256))
def peak():
    return 2**20 * resident(peak=True)
x = torch.zeros(1).expand(1, 3, 2048, 2048)
torch.set_grad_enabled(False)
"""
_UPSAMPLE = """
model = FCN(Backbone(), torch.nn.Identity()).eval()
model(x[..., :64, :64])
before = peak()
out = model(x)["out"]
print(json.dumps((peak() - before) / out.nbytes))
"""
_OURS = _PREPARE + "from zoo_segmentation import FCN\n" + _UPSAMPLE
_REFERENCE = _PREPARE + "from tools import oracle\nFCN = oracle.torchvision().models.segmentation.FCN\n" + _UPSAMPLE
_LABELS = (
    _PREPARE
    + """
from zoo_segmentation.task import labels_at_size
scores = torch.zeros(21, 256, 256)
{labels}
before = peak()
{labels}
print(json.dumps((peak() - before) / (21 * 2048 * 2048 * 4)))
"""
)


def labels_memory(expression: str) -> float:
    warm_up, run = (expression.format(size=size) for size in (64, 2048))
    code = _LABELS.replace("{labels}", warm_up, 1).replace("{labels}", run, 1)
    return in_process(code)


def main() -> None:
    import zoo_segmentation

    torch.set_grad_enabled(False)
    rows = measure_models(with_counterpart(zoo_segmentation), measure)
    table(
        f"Segmentation, {HEIGHT} x {WIDTH} pixels, {torch.get_num_threads()} threads: milliseconds (fastest run)",
        ["model", "ours", "torchvision", "ratio", "of medians", "difference"],
        rows,
    )
    least_ratio(rows, 3)

    at_once = (
        "torch.nn.functional.interpolate(scores[None], size=({size}, {size}), mode='bilinear', "
        "align_corners=False).argmax(dim=1)"
    )
    table(
        "Peak memory, as a multiple of the scores of 21 classes at 2048 x 2048 pixels",
        ["", "ours", "the usual way"],
        [
            ["final upsampling (torchvision's FCN)", f"{in_process(_OURS):.2f}", f"{in_process(_REFERENCE):.2f}"],
            [
                "labels of a larger image (interpolate, argmax)",
                f"{labels_memory('labels_at_size(scores, ({size}, {size}))'):.2f}",
                f"{labels_memory(at_once):.2f}",
            ],
        ],
    )


if __name__ == "__main__":
    main()
