"""Which model a state dict belongs to."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core import catalog
from zoo_core.checkpoints.own_files import likeness

__all__ = ["Likeness", "recognize"]

_BUILT_AT_MOST = 12
_LEAST_SHARE = 0.3
# What is counted in a state dict and is no parameter.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Likeness:
    """A model, and how much a state dict resembles its own.

    Attributes:
        name: of the builder.
        share: of the names and shapes that either has, those that both have; from 0 to 1.
    """

    name: str
    share: float

    def __str__(self) -> str:
        return f"{self.name} ({100 * self.share:.0f}% of the names and shapes)"


def recognize(state_dict: Mapping[str, Any], *, task: str | None = None, limit: int = 3) -> list[Likeness]:
    """The models that a state dict resembles most, the best match first.

    Compared are those of the installed packages that have about as many parameters, at most a dozen, which takes about
    a second. They are built without storage, and nothing is read or downloaded.

    Args:
        state_dict: values by name.
        task: only models of this task; ``None`` for all.
        limit: how many at most.
    """
    from zoo_core.builders import fresh_arguments, without_storage
    from zoo_core.registration import get_model_builder

    found = []
    for name in _of_about_that_size(_count(state_dict), task):
        with without_storage():
            try:
                builder = get_model_builder(name)
                model = builder(**fresh_arguments(builder))
            except Exception:  # of a package that is broken, or that builds nothing without weights
                continue
        found.append(Likeness(name, likeness(state_dict, model.state_dict())))
    # Variants of a model, an int8 one for instance, may have the same parameters; the plainest has the shortest name.
    found.sort(key=lambda like: (-like.share, len(like.name), like.name))
    return [like for like in found[:limit] if like.share >= _LEAST_SHARE]


def _count(state_dict: Mapping[str, Any]) -> int:
    return sum(
        getattr(value, "numel", lambda: 0)()
        for key, value in state_dict.items()
        if key.rpartition(".")[2] not in _BUFFERS
    )


def _of_about_that_size(count: int, task: str | None) -> Iterator[str]:
    distances = {}
    for name, model in catalog.models().items():
        counts = [checkpoint.num_params for checkpoint in model.checkpoints.values() if checkpoint.num_params]
        if counts and (task is None or model.task == task):
            distances[name] = min(abs(math.log(max(count, 1) / known)) for known in counts)
    yield from sorted(distances, key=lambda name: (distances[name], name))[:_BUILT_AT_MOST]
