"""Trains models on composed data, by `zoo train`'s own means: those that ship in a package, and one of each other task.

    python -m tools.train MODEL --work FOLDER [--output FOLDER] [--seed 0] [--set KEY=VALUE ...] [--device cuda]

MODEL is one of `MODELS`, which lists the stages of its training; `tools/recipes` has their recipes. The data sets (see
`tools/compose`) and the runs are in FOLDER, and the same command goes on with them, whatever stopped it; models that
begin with the same stage share it there. Ends with the figures of the held-out samples, as `zoo evaluate` finds them,
and writes the parameters that reached them as they ship, named by their hash.

Seeded, and deterministic for a torch build and a number of threads.
"""

import argparse
import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools import embedded_checkpoints, fashion_mnist
from tools.compose import scenes
from tools.compose.kinds import compose
from zoo_core import checkpoints, get_weight, specs, training
from zoo_core.catalog.labels import BACKGROUND
from zoo_core.evaluating import Evaluation, evaluate
from zoo_core.specs import ModelSpec
from zoo_core.training import recipes

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Stage:
    """A run on one data set with one recipe. It begins with what the stage before it has learned.

    Args:
        kind: of composed data.
        recipe: name of a file in :data:`RECIPES`.
        model: what is trained, if it is not yet the model itself: a classifier that becomes its backbone.
        weights: published ones that it begins with; fresh parameters, if it is the first stage and has none.
        backbone: published weights of another model, by their whole name, whose backbone it begins with.
    """

    kind: str
    recipe: str
    model: str | None = None
    weights: str | None = None
    backbone: str | None = None


@dataclass(frozen=True)
class Trained:
    """A model, and what it is trained on.

    Args:
        name: what the file of its weights begins with.
        stages: one after the other; the last gives the weights.
        half: whether the file holds half precision, which is enough for a model that shows what the zoo can.
        labels: of its classes, where they are to have another order than the data set's own, or the data set has none.
        facts: what is known of the model beyond the catalogue's, such as the length of the clips that it looks at.
        arguments: of its builder, for how it starts.
    """

    name: str
    stages: tuple[Stage, ...]
    half: bool = True
    labels: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)


MODELS = {
    "shufflenet_v2_x0_5": Trained(
        "shufflenet_v2_x0_5_fashionmnist",
        (Stage("classification", "fashion_mnist"),),
        half=False,
        labels=fashion_mnist.CLASSES,
    ),
    "ssdlite320_mobilenet_v3_large": Trained(
        "ssdlite320_garments",
        (
            Stage("classification", "garments_backbone", "mobilenet_v3_large"),
            Stage("single", "single_garments", "mobilenet_v3_large"),
            Stage("detection", "scenes_detection"),
        ),
    ),
    "lraspp_mobilenet_v3_large": Trained(
        "lraspp_garments",
        (Stage("segmentation", "scenes_segmentation", backbone="SSDLite320_MobileNet_V3_Large_Weights.GARMENTS_V1"),),
        labels=(BACKGROUND, *scenes.CLASSES),
    ),
    "x3d_xs": Trained(
        "x3d_xs_motions", (Stage("video", "clips_video"),), arguments={"zero_init_residual": True, "dropout": 0.0}
    ),
    "raft_small": Trained("raft_small_composed", (Stage("flow", "pairs_flow", weights="SYNTHETIC_V1"),)),
}


class Lines(training.Observer):
    """Prints a line for each epoch."""

    def epoch(self, record: Mapping[str, float]) -> None:
        print(", ".join(f"{name} {value:.4g}" for name, value in record.items()), flush=True)

    def bad(self, messages: Sequence[str]) -> None:
        print("\n".join(messages), flush=True)


def train(
    model: str,
    work: Path,
    output: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    write_data: Callable[[str, Path, int], None] | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> tuple[Path, Evaluation]:
    """Trains a model, or goes on training it, and writes its weights.

    Args:
        model: a key of :data:`MODELS`.
        work: folder for the data sets, ``data/KIND``, and the runs, ``runs/RECIPE``.
        output: folder for the file of the weights.
        settings: changes to the recipe of the last stage.
        seed: of everything random, the data included.
        write_data: writes the data set of a kind into a folder with a seed; by default
            :func:`tools.compose.kinds.compose`.
        device, workers: see :func:`zoo_core.training.fit`.

    Returns:
        The file, and what it reaches on the held-out samples.

    Raises:
        InterruptedError: training was stopped by Ctrl-C or its like; the run goes on when this is called again.
    """
    what = MODELS[model]
    before: Path | None = None
    for stage in what.stages:
        data = _data(stage.kind, work, write_data or (lambda *order: compose(*order[:2], seed=order[2])), seed)
        start, begun = _begun(stage.model or model, _published(stage.backbone) if stage.backbone else None, before)
        spec = specs.find(start, weights=stage.weights) if stage.model else _spec(start, what, stage.weights)
        recipe = recipes.read(RECIPES / f"{stage.recipe}.toml", spec.task).with_settings({"seed": seed, **begun})
        is_last = stage is what.stages[-1]
        outcome = training.train(
            spec,
            data,
            recipe=recipe.with_settings(settings or {}) if is_last else recipe,
            from_scratch=not isinstance(start, Path) and stage.weights is None,
            labels=None if stage.model else what.labels,
            arguments=None if stage.model else what.arguments,
            output=work / "runs" / stage.recipe,
            resume=True,
            device=device,
            workers=workers,
            observer=Lines(),
        )
        if outcome.interrupted:
            raise InterruptedError(
                f"{stage.recipe}: stopped after step {outcome.steps} of {outcome.of_steps}; the same command goes on"
            )
        before = work / "runs" / stage.recipe / "best.pth"
    assert before is not None
    file = embedded_checkpoints.save(_tensors(before, what.half), output, what.name)
    found = evaluate(dataclasses.replace(specs.find(before), file=str(file)), data, device=device)
    assert found is not None  # of one process
    return file, found


def _data(kind: str, work: Path, write: Callable[[str, Path, int], None], seed: int) -> Path:
    """The folder of a data set, which is written if it is not there."""
    data = work / "data" / kind
    if not data.exists():
        # Data of which a part is missing would be trained on as if they were all.
        part = data.with_name(f"{kind}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        write(kind, part, seed)
        part.replace(data)
    return data


def _published(weights: str) -> Path:
    """The file of published weights."""
    return checkpoints.locate(get_weight(weights).url)


def _begun(model: str, backbone: Path | None, before: Path | None) -> tuple[str | Path, dict[str, Any]]:
    """What a stage begins with: a model by name, or its file; and changes to its recipe, for a backbone that is there.

    Args:
        model: is trained.
        backbone: the file of a model that has the backbone of this one.
        before: the file of the stage before, of this model or of its backbone.
    """
    if before is not None and specs.find(before).name == model:
        return before, {}
    learned = backbone or before
    return model, {"weights_backbone": str(learned.resolve())} if learned else {}


def _spec(model: str | Path, what: Trained, weights: str | None = None) -> ModelSpec:
    spec = specs.find(model, weights=weights)
    return dataclasses.replace(spec, facts={**spec.facts, **what.facts})


def _tensors(path: Path, half: bool) -> dict[str, Tensor]:
    state_dict = checkpoints.read_state_dict(path)
    return {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().clone()
        for name, value in state_dict.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--work", type=Path, required=True, help="folder for the data and the run, which resumes")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the file of weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, help="samples of the last stage; by default as many as the kind has")
    parser.add_argument("--val", type=int, help="held-out samples, likewise")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change to the last recipe")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="processes that read and augment")
    parser.add_argument("--processes", type=int, default=1, help="processes that compose the data")
    parser.add_argument("--threads", type=int, default=1, help="of this process")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    last = MODELS[given.model].stages[-1].kind

    def write_data(kind: str, folder: Path, seed: int) -> None:
        sizes = {"train": given.train, "val": given.val} if kind == last else {}
        compose(kind, folder, seed=seed, processes=given.processes, **sizes)

    try:
        file, found = train(
            given.model,
            given.work,
            given.output,
            settings=recipes.parse_settings(given.set),
            seed=given.seed,
            write_data=write_data,
            device=given.device,
            workers=given.workers,
        )
    except InterruptedError as error:
        parser.exit(130, f"{parser.prog}: {error}\n")
    print(f"{file}: {file.stat().st_size / 2**20:.3f} MiB")
    print(
        f"{found.samples} held-out samples: {', '.join(f'{name} {value:.3f}' for name, value in found.metrics.items())}"
    )


if __name__ == "__main__":
    main()
