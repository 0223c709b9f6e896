"""Task adapters: how the command line reads an input, runs a model and shows the result, without knowing any task.

A package names its adapter in the entry point group ``zoo.tasks``, under the name that its catalogue has::

    [project.entry-points."zoo.tasks"]
    classification = "zoo_classification.task:ImageClassificationTask"
"""

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from zoo_core.registry import get_model
from zoo_core.weights import WeightsEnum

ENTRY_POINT_GROUP = "zoo.tasks"
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)

Input = TypeVar("Input")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Option:
    """An option of ``zoo predict`` that a task adds: ``--threshold 0.5``, or ``--mask`` for a ``bool``.

    Args:
        name: with its dashes, ``"--threshold"``. Its value is the item ``"threshold"`` of ``Task.options``.
        type: ``int``, ``float``, ``str`` or ``bool``; a ``bool`` is ``False`` where the option is not given.
        default: the value where the option is not given; ``None`` goes with any type but ``bool``.
        help: one line for the help text.
        minimum, maximum: the least and the greatest value of a number.
    """

    name: str
    type: type
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None

    @property
    def key(self) -> str:
        """The name without dashes, which is a Python identifier."""
        return self.name.lstrip("-").replace("-", "_")


class Score(ABC, Generic[Result]):
    """Compares results with what is true, one input after the other."""

    @abstractmethod
    def update(self, result: Result, truth: Any) -> None:
        """Takes one result and what should have come out, in the task's own form."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The metrics over all that was taken, by name: ``{"acc@1": 91.2, "acc@5": 99.7}``.

        Raises:
            ValueError: nothing was taken yet.
        """


class Task(ABC, Generic[Input, Result]):
    """Runs one model on inputs of its task and shows the results.

    Args:
        model: the model, in eval mode on ``device``.
        weights: what it was loaded with; gives preprocessing and labels.
        device: where inputs go.
        options: values of :attr:`extra_options` by key; what is left out has its default.
    """

    suffixes: ClassVar[frozenset[str]] = IMAGE_SUFFIXES
    """Endings of the files that are taken from a folder, in lower case."""

    extra_options: ClassVar[tuple[Option, ...]] = ()
    """What ``zoo predict`` takes beside its own options for this task."""

    batch_size: ClassVar[int] = 8
    """How many inputs run at a time if the user does not say."""

    device_types: ClassVar[frozenset[str] | None] = None
    """The kinds of device that models of this task run on (``{"cpu"}``); ``None`` for any."""

    example_files: ClassVar[str] = "photo.jpg"
    """What may stand behind the model's name in a call of ``zoo predict``, for hints to users."""

    samples: ClassVar[str | None] = None
    """Url of a folder with inputs for ``zoo demo``; ``None`` for the folder ``samples`` of the models' package."""

    @classmethod
    def build(cls, name: str, weights: WeightsEnum) -> nn.Module:
        """Makes the model of that name with its weights, for inference."""
        return get_model(name, weights=weights)

    def __init__(
        self, model: nn.Module, weights: WeightsEnum, device: torch.device, options: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.weights = weights
        self.device = device
        self.options = {option.key: option.default for option in self.extra_options} | dict(options or {})

    @classmethod
    def group(cls, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Which files belong together: each by itself, unless the task needs more of them (a pair of pictures).

        Raises:
            ValueError: they cannot be grouped, because one is left over for instance.
        """
        return [(path,) for path in paths]

    def inputs(self, paths: tuple[Path, ...]) -> Iterator[Input]:
        """What a group of files holds: one input, or many that are read one after the other (the frames of a video).

        Raises:
            ValueError, OSError: as :meth:`read`, also after some inputs came out.
        """
        yield self.read(paths)

    def count(self, paths: tuple[Path, ...]) -> int:
        """How many inputs :meth:`inputs` will give, for the progress bar; a guess will do. Never raises.

        Where there may be several, the guess is more than 1: the results are then numbered.
        """
        return 1

    @abstractmethod
    def read(self, paths: tuple[Path, ...]) -> Input:
        """Reads a group of files as one input.

        Raises:
            ValueError, OSError: it cannot be read; the message names the file.
        """

    @abstractmethod
    def run(self, inputs: Sequence[Input]) -> list[Result]:
        """Runs the model on a batch of inputs, which may differ in size. Called in inference mode.

        Raises:
            ValueError, RuntimeError: the model does not take one of them, or its results are no numbers.
        """

    @abstractmethod
    def describe(self, result: Result) -> list[str]:
        """The result in words, a line for each thing found, the most likely first."""

    @abstractmethod
    def save(self, input: Input, result: Result, directory: Path, stem: str) -> list[Path]:
        """Writes the input with the result drawn on it, in files named ``stem`` and an extension, with a dot and
        a word in between where there are several (``photo.png``, ``photo.mask.png``). Returns them.

        Raises:
            OSError: a file cannot be written.
        """

    @abstractmethod
    def to_json(self, result: Result) -> dict[str, Any]:
        """The result as plain data. The keys ``file``, ``files``, ``index``, ``error`` and ``output`` are taken."""

    @abstractmethod
    def score(self) -> Score[Result]:
        """A new score, for comparing results of this task with what is true."""


def task_class(name: str) -> type[Task[Any, Any]]:
    """The adapter of a task that an installed package has.

    Raises:
        ValueError: no installed package has an adapter for that task.
    """
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name)
    for entry_point in found:
        loaded = entry_point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Task)):
            raise ValueError(
                f"the entry point {name} = {entry_point.value!r} in the group {ENTRY_POINT_GROUP} must name a "
                f"subclass of zoo_core.tasks.Task, not {loaded!r}"
            )
        return loaded
    raise ValueError(
        f"no installed package can show results of the task {name!r}; the package with its models is to name a "
        f"zoo_core.tasks.Task in the entry point group {ENTRY_POINT_GROUP!r}"
    )
