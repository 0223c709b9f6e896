"""All that a run has to remember: written into its checkpoints, and read from the last to go on."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from zoo_core import checkpoints
from zoo_core.specs import ModelSpec
from zoo_core.training.recipes import Recipe
from zoo_core.training.saving import snapshot

__all__ = ["State"]


@dataclass
class State:
    """A run between two steps. Random generators have no state here; see :mod:`zoo_core.training.randomness`.

    Args:
        spec: the model.
        model, optimizer, schedule, averaged, scaler: what is trained, and with what.
        finished: makes of the model the form in which it is used, see
            :meth:`~zoo_core.training.contract.Training.finished`.
        identity: what must be the same for a run to go on: recipe, data, samples of a step.
        step: how many are done.
        loss: sum of the losses of this epoch's steps.
        history: the figures of each epoch.
        best: the best value of the main figure.
        best_epoch: of that epoch the file of the best model is, from 1 on.
    """

    spec: ModelSpec
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    averaged: AveragedModel | None
    scaler: torch.amp.GradScaler
    finished: Callable[[nn.Module], nn.Module]
    identity: Mapping[str, Any]
    step: int = 0
    loss: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = 0

    _used: tuple[int, nn.Module] | None = None

    _PROGRESS = ("step", "loss", "history", "best", "best_epoch")
    _PARTS = ("optimizer", "schedule", "averaged", "scaler")

    @property
    def kept(self) -> nn.Module:
        """The model that is evaluated and saved to be used: the average, if there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def used(self) -> nn.Module:
        """The kept model in the form in which it is used; not to be changed."""
        if self._used is None or self._used[0] != self.step:
            self._used = self.step, self.finished(self.kept)
        return self._used[1]

    def result(self, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        """A copy of the kept model, and what it is: the content of a file for use.

        Args:
            metrics: figures by name, by data set.
        """
        spec = dataclasses.replace(self.spec, facts={**self.spec.facts, "metrics": metrics})
        parameters = self.used().state_dict()
        for name, value in parameters.items():
            if isinstance(value, Tensor):  # of int8 layers there are other values too
                parameters[name] = value.contiguous()
        return snapshot({"model": parameters, "spec": spec.as_dict()})

    def content(self) -> dict[str, Any]:
        """A copy of everything: the content of a file to go on from, which can be used like the other."""
        progress = {name: getattr(self, name) for name in self._PROGRESS}
        parts = {name: part.state_dict() for name in self._PARTS if (part := getattr(self, name)) is not None}
        training = {"identity": self.identity, "progress": progress, "parts": parts, "model": {}}
        used = self.used().state_dict()
        own = self.model.state_dict()
        if self.averaged is not None or used.keys() != own.keys():
            training["model"] = own
        return snapshot({"model": used, "spec": self.spec.as_dict(), "training": training})

    def load(self, path: Path) -> None:
        """Goes on from a file.

        Raises:
            ValueError: it is not of this run; the message says what differs.
            zoo_core.checkpoints.CheckpointError: it cannot be read.
        """
        content = checkpoints.read_content(path)
        training = content.get("training") if isinstance(content, dict) else None
        if not isinstance(training, dict) or not isinstance(content, dict):
            raise ValueError(f"{path} is not a file that training goes on from")
        if differences := _differences(_with_defaults(training["identity"], self.identity), self.identity):
            raise ValueError(f"{path} is of another run: {'; '.join(differences)}. Give another --output for a new run")
        self.model.load_state_dict(training["model"] or content["model"])
        for name, saved in training["parts"].items():
            getattr(self, name).load_state_dict(saved)
        for name, value in training["progress"].items():
            setattr(self, name, value)


def _with_defaults(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was, with the keys that recipes have got since it began: it did as their defaults do."""
    recipe, defaults = before.get("recipe", {}), Recipe().as_dict()
    added = {key: defaults[key] for key in now.get("recipe", {}).keys() & defaults.keys() - recipe.keys()}
    as_lists = {key: list(value) if isinstance(value, tuple) else value for key, value in added.items()}
    return {**before, "recipe": {**recipe, **as_lists}}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new)
        elif old != new:
            found.append(f"{key} was {old!r} and is {new!r} now")
    return found
