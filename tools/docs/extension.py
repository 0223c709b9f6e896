"""What Sphinx does not know by itself: weights take their facts from the catalogue, and names from elsewhere exist.

There is no network to look up what other projects document. A reference that leads to no page is still no fault if the
name can be imported (``torch.Tensor``, or a class of ours that is not public): then its text stays. Otherwise Sphinx
warns, and a warning is an error.
"""

import builtins
import inspect
import pydoc
import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from zoo_core.registry import weights_enums
from zoo_core.weights import WeightsEnum


def describe_weights(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Gives enums of published weights and their members a docstring, which they have in the catalogue."""
    if isinstance(obj, WeightsEnum):
        member = name.rpartition(".")[2]
        lines[:] = [f"The same as :attr:`{obj.name}`."] if member != obj.name else list(facts(obj))
    elif is_published(obj) and "__doc__" not in vars(obj):
        builders = " and ".join(f":func:`{builder}`" for builder in builders_with(obj))
        lines[:] = [f"The weights that {builders} takes." if builders else "Published weights."]


def keep_weights(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Shows enums of published weights and their members, though they have no docstring in the code."""
    return False if isinstance(obj, WeightsEnum) or is_published(obj) else None


def is_published(obj: Any) -> bool:
    return isinstance(obj, type) and issubclass(obj, WeightsEnum) and obj is not WeightsEnum


def builders_with(enum: type[WeightsEnum]) -> Iterator[str]:
    """The builders of the enum's module that take it for ``weights``."""
    for name, function in vars(sys.modules[enum.__module__]).items():
        if inspect.isfunction(function) and "weights" in inspect.signature(function).parameters:
            try:
                taken = weights_enums(function)
            except ValueError:
                continue
            if enum in taken:
                yield name


def facts(member: WeightsEnum) -> Iterator[str]:
    """What is known of published weights, as a list in reStructuredText."""
    meta = member.meta
    for data_set, values in meta.get("_metrics", {}).items():
        yield f"- {data_set}: " + ", ".join(f"{metric} {value}" for metric, value in values.items())
    sizes = {
        "{:,} parameters": meta.get("num_params"),
        "{} GFLOPs": meta.get("_ops"),
        "file of {} MiB": meta.get("_file_size"),
        "{} categories": len(meta.get("categories") or ()) or None,
    }
    yield "- " + ", ".join(text.format(value) for text, value in sizes.items() if value is not None)
    preset = member.transforms()
    yield f"- preprocessing by :class:`~zoo_core.presets.{type(preset).__name__}`: {preset.describe()}"
    links = {"checkpoint": member.url, "recipe": meta.get("recipe"), "licence": meta.get("license")}
    for text, value in links.items():
        if value is not None:
            yield f"- `{text} <{value}>`__" if value.startswith("https://") else f"- {text}: ``{value}``"


def accept_existing(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: nodes.TextElement
) -> nodes.TextElement | None:
    """The text of a reference whose name exists, though no page has it."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    scopes = [node.get("py:module"), f"{node.get('py:module')}.{node.get('py:class')}"]
    names = [target, *(f"{scope}.{target}" for scope in scopes if scope)]
    if hasattr(builtins, target) or any(pydoc.locate(name) is not None for name in names):
        return contnode
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", describe_weights)
    app.connect("autodoc-skip-member", keep_weights)
    app.connect("missing-reference", accept_existing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
