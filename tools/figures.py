"""Evaluates the models whose weights ship in a package on all of their held-out data, beside what the catalogue says.

    python -m tools.figures [MODEL ...] [--pictures FOLDER ...]

- shufflenet_v2_x0_5 and quantized_shufflenet_v2_x0_5: the 10,000 held-out images of Fashion-MNIST (see
  `tools/fashion_mnist.py` for where they come from)
- raft_small: 64 pairs of synthetic motion whose textures training never saw. The catalogue's figures are of textures
  that come from photographs as well, which `--pictures` names (see `tools/evaluate_flow.py`); without them the textures
  are procedural ones alone, and the figure is another.
- x3d_xs, ssdlite320_mobilenet_v3_large and lraspp_mobilenet_v3_large: what `python -m tools.compose` holds out (see
  `tools/compose/README.md` for what that needs).

Each data set is written as a user has it, and goes the whole way of `zoo evaluate`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from tools import evaluate_flow, fashion_mnist
from tools.compose.kinds import compose
from zoo_core import specs
from zoo_core.evaluating import Evaluation, evaluate
from zoo_core.images import write_png
from zoo_flow import write_flo

# Rounding in other kernels moves an image in 10,000 across a border now and then: three are allowed.
TOLERANCE = 0.03
MODELS = {
    "shufflenet_v2_x0_5": ("FASHIONMNIST_V1", "Fashion-MNIST", "acc@1"),
    "quantized_shufflenet_v2_x0_5": ("FASHIONMNIST_FBGEMM_V1", "Fashion-MNIST", "acc@1"),
    "raft_small": ("SYNTHETIC_V1", "Synthetic-Textured", "epe"),
    "x3d_xs": ("MOTIONS_V1", "Composed-Motions", "acc@1"),
    "ssdlite320_mobilenet_v3_large": ("GARMENTS_V1", "Composed-Scenes", "box_map"),
    "lraspp_mobilenet_v3_large": ("GARMENTS_V1", "Composed-Scenes", "miou"),
}


def write_pairs(folder: Path, pictures: list[Path], count: int = 64) -> None:
    """Held-out pairs as a user's own: a folder of two frames for each, and the flow between them."""
    pairs = evaluate_flow.held_out_pairs(pictures, count)
    for number in range(count):
        frames, flow = folder / "frames" / f"{number:03d}", folder / "flow" / f"{number:03d}"
        for path in (frames, flow):
            path.mkdir(parents=True)
        for name, image in (("1", pairs.image1), ("2", pairs.image2)):
            write_png((image[number] * 255).round().to(torch.uint8), str(frames / f"{name}.png"))
        write_flo(pairs.flow[number], flow / "1.flo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)}; all by default")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders of photographs for raft_small")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.models if name not in MODELS]:
        parser.error(f"no weights of {', '.join(unknown)} ship in a package; there are {', '.join(MODELS)}")
    wrong = []
    with tempfile.TemporaryDirectory() as directory:
        for name in arguments.models or MODELS:
            weights, data_set, metric = MODELS[name]
            spec = specs.find(name, weights=weights)
            is_flow, is_composed = data_set == "Synthetic-Textured", data_set.startswith("Composed")
            # Composed data lie in another layout for each task.
            folder = Path(directory, spec.task if is_composed else data_set)
            if not folder.exists():
                if is_flow:
                    write_pairs(folder, evaluate_flow.pictures_in(arguments.pictures))
                elif is_composed:
                    compose(spec.task, folder, train=0)
                else:
                    fashion_mnist.write_folders(folder, splits=("t10k",))
            begun = time.perf_counter()
            found = evaluate(name, folder, weights=weights, device="cpu")
            seconds = time.perf_counter() - begun
            assert isinstance(found, Evaluation)
            published = spec.facts["metrics"][data_set]
            for key, value in found.metrics.items():
                beside = f"{published[key]:8.3f}" if key in published else 8 * " "
                print(f"{name:30s} {key:14s} {value:8.3f} {beside}")
            print(f"{name:30s} {found.samples} samples in {seconds:.0f} s, {len(found.bad)} at fault", flush=True)
            is_comparable = not is_flow or arguments.pictures
            if is_comparable and abs(found.metrics[metric] - published[metric]) > TOLERANCE:
                wrong.append(f"{metric} of {name}")
    if wrong:
        raise SystemExit(f"not what the catalogue says: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
