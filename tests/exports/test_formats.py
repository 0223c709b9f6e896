"""Every builder through `zoo_core.exporting.export`, in each format: what runs the files agrees with eager.

Exports compare with eager themselves, at other batches and sizes too, and leave no file where that fails.
"""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.exported import detector
from support import recording, reference
from zoo_core import specs
from zoo_core.exporting import FORMATS, export
from zoo_core.predicting import load
from zoo_core.tasks import task_class

TASKS = ("classification", "quantized", "segmentation", "video", "flow", "detection")
NAMES = [name for task in TASKS for name in reference.builder_names(task)]


def checkpoint(name: str, folder: Path) -> Path:
    """A file with the parameters that the reference has, which says for which model it is."""
    spec = specs.find(name)
    if spec.task == "detection":
        arguments: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 160, "max_size": 320}
        arguments |= {"box_detections_per_img" if "rcnn" in name else "detections_per_img": 20}
        model = detector(name)
    else:
        arguments = reference.arguments(name) | recording.SMALL_ARGUMENTS.get(name, {})
        model = recording.small_model(name)
    fields = {"preset": spec.preset, "preset_arguments": dict(spec.preset_arguments), "labels": list(spec.labels)}
    content = {"name": name, "task": spec.task, "arguments": arguments, **fields}
    path = folder / f"{name}.pth"
    torch.save({"model": model.state_dict(), "spec": content}, path)
    return path


def size(name: str) -> tuple[int, ...]:
    """The smallest that serves."""
    if specs.find(name).task == "detection":
        return (100, 140)
    return tuple(recording.small_inputs(name, batch=1)[0].shape[2:])


# With pytest-xdist's `--dist loadgroup` all formats of a model are tested in one process.
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES])
def test_file(name: str, format: str, tmp_path: Path, record_property) -> None:
    path = checkpoint(name, tmp_path)
    # Twelve updates of RAFT are twelve times the same.
    options = {"updates": 2} if "raft" in name else {"frames": size(name)[0]} if len(size(name)) == 3 else {}
    file = tmp_path / f"{name}{FORMATS[format]}"
    # With these parameters the scores of some detectors differ in the third digit.
    tolerance = 1e-2 if specs.find(name).task == "detection" else None
    exported = export(path, file, size=size(name), options=options, tolerance=tolerance)
    record_property("largest difference", f"{exported.difference.value:.1e}")
    spec = specs.find(file)
    assert (spec.name, spec.format) == (name, format)
    # As predict opens it.
    task = task_class(spec.task)(spec, options)
    example = task.example(size(name))
    with torch.inference_mode():
        load(task)(*example.arguments)
    for written in exported.files:
        written.unlink()
    path.unlink()
    gc.collect()
