"""Every detector, postprocessing included, at the size that it was traced with and at others."""

import gc
from pathlib import Path

import pytest

from detection.exported import detector, largest_differences, picture, to_onnx
from support import reference
from support.runtimes import RUNTIMES

SIZES = [(100, 140), (140, 100), (61, 57)]


@pytest.mark.parametrize("name", reference.builder_names("detection"))
def test_detections_equal_eager(name: str, tmp_path: Path, record_property) -> None:
    model = detector(name)
    path = to_onnx(model, tmp_path / "model.onnx", SIZES[0])
    found = {}
    for runtime, load in RUNTIMES.items():
        run = load(path)
        for size in SIZES:
            found[runtime, size] = largest_differences(run, model, picture(2, *size))
        del run
    record_property("largest differences", found)
    for place, differences in found.items():
        assert differences.pop("labels") == 0, place
        assert max(differences.values()) < 1e-3, (place, differences)
    del model
    gc.collect()
