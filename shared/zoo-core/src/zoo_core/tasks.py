"""Task adapters: how the command line reads an input, runs a model and shows the result, without knowing any task.

A package names its adapter in the entry point group ``zoo.tasks``, under the name that its catalogue has::

    [project.entry-points."zoo.tasks"]
    classification = "zoo_classification.task:ImageClassificationTask"
"""

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from zoo_core.weights import WeightsEnum

ENTRY_POINT_GROUP = "zoo.tasks"
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

Input = TypeVar("Input")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Option:
    """An option of ``zoo predict`` that a task adds: ``--threshold 0.5``, or ``--mask`` for a ``bool``.

    Args:
        name: with its dashes, ``"--threshold"``. Its value is the attribute ``threshold`` of :attr:`Task.options`.
        type: ``int``, ``float``, ``str`` or ``bool``.
        default: the value where the option is not given.
        help: one line for the help text.
    """

    name: str
    type: type
    default: Any
    help: str

    @property
    def key(self) -> str:
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
        options: values of :attr:`extra_options` and of ``topk``; what is left out has its default.
    """

    suffixes: ClassVar[frozenset[str]] = IMAGE_SUFFIXES
    """Endings of the files that are taken from a folder, in lower case."""

    extra_options: ClassVar[tuple[Option, ...]] = ()
    """What ``zoo predict`` takes beside its own options for this task."""

    def __init__(
        self, model: nn.Module, weights: WeightsEnum, device: torch.device, options: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.weights = weights
        self.device = device
        self.options = {option.key: option.default for option in self.extra_options} | dict(options or {})

    @classmethod
    def group(cls, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Which files make one input: each by itself, unless the task needs more of them."""
        return [(path,) for path in paths]

    @abstractmethod
    def read(self, paths: tuple[Path, ...]) -> Input:
        """Reads one input.

        Raises:
            ValueError, OSError: it cannot be read; the message names the file.
        """

    @abstractmethod
    def run(self, inputs: Sequence[Input]) -> list[Result]:
        """Runs the model on a batch of inputs, which may differ in size."""

    @abstractmethod
    def describe(self, result: Result) -> list[str]:
        """The result in words, a line for each thing found, the most likely first."""

    @abstractmethod
    def save(self, input: Input, result: Result, directory: Path, stem: str) -> list[Path]:
        """Writes the input with the result drawn on it, in files whose names begin with ``stem``. Returns them."""

    @abstractmethod
    def to_json(self, result: Result) -> dict[str, Any]:
        """The result as plain data."""

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
        return entry_point.load()
    raise ValueError(
        f"no installed package can show results of the task {name!r}; the package with its models is to name a "
        f"zoo_core.tasks.Task in the entry point group {ENTRY_POINT_GROUP!r}"
    )
