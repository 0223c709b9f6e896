"""Takes feature maps and embeddings out of a forward pass, by hooks."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.features.declared import (
    FeatureLayers,
    Form,
    Layer,
    copied,
    form_of,
    layers_of,
    plain,
    pooled,
    uncompiled,
    unwrapped,
)

__all__ = ["FeatureModel", "features"]

EMBEDDING, LOGITS, OUTPUT = "embedding", "logits", "output"


def features(
    model: nn.Module, *inputs: Any, layers: str | int | Sequence[str | int] | None = None, **arguments: Any
) -> dict[str, Any]:
    """Runs a model, and gives what its layers give on the way.

    Nothing is traced, and the model stays as it is: hooks are there during the call alone, on copies of the modules
    that are asked (without their parameters), so that several threads may use one model. The forward stops behind the
    last layer that is asked for; a graph that is compiled or exported does not have what comes after it, once unused
    nodes are removed.

    Args:
        model: any model of the zoo; of other models, paths of submodules can be asked for. Of one that
            ``torch.compile`` gave, the model inside runs: compile a :class:`FeatureModel` instead.
        *inputs: what its ``forward`` takes: a batch, Tensor[N, C, H, W] or Tensor[N, C, T, H, W]; of detectors a list
            of images, of RAFT both batches.
        layers: one or several of

            - names of stages, ``"stage2"``; :func:`~zoo_core.features.model_features` lists them;
            - their indices, of which ``-1`` is the last stage;
            - ``"embedding"``: what the last layer takes, pooled: Tensor[N, D]. Of detectors and segmentation models it
              is the mean of the backbone's last map, of RAFT those of both images side by side;
            - ``"logits"``: the scores of the classes, and ``"output"``: all that the forward gives, both of the same
              pass;
            - the path of any submodule, ``"layer3.0.conv1"``, ``"encoder.layers.encoder_layer_5"``. If it runs several
              times, its first output counts.

            By default all stages and the embedding.
        **arguments: keyword arguments of the ``forward``.

    Returns:
        By the names that were asked for (of an index the stage's name), in the order in which they were: maps,
        Tensor[N, C, H, W] or Tensor[N, C, T, H, W], of transformers too. What a path gives is of the form that its
        module gives, but blocks of transformers give maps as stages do. Tensors of int8 models are dequantized.

    Raises:
        ValueError: the model has no such layer, or it did not run in this pass.
        TypeError: a layer is neither a name nor an index, or the model is of TorchScript.
    """
    model = uncompiled(model)
    watch = _Watch(model, layers)
    return watch.run(watch.hooked(model, stops=_may_stop()), inputs, arguments)


class FeatureModel(nn.Module):
    """A model whose forward gives features; see :func:`features`, which it calls.

    It has the model as its child ``model``, and works under ``torch.compile``, ``torch.export``, autocast and
    ``DataParallel``. A model that changes after this module was compiled with ``fullgraph=True`` (another layer in the
    place of one, another hook) is an error; without, it costs a graph break.

    Args:
        model: see :func:`features`. It stays as it is.
        layers: likewise.

    Shape:
        what the model takes -> dict of tensors by the names of the layers

    Raises:
        ValueError: the model has no such layer.
        TypeError: a layer is neither a name nor an index, or the model is of TorchScript.
    """

    def __init__(self, model: nn.Module, layers: str | int | Sequence[str | int] | None = None) -> None:
        super().__init__()
        model = uncompiled(model)
        self.model = model
        self._watch = _Watch(model, layers)
        self.layers = self._watch.names
        self.hook_again()

    def train(self, mode: bool = True) -> "FeatureModel":
        super().train(mode)
        self.hook_again()
        return self

    def forward(self, x: Any, *others: Any, **arguments: Any) -> dict[str, Any]:
        inputs = (x, *others)
        if torch.compiler.is_dynamo_compiling():
            if not self._hooked[0].is_of(self.model):
                # Imported here: what it takes to break a graph takes seconds to import, which the compiler has done.
                from zoo_core.features.rehooking import hook_again

                hook_again(self)
            return self._watch.run(self._hooked[0], inputs, arguments)
        return self._watch.run(self._watch.hooked(self.model, stops=_may_stop()), inputs, arguments)

    def hook_again(self) -> None:
        """Has the compiled forward use the model as it is now."""
        # Dynamo cannot make hooks: these are made beforehand. A list hides them from what looks for submodules.
        self._hooked = [self._watch.hooked(self.model, stops=True)]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_hooked"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.hook_again()


def _may_stop() -> bool:
    # An exporter keeps account of the modules that it is in, and loses it if one is left by an exception.
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


class _StopForwardError(Exception):
    """All that was asked for is there."""


@dataclass(frozen=True)
class _Place:
    """Where a hook takes something.

    Args:
        path: of the submodule.
        of_input: take what it is given, not what it gives.
        safe: nothing later writes to it.
    """

    path: str
    of_input: bool = False
    safe: bool = False


@dataclass(frozen=True)
class _Wanted:
    """Something that was asked for: what is made of what was taken at a place."""

    name: str
    place: _Place
    make: Callable[[Any], Any]


@dataclass
class _Hooked:
    """A model with hooks, and what they have taken so far.

    Args:
        model: the copy that has them.
        taken: what they took.
        pairs: of each module of which there is a copy, the module and the copy; parents first.
        hooks: how many hooks each of these modules had.
    """

    model: nn.Module
    taken: dict[_Place, Any]
    pairs: list[tuple[nn.Module, nn.Module]]
    hooks: list[int]

    def is_of(self, model: nn.Module) -> bool:
        """Whether it is of a model as that is now: nothing in it was replaced, got hooks, or changed its mode."""
        if self.pairs[0][0] is not model:
            return False
        copies = {id(module): copy for module, copy in self.pairs}
        for (module, copy), hooks in zip(self.pairs, self.hooks, strict=True):
            if module.training != copy.training or _count_hooks(module) != hooks:
                return False
            for name, child in module._modules.items():
                found = copy._modules.get(name)
                its_copy = None if child is None else copies.get(id(uncompiled(child)))
                if found is not child and (its_copy is None or found is not its_copy):
                    return False
        return True


class _Watch:
    """What is to be taken out of a model. Holds no module, and can be pickled."""

    def __init__(self, model: nn.Module, layers: str | int | Iterable[str | int] | None) -> None:
        _refuse_script(model)
        declared = layers_of(model)
        self.model_name = type(model).__name__
        self.wanted: dict[str, _Wanted | None] = {}
        for layer in _as_list(layers, declared):
            name, wanted = _resolve(model, declared, layer)
            self.wanted[name] = wanted
        self.names = tuple(self.wanted)
        self.places = list(dict.fromkeys(wanted.place for wanted in self.wanted.values() if wanted is not None))
        self.needs_all = None in self.wanted.values()

    def hooked(self, model: nn.Module, *, stops: bool) -> _Hooked:
        """The model with hooks on copies of the modules that are asked, which share all their tensors with it.

        Args:
            model: stays as it is.
            stops: leave the forward once all is there.
        """
        taken: dict[_Place, Any] = {}
        stops = stops and not self.needs_all
        root = _copied(model)
        copies = {"": (model, root)}
        for place in self.places:
            module = _copy_of(place.path, copies)
            hook = _hook(place, taken, len(self.places) if stops else 0)
            hooks = module._forward_pre_hooks if place.of_input else module._forward_hooks
            # Of its own count: nobody removes it.
            hooks[-1 - len(hooks)] = hook
        pairs = list(copies.values())
        return _Hooked(root, taken, pairs, [_count_hooks(module) for module, _ in pairs])

    def run(self, hooked: _Hooked, inputs: tuple[Any, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Runs it, and makes what was asked for of what the hooks took."""
        taken = hooked.taken
        output = None
        try:
            output = hooked.model(*inputs, **arguments)
        except _StopForwardError:
            if len(taken) < len(self.places):  # of one around this one
                raise
        found: dict[str, Any] = OrderedDict()
        for name, wanted in self.wanted.items():
            if wanted is None:
                found[name] = plain(output) if name == OUTPUT else plain(_logits(output, self.model_name))
            elif wanted.place in taken:
                found[name] = wanted.make(taken[wanted.place])
            else:
                taken.clear()
                raise ValueError(
                    f"the layer {name!r} did not run in this pass of {self.model_name}; is it one for training only, "
                    "or one that the model passes by?"
                )
        taken.clear()
        return found


def _as_list(layers: str | int | Iterable[str | int] | None, declared: FeatureLayers | None) -> list[str | int]:
    if layers is None:
        if declared is None:
            return [OUTPUT]
        has_embedding = declared.head is not None or declared.pooled is not None
        return [*declared.layers, *([EMBEDDING] if has_embedding else [])]
    given: Any = layers
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not found:
        raise ValueError("layers is empty; name stages, give indices such as -1, or leave it out for all stages")
    for layer in found:
        if not isinstance(layer, str | int) or isinstance(layer, bool):
            raise TypeError(f"a layer is a name, a path or an index, and not {layer!r}")
    return found


def _resolve(model: nn.Module, declared: FeatureLayers | None, layer: str | int) -> tuple[str, _Wanted | None]:
    """The name of what was asked for, and how it is had; ``None`` for what the forward itself gives."""
    stages = {} if declared is None else declared.layers
    if isinstance(layer, int):
        if declared is None or not -len(stages) <= layer < len(stages):
            raise ValueError(f"{_name(model)} has no stage {layer}; {_what_there_is(model, declared)}")
        layer = list(stages)[layer]
    if layer in (LOGITS, OUTPUT):
        return layer, None
    if layer == EMBEDDING:
        return layer, _embedding(model, declared)
    if declared is not None and layer in stages:
        stage = stages[layer]
        return layer, _Wanted(layer, _Place(stage.path, safe=True), _maker(model, declared, stage))
    module: nn.Module | None = model
    for name in layer.split("."):  # not by attributes, which may be methods
        children = {} if module is None else uncompiled(module)._modules
        module = children[name] if name in children else None  # noqa: SIM401  # of TorchScript's it is no dict
    if module is None:
        raise ValueError(f"{_name(model)} has no layer {layer!r}; {_what_there_is(model, declared)}")
    form = form_of(module, {} if declared is None else declared.forms)
    return layer, _Wanted(layer, _Place(layer), _Made(form))


def _embedding(model: nn.Module, declared: FeatureLayers | None) -> _Wanted:
    if declared is not None and declared.head is not None:
        return _Wanted(EMBEDDING, _Place(declared.head, of_input=True, safe=True), _Made(pooled))
    if declared is not None and declared.pooled is not None:
        stage = declared.layers[declared.pooled]
        make = _maker(model, declared, stage)
        return _Wanted(EMBEDDING, _Place(stage.path, safe=True), _Made(declared.pool or pooled, before=make))
    raise ValueError(f"{_name(model)} has no embedding; {_what_there_is(model, declared)}")


def _maker(model: nn.Module, declared: FeatureLayers, stage: Layer) -> "_Made":
    form = stage.form or form_of(model.get_submodule(stage.path), declared.forms)
    return _Made(form, stage.key)


@dataclass(frozen=True)
class _Made:
    """Makes a feature of what a hook took. Can be pickled.

    Args:
        form: see :class:`Layer`.
        key: likewise.
        before: runs first.
    """

    form: Form | None
    key: str | None = None
    before: "_Made | None" = None

    def __call__(self, value: Any) -> Any:
        if self.before is not None:
            value = self.before(value)
        if self.key is not None:
            value = value[self.key]
        value = plain(value)
        return value if self.form is None else self.form(value)


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _what_there_is(model: nn.Module, declared: FeatureLayers | None) -> str:
    if declared is None:
        children = ", ".join(name for name, _ in model.named_children())
        inside = unwrapped(model)
        if inside is not model:
            return f"it wraps a {_name(inside)}: give that one, or wrap a FeatureModel of it in a {_name(model)}"
        return f"its class does not declare stages (feature_layers), and there are the submodules {children}, ..."
    stages = declared.layers
    has_embedding = declared.head is not None or declared.pooled is not None
    named = [*stages, *([EMBEDDING] if has_embedding else []), LOGITS, OUTPUT]
    return f"there are {', '.join(named)}, indices from {-len(stages)} to {len(stages) - 1}, and paths of submodules"


def _logits(output: Any, model_name: str) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and isinstance(output.get("out"), Tensor):
        return output["out"]
    logits = getattr(output, "logits", None)  # of models that give several in training
    if isinstance(logits, Tensor):
        return logits
    raise ValueError(f"{model_name} gives no scores of classes; ask for 'output', which is what its forward gives")


def _hook(place: _Place, taken: dict[_Place, Any], stop_at: int) -> Callable[..., None]:
    def take(module: nn.Module, inputs: tuple[Any, ...], output: Any = None) -> None:
        if place in taken:
            return
        value = inputs[0] if place.of_input else output
        is_last = stop_at == len(taken) + 1
        taken[place] = value if place.safe or is_last else copied(value)
        if is_last:
            raise _StopForwardError

    return take


def _copied(module: nn.Module) -> nn.Module:
    """Another module of the same tensors and children, with hooks of its own beside those that there are."""
    _refuse_script(module)
    # Not by __new__ and setattr: wrappers of torch make, or write to, the module inside.
    copy: nn.Module = object.__new__(type(module))
    own = copy.__dict__
    own |= module.__dict__
    own["_modules"] = module._modules.copy()
    own["_forward_hooks"] = OrderedDict(module._forward_hooks)
    own["_forward_pre_hooks"] = OrderedDict(module._forward_pre_hooks)
    own["_compiled_call_impl"] = None  # of the module itself
    return copy


def _refuse_script(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"{module.original_name} is of TorchScript, whose layers cannot be watched; give the eager model"
        )


def _copy_of(path: str, copies: dict[str, tuple[nn.Module, nn.Module]]) -> nn.Module:
    """The copy of a submodule in a copy of the model, made with those of all that are above it.

    Args:
        path: of the submodule.
        copies: modules and their copies by path, with that of the model itself.
    """
    if path not in copies:
        above, _, name = path.rpartition(".")
        parent = _copy_of(above, copies)
        child = parent._modules[name]
        assert child is not None
        child = uncompiled(child)
        copies[path] = child, _copied(child)
        parent._modules[name] = copies[path][1]
    return copies[path][1]


def _count_hooks(module: nn.Module) -> int:
    return len(module._forward_hooks) + len(module._forward_pre_hooks)
