"""Trained weights: where they are, how to prepare an input for them, and what is known about them."""

import enum
import functools
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from zoo_core import catalog
from zoo_core.late_dict import LateDict


@dataclass(eq=False)
class Weights:
    """One set of trained weights.

    Args:
        url: address of the checkpoint; schemes ``https:``, ``http:``, ``file:`` and ``package:``.
        transforms: called without arguments, gives the preprocessing of the model's inputs. Usually a preset of
            :mod:`zoo_core.presets` in a :class:`functools.partial`.
        meta: what is known: ``categories``, ``num_params``, ``min_size``, ``recipe``, ``_metrics``, ``_ops``, ...

    Attributes:
        sha256_prefix: first hex digits of the file's SHA-256, ``None`` where no check is possible. Those of the
            catalogue are as published; else those at the end of the file's name, after a dash, as PyTorch's hub has
            them (``resnet18-f37072fd.pth``).
    """

    url: str
    transforms: Callable[..., Any]
    meta: dict[str, Any]
    sha256_prefix: str | None = field(init=False)

    def __post_init__(self) -> None:
        found = re.search(r"-([0-9a-f]{8,64})\.[^/]*$", self.url)
        self.sha256_prefix = found[1] if found else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Weights):
            return NotImplemented
        return (
            self.url == other.url
            and self.meta == other.meta
            and self.sha256_prefix == other.sha256_prefix
            and _parts(self.transforms) == _parts(other.transforms)
        )

    __hash__ = None  # type: ignore[assignment]  # as for any mutable dataclass

    def get_state_dict(
        self,
        model_dir: str | os.PathLike[str] | None = None,
        map_location: Any = "cpu",
        progress: bool = True,
        check_hash: bool = True,
        file_name: str | None = None,
        weights_only: bool = True,
    ) -> dict[str, Any]:
        """The checkpoint's tensors by name; downloads the file if it is not in the cache.

        Args:
            model_dir: a folder that takes the place of the cache.
            map_location: device for the tensors, as in :func:`torch.load`.
            progress: show a progress bar.
            check_hash: compare a downloaded file with ``sha256_prefix``, as everywhere in the zoo by default.
            file_name: name for the file there, instead of that in the url.
            weights_only: taken as torchvision takes it; whatever it says, no code in a file is ever run.

        Raises:
            zoo_core.checkpoints.CheckpointError: the file cannot be obtained or read; the message says why.
        """
        from zoo_core import checkpoints

        to = None
        if model_dir is not None or file_name is not None:
            place = checkpoints.locate(self.url)
            to = (place.parent if model_dir is None else Path(model_dir)) / (file_name or place.name)
        return checkpoints.get_state_dict(
            self.url,
            sha256_prefix=self.sha256_prefix,
            progress=progress,
            check_hash=check_hash,
            map_location=map_location,
            to=to,
        )


@dataclass(eq=False)
class _OfAnotherPackage(Weights):
    """Weights whose file comes with another package, or has the names of another library.

    Args:
        model: what they are of.
        checkpoint: what the catalogue says of them.
    """

    model: catalog.Model
    checkpoint: catalog.Checkpoint

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        from zoo_core import checkpoints

        try:
            found = super().get_state_dict(*args, **kwargs)
        except checkpoints.CheckpointNotFoundError as error:
            message = self.model.missing_extra(self.checkpoint)
            if message is None:
                raise
            raise checkpoints.CheckpointNotFoundError(message) from error
        if self.checkpoint.names is None:
            return found
        from zoo_core import foreign

        builder = catalog.load(self.model, self.model.function)
        source = f"{self.model.name} with {self.checkpoint.name}"
        return dict(foreign.translated(self.model.name, builder, found, source=source))


def _parts(transforms: Callable[..., Any]) -> tuple[Any, ...]:
    """What makes two preprocessing factories equal: functools.partial itself compares by identity."""
    if isinstance(transforms, functools.partial):
        return transforms.func, transforms.args, transforms.keywords
    return (transforms,)


class WeightsEnum(enum.Enum):
    """The published weights of one model.

    A model of an installed catalogue spells out its members' names, and their values come from the catalogue file
    beside its module when they are first asked for::

        class ResNet50_Weights(WeightsEnum):
            IMAGENET1K_V1 = enum.auto()
            IMAGENET1K_V2 = enum.auto()
            DEFAULT = IMAGENET1K_V2

    Members may as well be given :class:`Weights`, as in torchvision.
    """

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> str:
        return name

    @enum.property
    def value(self) -> Weights:
        """The :class:`Weights` of this member."""
        return self._value_ if isinstance(self._value_, Weights) else _from_catalog(type(self), self.name)

    @property
    def url(self) -> str:
        """Address of the checkpoint."""
        return self.value.url

    @property
    def transforms(self) -> Callable[..., Any]:
        """Called without arguments, gives the preprocessing of the model's inputs."""
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        """What is known; see :class:`Weights`."""
        return self.value.meta

    @property
    def sha256_prefix(self) -> str | None:
        """First hex digits of the file's SHA-256, ``None`` where no check is possible."""
        return self.value.sha256_prefix

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See :meth:`Weights.get_state_dict`."""
        return self.value.get_state_dict(*args, **kwargs)

    @classmethod
    def verify(cls, obj: Any) -> Self | None:
        """The member that ``obj`` stands for: a member, its name with or without the class name, or ``None``.

        Letter case does not matter, unless only that tells two members apart.

        Raises:
            zoo_core.catalog.UnknownWeightsError: a ``ValueError`` and ``KeyError``: there is no member of that name;
                the message lists the members.
            TypeError: ``obj`` is something else, for instance the weights of another model.
        """
        if obj is None or isinstance(obj, cls):
            return obj
        if isinstance(obj, str):
            found = catalog.members_named(obj, {cls.__name__: cls.__members__})
            if len(found) == 1:
                return cls[found[0][1]]
            raise catalog.UnknownWeightsError(
                f"{cls.__name__} has no member {obj!r}; there are {', '.join(cls.__members__)}"
            )
        raise TypeError(
            f"weights must be a member of {cls.__name__}, its name or None, not {obj!r} of type {type(obj).__name__}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # By name: values may hold what cannot be hashed or pickled.
        return getattr, (type(self), self._name_)


@functools.cache
def _from_catalog(cls: type[WeightsEnum], name: str) -> Weights:
    file = catalog.file_of_module(inspect.getfile(sys.modules[cls.__module__]))
    model = catalog.weights_in_file(file, cls.__name__)
    entry = model.checkpoints.get(name)
    if entry is None:
        raise catalog.CatalogError(f"{file}: has no checkpoint {name} for {cls.__name__}; add its table")
    from zoo_core import presets

    transforms = functools.partial(getattr(presets, entry.preset), **entry.preset_arguments)
    # Other weights are named; to find them may mean to import their package.
    meta = LateDict(entry.meta(), {"unquantized": weights_named})
    is_plain = entry.extra is None and entry.names is None
    weights = (
        Weights(entry.url, transforms, meta)
        if is_plain
        else _OfAnotherPackage(entry.url, transforms, meta, model, entry)
    )
    weights.sha256_prefix = entry.sha256_prefix
    return weights


def weights_named(name: str, more: Mapping[str, type[WeightsEnum]] = types.MappingProxyType({})) -> WeightsEnum:
    """The weights of a full name, ``"ResNet50_Weights.IMAGENET1K_V1"``, in any package that is installed.

    Args:
        name: class and member.
        more: further enums, by class name. Those of the catalogue go first.

    Raises:
        zoo_core.catalog.UnknownWeightsError: a ``ValueError`` and ``KeyError``: the name is not of that form, no
            installed package has the enum, or the enum has no such member.
    """
    enum_name, dot, member = name.partition(".")
    if not dot or not member:
        raise catalog.UnknownWeightsError(f"weights are named as in 'ResNet50_Weights.IMAGENET1K_V1', not {name!r}")
    homes: dict[str, catalog.Model | type[WeightsEnum]] = {}
    # The packages of the zoo go first: nobody takes over the names of their weights.
    for model in sorted(catalog.models().values(), key=lambda model: not model.source.ours):
        homes.setdefault(model.weights, model)
    homes = {**more, **homes}
    spelt = catalog.spelt(enum_name, homes)
    if len(spelt) != 1:
        near = catalog.nearest(enum_name, homes)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise catalog.UnknownWeightsError(f"no installed package has the weights enum {enum_name!r}{hint}")
    home = homes[spelt[0]]
    enum: type[WeightsEnum] = catalog.load(home, home.weights) if isinstance(home, catalog.Model) else home
    found = enum.verify(member)
    assert found is not None
    return found
