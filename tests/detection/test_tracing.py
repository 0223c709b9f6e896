"""torch.jit.trace, and the ONNX exporter that is built on it: programs of one example serve images of other sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detection.exported import detector, picture
from detection.toy import DETECTORS
from support import reference
from support.runtimes import onnx_runtime
from tools.parity import detections_difference

SIZES = [(64, 64), (50, 90), (70, 31)]  # the first is that of the example
PYRAMID = "fasterrcnn_mobilenet_v3_large_320_fpn"

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(params=[*DETECTORS, PYRAMID])
def model(request: pytest.FixtureRequest) -> nn.Module:
    if request.param == PYRAMID:
        return detector(PYRAMID)
    model = reference.fill_parameters(DETECTORS[request.param]())
    model.get_submodule("roi_heads" if hasattr(model, "roi_heads") else "").score_thresh = 0.0
    return model


class OneImage(nn.Module):
    """A program of torch.jit.trace gives no list of dicts, but one dict."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.model([image])[0]


@torch.no_grad()
def test_traced_program_serves_other_sizes(model: nn.Module) -> None:
    program = torch.jit.trace(OneImage(model), picture(1, *SIZES[0]), strict=False, check_trace=False)
    for seed, size in enumerate(SIZES):
        image = picture(seed, *size)
        (expected,) = model([image])
        assert len(expected["boxes"])
        found = program(image)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4)


def test_older_onnx_exporter(model: nn.Module, tmp_path: Path) -> None:
    with torch.no_grad():
        torch.onnx.export(
            model,
            ([picture(1, *SIZES[0])],),
            tmp_path / "model.onnx",
            dynamo=False,
            input_names=["image"],
            dynamic_axes={"image": {1: "height", 2: "width"}},
        )
    run = onnx_runtime(tmp_path / "model.onnx")
    for size in SIZES:
        image = picture(3, *size)
        with torch.no_grad():
            (expected,) = model([image])
        found = dict(zip(expected, run(image), strict=True))
        assert {key: value.shape for key, value in found.items()} == {k: v.shape for k, v in expected.items()}
        # As sets, since some scores are equal; ONNX Runtime 1.20 comes to 1.2e-4 of a pixel.
        assert detections_difference(found, expected) < 2e-4, size


def test_traced_batch_tensor() -> None:
    """Of the form that compilers of traced programs document: a batch in one tensor."""
    model = reference.fill_parameters(DETECTORS["ssd"]())

    class FirstBoxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Tensor) -> Tensor:
            return self.model(batch)[0]["boxes"]

    batch = torch.stack([picture(1, 64, 64), picture(2, 64, 64)])
    with torch.no_grad():
        program = torch.jit.trace(FirstBoxes(), batch, check_trace=False)
        torch.testing.assert_close(program(batch.flip(0)), model(batch.flip(0))[0]["boxes"])
