"""A detector in an engine: a list of images in, a list of dicts out, as the detector itself has them."""

import pytest
import torch

from detection.exported import detector, picture
from zoo_core.engines import compile_for


@pytest.fixture(scope="module")
def model():
    return detector("ssdlite320_mobilenet_v3_large")


def by_label(detections):
    """In the order of their labels, since on some processors two nearly equal scores of different labels swap."""
    order = detections["labels"].argsort(stable=True)
    return {key: value[order] for key, value in detections.items()}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_lists_of_images_of_any_size(model, engine: str, tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.getbasetemp()))  # one export serves both engines
    fast = compile_for(model, engine)
    images = [picture(1, 100, 140), picture(2, 90, 61)]
    with torch.inference_mode():
        expected = [model([image])[0] for image in images]
        for found in (fast(images), [fast([image])[0] for image in images]):
            assert len(found) == 2
            for one, other in zip(map(by_label, found), map(by_label, expected), strict=True):
                assert one.keys() == other.keys()
                assert len(one["boxes"]) > 0
                assert torch.equal(one["labels"], other["labels"])
                torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=1e-3)
                torch.testing.assert_close(one["boxes"], other["boxes"], atol=0.05, rtol=1e-3)
