"""Trains models on composed data, by `zoo train`'s own means: those that ship in a package, and one of each other task.

    python -m tools.train MODEL --work FOLDER [--output FOLDER] [--seed 0] [--set KEY=VALUE ...] [--device cuda]

MODEL is one of `MODELS`; `tools/recipes` has its recipe. The data set (see `tools/compose`) and the run are in FOLDER,
and the same command goes on with them, whatever stopped it. Ends with the figures of the held-out samples, as
`zoo evaluate` finds them, and writes the parameters that reached them as they ship, named by their hash.

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
from tools.compose.kinds import compose
from zoo_core import checkpoints, specs, training
from zoo_core.evaluating import Evaluation, evaluate
from zoo_core.specs import ModelSpec
from zoo_core.training import recipes

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Trained:
    """A model, and what it is trained on.

    Args:
        kind: of composed data.
        recipe: name of a file in :data:`RECIPES`.
        name: what the file of its weights begins with.
        half: whether that holds half precision, which is enough for a model that shows what the zoo can.
        labels: of its classes, where they are to have another order than the data set's own, or the data set has none.
        facts: what is known of the model beyond the catalogue's, such as the length of the clips that it looks at.
    """

    kind: str
    recipe: str
    name: str
    half: bool = True
    labels: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


MODELS = {
    "shufflenet_v2_x0_5": Trained(
        "classification",
        "fashion_mnist",
        "shufflenet_v2_x0_5_fashionmnist",
        half=False,
        labels=fashion_mnist.CLASSES,
    ),
    "ssdlite320_mobilenet_v3_large": Trained("detection", "scenes_detection", "ssdlite320_garments"),
    "lraspp_mobilenet_v3_large": Trained(
        "segmentation", "scenes_segmentation", "lraspp_garments", labels=("background", *fashion_mnist.CLASSES)
    ),
    "r3d_18": Trained("video", "clips_video", "r3d_18_motions", facts={"clip_length": 8, "frame_rate": 8}),
    "raft_small": Trained("flow", "pairs_flow", "raft_small_composed"),
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
    write_data: Callable[[Path], None] | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> tuple[Path, Evaluation]:
    """Trains a model, or goes on training it, and writes its weights.

    Args:
        model: a key of :data:`MODELS`.
        work: folder for the data set and the run.
        output: folder for the file of the weights.
        settings: changes to the recipe; its ``seed`` is that of the data too.
        write_data: writes the data set into a folder; by default :func:`tools.compose.kinds.compose`.
        device, workers: see :func:`zoo_core.training.fit`.

    Returns:
        The file, and what it reaches on the held-out samples.

    Raises:
        InterruptedError: training was stopped by Ctrl-C or its like; the run goes on when this is called again.
    """
    what = MODELS[model]
    recipe = recipes.read(RECIPES / f"{what.recipe}.toml", specs.find(model).task).with_settings(settings or {})
    data = work / "data"
    if not data.exists():
        # Data of which a part is missing would be trained on as if they were all.
        part = work / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        (write_data or (lambda folder: compose(what.kind, folder, seed=recipe.seed)))(part)
        part.replace(data)
    outcome = training.train(
        _spec(model, what),
        data,
        recipe=recipe,
        from_scratch=True,
        labels=what.labels,
        output=work / "run",
        resume=True,
        device=device,
        workers=workers,
        observer=Lines(),
    )
    if outcome.interrupted:
        raise InterruptedError(f"stopped after step {outcome.steps} of {outcome.of_steps}; the same command goes on")
    best = specs.find(work / "run" / "best.pth")
    file = embedded_checkpoints.save(_tensors(work / "run" / "best.pth", what.half), output, what.name)
    found = evaluate(dataclasses.replace(best, file=str(file)), data, device=device)
    assert found is not None  # of one process
    return file, found


def _spec(model: str, what: Trained) -> ModelSpec:
    spec = specs.find(model)
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
    parser.add_argument("--train", type=int, help="samples to train on; by default as many as the kind has")
    parser.add_argument("--val", type=int, help="held-out samples, likewise")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change to the recipe")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="processes that read and augment")
    parser.add_argument("--processes", type=int, default=1, help="processes that compose the data")
    parser.add_argument("--threads", type=int, default=1, help="of this process")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    kind = MODELS[given.model].kind
    try:
        file, found = train(
            given.model,
            given.work,
            given.output,
            settings={**recipes.parse_settings(given.set), "seed": given.seed},
            write_data=lambda folder: compose(
                kind, folder, seed=given.seed, train=given.train, val=given.val, processes=given.processes
            ),
            device=given.device,
            workers=given.workers,
        )
    except InterruptedError as error:
        parser.exit(130, f"{parser.prog}: {error}\n")
    print(f"{file}: {file.stat().st_size / 2**20:.3f} MB")
    print(
        f"{found.samples} held-out samples: {', '.join(f'{name} {value:.3f}' for name, value in found.metrics.items())}"
    )


if __name__ == "__main__":
    main()
