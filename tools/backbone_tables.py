"""Writes which classifiers serve as backbones of detectors and segmentation models: each is tried.

    python -m tools.backbone_tables [PATTERN ...]     # names of classifiers; by default one of each family

For each combination the model is built on the classifier with fresh parameters, takes a step on a batch, and is
exported; what of that works stands in the table, in `packages/zoo-detection/docs/backbones.md` and the same of
zoo-segmentation. A try takes ten seconds to a minute; what was found is kept in `build/backbones.json`, so that a run
that was interrupted goes on: remove that file to try all anew.
"""

import argparse
import copy
import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tools.distributions import ROOT
from zoo_core import catalog, get_model

BEGIN, END = "<!-- backbones: written by tools/backbone_tables.py -->\n", "<!-- end of backbones -->\n"
KEPT = ROOT / "build" / "backbones.json"
DETECTORS = ("fasterrcnn_on", "retinanet_on", "fcos_on")
SEGMENTATION = ("deeplabv3_on", "fcn_on")
PACKAGES = {"zoo-segmentation": SEGMENTATION, "zoo-detection": DETECTORS}


def smallest_of_each_family() -> list[str]:
    """The classifier of each family that has the fewest parameters."""
    found: dict[str, catalog.Model] = {}
    for model in catalog.models().values():
        if model.task == "classification":
            best = found.setdefault(model.module, model)
            if _size(model) < _size(best):
                found[model.module] = model
    return sorted(model.name for model in found.values())


def _size(model: catalog.Model) -> int:
    return min(checkpoint.num_params or 0 for checkpoint in model.checkpoints.values())


def one_step(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> tuple[float, float]:
    """The loss before and after a step of training on the same batch.

    Steps of several sizes are tried until the loss falls, each from where the model stood; if it never does, a dozen
    steps in a row. What draws at random (dropout, stochastic depth, which anchors are sampled) draws the same each
    time.
    """
    model.train()
    state = copy.deepcopy(model.state_dict())
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def now() -> Tensor:
        torch.manual_seed(1)
        return loss(model)

    with torch.no_grad():
        before = float(now())
    for rate in (1e-4, 1e-5, 1e-6, 1e-3):
        model.load_state_dict(state)
        optimizer = torch.optim.AdamW(parameters, lr=rate)
        optimizer.zero_grad()
        now().backward()
        optimizer.step()
        with torch.no_grad():
            after = float(now())
        if after < before:
            return before, after
    model.load_state_dict(state)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    for _ in range(12):
        optimizer.zero_grad()
        now().backward()
        optimizer.step()
    with torch.no_grad():
        return before, float(now())


def detection_loss(model: nn.Module) -> Tensor:
    """The sum of a detector's losses on two images with a box each."""
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(3, 96, 96, generator=generator) for _ in range(2)]
    targets = [{"boxes": torch.tensor([[10.0, 12.0, 60.0, 70.0]]), "labels": torch.tensor([label])} for label in (1, 2)]
    losses: dict[str, Tensor] = model(images, targets)
    return torch.stack(list(losses.values())).sum()


def segmentation_loss(model: nn.Module, size: tuple[int, int]) -> Tensor:
    """Cross-entropy of a batch whose left half is one class."""
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(2, 3, *size, generator=generator)
    truth = torch.zeros(2, *size, dtype=torch.int64)
    truth[:, :, : size[1] // 2] = 1
    scores: Tensor = model(x)["out"]
    return nn.functional.cross_entropy(scores, truth)


def tried(function: str, name: str) -> str:
    """What a combination does: ``"trains, exports"``, ``"trains"``, or ``"no: "`` and why."""
    torch.manual_seed(0)
    build: Any = getattr(__import__("zoo_detection" if function in DETECTORS else "zoo_segmentation"), function)
    try:
        backbone = get_model(name)
        if function in DETECTORS:
            model = build(backbone, num_classes=3, min_size=96, max_size=128, trainable_backbone_layers=2)
            inputs: Any = ([torch.rand(3, 96, 96)],)
            before, after = one_step(model, detection_loss)
        else:
            model = build(backbone, num_classes=3)
            size = model.backbone.body.input_size or (96, 96)
            inputs = (torch.rand(1, 3, *size),)
            before, after = one_step(model, lambda m: segmentation_loss(m, size))
    except (ValueError, RuntimeError) as error:
        return f"no: {str(error).partition(chr(10))[0][:80]}"
    if not after < before:
        return "no: steps do not lower the loss"
    try:
        with torch.no_grad():
            torch.export.export(model.eval(), inputs)
    except Exception:  # whatever tracing raises
        return "trains"
    return "trains, exports"


def rows(functions: tuple[str, ...], names: list[str]) -> Iterator[str]:
    kept: dict[str, str] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    yield f"| backbone | {' | '.join(functions)} |\n| --- |{' --- |' * len(functions)}\n"
    for name in names:
        cells = []
        for function in functions:
            key = f"{function} {name}"
            if key not in kept:
                kept[key] = tried(function, name)
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(kept, indent=1))
                gc.collect()
            cells.append(kept[key])
        print(name, cells, flush=True)
        yield f"| `{name}` | {' | '.join(cells)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--package", choices=list(PACKAGES), help="write the table of this package only")
    arguments = parser.parse_args()
    patterns = arguments.patterns
    known = [model.name for model in catalog.models().values() if model.task == "classification"]
    names = list(catalog.match(known, patterns, None)) if patterns else smallest_of_each_family()
    for package, functions in PACKAGES.items():
        if arguments.package not in (None, package):
            continue
        path = ROOT / "packages" / package / "docs" / "backbones.md"
        text = path.read_text()
        before, rest = text.split(BEGIN)
        path.write_text(before + BEGIN + "".join(rows(functions, names)) + END + rest.split(END)[1])
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
