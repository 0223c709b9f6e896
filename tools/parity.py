"""Compares our models with torchvision's as a black box, on inputs that the committed reference does not have.

    python -m tools.parity [PATTERN ...]        # shell patterns of model names; all that can run by default

Both get the same parameters through `load_state_dict`, so the names, shapes and order of the state dict are compared as
well. Detections are compared as sets: with random parameters many scores are equal, and their order is anyone's. More
is compared: see `tools/model_parity.py` and `tools/detector_parity.py`.
"""

import argparse
import gc
from collections.abc import Iterator

import torch
from torch import Tensor

from tools import counterparts, detector_parity, model_parity, reference_values
from tools.torchvision_operators import torchvision_operators
from zoo_core import catalog

TOLERANCE = 1e-4


def inputs(name: str, task: str) -> tuple[Tensor, ...] | tuple[list[Tensor]]:
    """Inputs of another size and seed than the reference's, where the model takes any."""
    if task == "detection":
        return ([reference_values.image(11, 3, 203, 229), reference_values.image(12, 3, 180, 321)],)
    if task == "flow":
        return tuple(2 * reference_values.image(seed, 1, 3, 136, 144) - 1 for seed in (11, 12))
    if task == "video":
        frames, size = (8, 112) if name.startswith("swin3d") else (16, 224 if name.startswith(("mvit", "s3d")) else 112)
        return (reference_values.image(11, 1, 3, max(frames, 14), size, size),)
    if name.startswith(("vit_", "maxvit_")):
        return (reference_values.image(11, 1, 3, 224, 224),)
    if name.startswith("swin_"):
        return (reference_values.image(11, 1, 3, 203, 229),)  # windows are shifted on three levels
    # Convolutions do the same everywhere, so few places serve.
    return (reference_values.image(11, 1, 3, 107, 121),)


def difference(name: str, task: str) -> float:
    """The largest difference of the outputs, relative to their largest value.

    Raises:
        AssertionError: the state dicts or the number of outputs differ.
    """
    # Nothing in a detector depends on the size that it resizes images to but the time that it takes.
    smaller = {"min_size": 256, "max_size": 400} if task == "detection" and not name.startswith("ssd") else {}
    ours, theirs = counterparts.pair(name, **smaller)
    x = inputs(name, task)
    if task != "detection":
        return model_parity.largest_difference(ours, theirs, x)  # type: ignore[arg-type]
    # In double precision: rounding errors decide which of two overlapping boxes stays.
    images = [image.double() for image in x[0]]
    with torch.inference_mode():
        results = ours.double()(images), theirs.double()(images)
    return max(detections_difference(*pair) for pair in zip(*results, strict=True))


def detections_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference between detections and their nearest counterparts, relative to the largest value of each.

    Raises:
        AssertionError: they differ in number, or in what is said of each.
    """
    assert ours.keys() == theirs.keys(), f"the keys differ: {list(ours)} and {list(theirs)}"
    assert len(ours["boxes"]) == len(theirs["boxes"]), f"{len(ours['boxes'])} and {len(theirs['boxes'])} detections"
    if not len(theirs["boxes"]):
        return 0.0
    scales = {key: float(value.abs().max()) or 1.0 for key, value in theirs.items()}
    ours_rows, theirs_rows = (_rows(found, scales) for found in (ours, theirs))
    distances = (ours_rows[:, None] - theirs_rows).abs().amax(2)
    return max(float(distances.amin(dim).max()) for dim in (0, 1))


def _rows(found: dict[str, Tensor], scales: dict[str, float]) -> Tensor:
    """One row for each detection, of all that is known of it; of masks, the mean."""
    columns = []
    for key, value in found.items():
        flat = value.double().flatten(1) if value.dim() > 1 else value.double()[:, None]
        columns.append((flat.mean(1, keepdim=True) if key == "masks" else flat) / scales[key])
    return torch.cat(columns, dim=1)


def checks(name: str, task: str) -> Iterator[tuple[str, float]]:
    """What else is compared of a model, and how far it differs."""
    if task == "detection":
        return detector_parity.checks(name)
    return model_parity.checks(name, inputs(name, task))  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    theirs = [model.name for model in catalog.models().values() if model.torchvision]
    names = catalog.match(theirs, parser.parse_args().patterns or None, None)
    if any(catalog.models()[name].task == "detection" for name in names):
        torchvision_operators()  # before anything else imports torchvision: its operators cannot be replaced later
    failed = []
    for name in names:
        task = catalog.models()[name].task
        try:
            error = difference(name, task)
            verdict = "equal" if error <= TOLERANCE else "DIFFERS"
            print(f"{name:40s} {error:.1e}  {verdict}", flush=True)
            for check, found in checks(name, task):
                verdict = verdict if found <= TOLERANCE else "DIFFERS"
                print(f"    {check:36s} {found:.1e}  {verdict}", flush=True)
        except Exception as problem:  # what fails in one model says nothing of the others
            verdict = f"DIFFERS: {type(problem).__name__}: {problem}"
            print(f"{name:40s} {verdict}", flush=True)
        if verdict != "equal":
            failed.append(name)
        gc.collect()
    if failed:
        raise SystemExit(f"{len(failed)} of {len(names)} models differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
