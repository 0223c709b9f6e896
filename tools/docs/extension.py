"""What Sphinx does not know by itself: weights take their facts from the catalogue, and names from elsewhere exist.

There is no network to look up what other projects document. A reference that leads to no page is still no fault if the
name can be imported (``torch.Tensor``, or a class of ours that is not public): then its text stays. Otherwise Sphinx
warns, and a warning is an error.
"""

import contextlib
import enum
import importlib
import inspect
import posixpath
import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

from zoo_core.registry import weights_enums
from zoo_core.weights import WeightsEnum


def describe_weights(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Gives enums of published weights the docstring that they have no need of in the code, where a catalogue is."""
    if what == "class" and is_published(obj) and obj.__doc__ is None:
        builders = " and ".join(f":func:`{builder}`" for builder in builders_with(obj))
        lines[:] = [f"Published weights of {builders}." if builders else "Published weights.", ""]
        for alias, member in obj.__members__.items():
            said = facts(member) if alias == member.name else [f"The same as :attr:`{member.name}`."]
            lines += [f".. py:attribute:: {alias}", "", *(f"   {line}" for line in said), ""]


def keep_enums(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Shows enums of published weights and the members of other enums, though they have no docstring in the code."""
    is_plain_member = isinstance(obj, enum.Enum) and not isinstance(obj, WeightsEnum)
    return False if is_published(obj) or is_plain_member else None


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Leaves out how to call an enum, which nobody does, and writes types of functions as the code does."""
    if what == "class" and issubclass(obj, enum.Enum):
        return "", None
    if signature is None:
        return None
    # A default that a dataclass makes anew is not Python where it is printed.
    signature = signature.replace("<factory>", "...")
    return signature.replace("Callable[[...]", "Callable[..."), returns and returns.replace(
        "Callable[[...]", "Callable[..."
    )


def is_published(obj: Any) -> bool:
    return isinstance(obj, type) and issubclass(obj, WeightsEnum) and obj is not WeightsEnum


def builders_with(weights: type[WeightsEnum]) -> Iterator[str]:
    """The builders of the enum's module that take it for ``weights``."""
    for name, function in vars(sys.modules[weights.__module__]).items():
        if not inspect.isfunction(function) or function.__module__ != weights.__module__:
            continue
        if "weights" in inspect.signature(function).parameters:
            with contextlib.suppress(ValueError):
                if weights in weights_enums(function):
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
    yield f"- Preprocessing by :class:`~zoo_core.presets.{type(preset).__name__}`: {preset.describe()}"
    links = {"Checkpoint": member.url, "Recipe": meta.get("recipe"), "Licence": meta.get("license")}
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
    module, scope = node.get("py:module"), node.get("py:class")
    names = [target, f"builtins.{target}", f"{module}.{target}", f"{module}.{scope}.{target}"]
    return contnode if any(find(name) is not None for name in names) else None


def link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Makes links of the names that a guide puts in code font: its modules, builders, weights, classes."""
    if not page.startswith(("guides/", "jobs/")):
        return
    package = posixpath.basename(page).replace("-", "_")
    documented = app.env.domains.python_domain.objects
    modules = [name for name, entry in documented.items() if entry.objtype == "module" and name.startswith(package)]
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext().removesuffix("()")
        in_modules = [f"{module}.{text}" for module in modules]
        found = [name for name in in_modules if name in documented and name not in modules]
        found = found or [name for name in [text] if name in documented]
        if len(found) == 1 and not isinstance(literal.parent, nodes.reference):
            entry = documented[found[0]]
            link = make_refnode(app.builder, page, entry.docname, entry.node_id, literal.deepcopy(), found[0])
            literal.replace_self(link)


def find(name: str) -> Any:
    """The object of a full name; ``None`` if there is none."""
    module_name = name
    attributes: list[str] = []
    while module_name:
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError:
            module_name, _, attribute = module_name.rpartition(".")
            attributes.insert(0, attribute)
            continue
        for attribute in attributes:
            found = getattr(found, attribute, None)
        return found
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", describe_weights)
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("autodoc-skip-member", keep_enums)
    app.connect("missing-reference", accept_existing)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
