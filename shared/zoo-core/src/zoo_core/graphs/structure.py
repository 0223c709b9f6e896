"""What goes into a model and comes out of it, as flat lists of named tensors, which is all that exported files have.

A *template* says how tensors, by name, make an argument or a result. It is plain data, so that a file can hold it:

==========================================  ==============================================================
``"logits"``                                the tensor of that name
``["first", "second"]``                     a list
``{"tuple": ["first", "second"]}``          a tuple
``{"dict": {"out": "logits"}}``             a dict
``{"items": "images"}``                     a list of the items of a batch, as detectors take images
``{"padded": {...}, "count": "number"}``    a list with a dict for each item of a batch, of as many first rows of its
                                            tensors as ``number`` has for it
==========================================  ==============================================================

:class:`Signature` holds those of a model::

    signature = Signature.of((images,), model(images), input_names=["images"], output_name="logits")
    signature.flat_inputs(images)             # [images]
    signature.result_of([logits])             # what the model gives, made of what a runtime gives
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["NamedTensor", "Signature", "Template", "filled", "named_tensors"]

Template = str | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class NamedTensor:
    """A tensor that a file takes or gives.

    Attributes:
        name: what the file calls it.
        dtype: ``"float32"``, ``"int64"``, ``"uint8"``, ...
        shape: the size of each dimension; a name where it may be any: ``("batch", 3, "height", "width")``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.shape))}]"

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> "NamedTensor":
        """A tensor's name, dtype and shape."""
        return cls(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this shape."""
        return len(self.shape) == tensor.ndim and all(
            isinstance(size, str) or size == found for size, found in zip(self.shape, tensor.shape, strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NamedTensor":
        """What :meth:`as_dict` gave. Raises ValueError if it is not that."""
        name, dtype, shape = (values.get(key) for key in ("name", "dtype", "shape"))
        if (
            not isinstance(name, str)
            or not isinstance(getattr(torch, str(dtype), None), torch.dtype)
            or not isinstance(shape, list)
            or not all(isinstance(size, str) or (type(size) is int and size >= 0) for size in shape)
        ):
            raise ValueError(f"no name, dtype and shape of a tensor: {dict(values)!r:.200}")
        return cls(name, str(dtype), tuple(shape))


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        inputs: the tensors that go in, in the order in which a file has them.
        outputs: those that come out.
        arguments: a template for each positional argument of the model.
        result: the template of what it returns.
    """

    inputs: tuple[NamedTensor, ...]
    outputs: tuple[NamedTensor, ...]
    arguments: tuple[Template, ...]
    result: Template

    @classmethod
    def of(
        cls,
        arguments: Sequence[Tensor | Sequence[Tensor]],
        result: Any,
        *,
        input_names: Sequence[str] | None = None,
        output_name: str = "output",
        renamed: Mapping[str, str] | None = None,
    ) -> "Signature":
        """The signature of a call.

        Args:
            arguments: of the model: tensors; or lists of tensors of one shape, which a file takes as one batch.
            result: what it gave: a tensor; or lists, tuples and dicts of such.
            input_names: the name of each argument; by default ``images``, or ``input_0``, ``input_1``, ...
            output_name: for tensors that are in no dict. Those of dicts have the name of their key. Where a list or
                tuple has several, their numbers are put behind: ``boxes_0``.
            renamed: other names for some of those.

        Raises:
            ValueError: tensors of a list differ in shape, or two outputs would have the same name.
            TypeError: there is something other than that.
        """
        names = list(input_names or ())
        if len(names) != len(arguments):
            names = ["images"] if len(arguments) == 1 else [f"input_{index}" for index in range(len(arguments))]
        templates: list[Template] = [
            name if isinstance(value, Tensor) else {"items": name} for name, value in zip(names, arguments, strict=True)
        ]
        inputs = [
            NamedTensor.of(name, tensor)
            for template, value in zip(templates, arguments, strict=True)
            for name, tensor in named_tensors(template, value)
        ]
        template = _template(result, (), output_name, renamed or {})
        outputs = [NamedTensor.of(name, tensor) for name, tensor in named_tensors(template, result)]
        taken = [output.name for output in outputs]
        if len(set(taken)) < len(taken):
            raise ValueError(f"outputs must differ in their names, which are {', '.join(taken)}")
        return cls(tuple(inputs), tuple(outputs), tuple(templates), template)

    def flat_inputs(self, *arguments: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """The tensors for a file, in its order.

        Args:
            *arguments: as the model takes them.

        Raises:
            ValueError: these are not its arguments.
        """
        if len(arguments) != len(self.arguments):
            raise ValueError(f"the model takes {len(self.arguments)} arguments, not {len(arguments)}")
        found: dict[str, Tensor] = {}
        for template, value in zip(self.arguments, arguments, strict=True):
            found.update(named_tensors(template, value))
        return [found[tensor.name] for tensor in self.inputs]

    def arguments_of(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """The arguments that the model takes, of the tensors that a file takes, in its order."""
        by_name = {named.name: tensor for named, tensor in zip(self.inputs, tensors, strict=True)}
        return tuple(filled(template, by_name) for template in self.arguments)

    def flat_outputs(self, result: Any) -> list[Tensor]:
        """The tensors that a file gives, in its order, of what the model gives."""
        found = dict(named_tensors(self.result, result))
        return [found[tensor.name] for tensor in self.outputs]

    def result_of(self, tensors: Sequence[Tensor]) -> Any:
        """What the model gives, of the tensors that a file gives, in its order.

        Raises:
            ValueError: there are more or fewer tensors.
        """
        if len(tensors) != len(self.outputs):
            raise ValueError(f"the file has {len(self.outputs)} outputs, and gave {len(tensors)}")
        return filled(self.result, {named.name: tensor for named, tensor in zip(self.outputs, tensors, strict=True)})

    def as_dict(self) -> dict[str, Any]:
        """As plain data, the same after a way through JSON; :meth:`from_dict` takes it."""
        return {
            "inputs": [tensor.as_dict() for tensor in self.inputs],
            "outputs": [tensor.as_dict() for tensor in self.outputs],
            "arguments": list(self.arguments),
            "result": self.result,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Signature":
        """The signature that a file holds.

        Raises:
            ValueError: it is none.
        """
        missing = [key for key in ("inputs", "outputs", "arguments", "result") if key not in values]
        if missing:
            raise ValueError(f"the signature lacks {', '.join(missing)}")
        inputs, outputs = (tuple(map(NamedTensor.from_dict, _mappings(values[key]))) for key in ("inputs", "outputs"))
        if not isinstance(values["arguments"], list):
            raise ValueError(f"arguments must be a list, not {values['arguments']!r:.100}")
        for tensors, templates in ((inputs, values["arguments"]), (outputs, [values["result"]])):
            has = sorted(tensor.name for tensor in tensors)
            wants = sorted(name for template in templates for name in _names(template))
            if has != wants:
                raise ValueError(f"the templates name {', '.join(wants)}, and there are {', '.join(has)}")
        return cls(inputs, outputs, tuple(values["arguments"]), values["result"])


def _mappings(values: Any) -> Iterable[Mapping[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"expected a list of tensors, not {values!r:.100}")
    return values


def _template(value: Any, path: tuple[str | int, ...], default: str, renamed: Mapping[str, str]) -> Template:
    """The template of a value; ``path`` leads to it, with numbers where lists have more than one item."""
    if isinstance(value, Tensor):
        words = [str(key) for key in path if isinstance(key, str)] or [default]
        return "_".join([renamed.get(words[-1], words[-1]), *(str(key) for key in path if isinstance(key, int))])
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"the keys of a dict of outputs must be strings, not {list(value)!r:.100}")
        return {"dict": {key: _template(item, (*path, key), default, renamed) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        several = len(value) > 1
        items = [_template(v, (*path, i) if several else path, default, renamed) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(f"a model must give tensors, or lists, tuples and dicts of them, not a {type(value).__name__}")


def _items(template: Any) -> list[Any]:
    return template if isinstance(template, list) else template["tuple"]


def _names(template: Any) -> Iterable[str]:
    """The names in a template. Raises ValueError if it is none."""
    match template:
        case str():
            yield template
        case list() | {"tuple": list()}:
            for item in _items(template):
                yield from _names(item)
        case {"items": str(name)}:
            yield name
        case {"dict": dict(items)}:
            for item in items.values():
                yield from _names(item)
        case {"padded": dict(items), "count": str(count)}:
            for item in items.values():
                yield from _names(item)
            yield count
        case _:
            raise ValueError(f"this is no template: {template!r:.200}")


def named_tensors(template: Template, value: Any) -> list[tuple[str, Tensor]]:
    """The tensors of a value, with the names that a template has for them.

    Raises:
        ValueError: the value is not of that form.
    """
    match template:
        case str(name) if isinstance(value, Tensor):
            return [(name, value)]
        case {"items": str(name)} if isinstance(value, Tensor):
            return [(name, value)]
        case {"items": str(name)} if isinstance(value, Sequence) and value:
            shapes = {tuple(tensor.shape) for tensor in value}
            if len(shapes) > 1:
                raise ValueError(f"{name} must have one shape to be a batch, and have {sorted(shapes)}")
            return [(name, torch.stack(list(value)))]
        case list() | {"tuple": list()} if isinstance(value, Sequence):
            items = _items(template)
            if len(items) == len(value):
                return [pair for item, part in zip(items, value, strict=True) for pair in named_tensors(item, part)]
        case {"dict": dict(items)} if isinstance(value, Mapping) and value.keys() == items.keys():
            return [pair for key, item in items.items() for pair in named_tensors(item, value[key])]
    raise ValueError(f"expected {_described(template)}, not {_described_value(value)}")


def filled(template: Template, tensors: Mapping[str, Tensor]) -> Any:
    """The value that a template and the tensors by name make.

    Raises:
        ValueError: it is no template, or there is no such tensor.
    """
    match template:
        case str(name):
            if name not in tensors:
                raise ValueError(f"there is no tensor {name!r}; there are {', '.join(tensors)}")
            return tensors[name]
        case list():
            return [filled(item, tensors) for item in template]
        case {"tuple": list(items)}:
            return tuple(filled(item, tensors) for item in items)
        case {"items": str(name)}:
            return list(filled(name, tensors).unbind(0))
        case {"dict": dict(items)}:
            return {key: filled(item, tensors) for key, item in items.items()}
        case {"padded": dict(items), "count": str(count)}:
            rows = {key: filled(item, tensors) for key, item in items.items()}
            return [
                {key: value[index, :number] for key, value in rows.items()}
                for index, number in enumerate(filled(count, tensors).tolist())
            ]
    raise ValueError(f"this is no template: {template!r:.200}")


def _described(template: Template) -> str:
    match template:
        case str(name):
            return f"a tensor {name}"
        case {"items": str(name)}:
            return f"a list of tensors {name}, or a batch of them"
        case list() | {"tuple": list()}:
            items = _items(template)
            return f"{len(items)} of {', '.join(map(_described, items))}"
        case {"dict": dict(items)}:
            return f"a dict of {', '.join(items)}"
    return "what the template says"


def _described_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
