"""What the docstrings of all builders have in common, said once: the arguments that each of them takes."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

COMMON: Mapping[str, str] = {
    "weights": "the checkpoint to load; ``None`` for random parameters.",
    "weights_backbone": "the checkpoint to load into the backbone; ignored if ``weights`` are given.",
    "progress": "show a progress bar for a download.",
}


def describe_arguments(function: Function, texts: Mapping[str, str] = COMMON) -> Function:
    """Adds the arguments of ``texts`` to the ``Args:`` section of a docstring that does not describe them itself.

    Args:
        function: a builder with a docstring in Google's style; one without a docstring is left as it is.
        texts: descriptions by name, of which those for the function's parameters are used. ``**kwargs`` that nobody
            describes are those of the class that the builder returns.

    Returns:
        The function.
    """
    if not function.__doc__:
        return function
    paragraphs, entries, rest = _parse(inspect.cleandoc(function.__doc__))
    described = {name for names in entries for name in names}
    parameters = [_written(parameter) for parameter in inspect.signature(function).parameters.values()]
    for name in parameters:
        text = texts.get(name)
        if text is None and name == "**kwargs":
            text = f"arguments of {_returned(function)}, and of :func:`zoo_core.builders.build`."
        if text is not None and name not in described:
            entries[(name,)] = _wrapped(f"{name}: {text}")
    order = {name: position for position, name in enumerate(parameters)}
    lines = [line for names in sorted(entries, key=lambda names: order.get(names[0], -1)) for line in entries[names]]
    if lines:
        function.__doc__ = "\n\n".join(part for part in (paragraphs, "\n".join(["Args:", *lines]), rest) if part)
    return function


def _parse(text: str) -> tuple[str, dict[tuple[str, ...], list[str]], str]:
    """What is before the arguments, the lines of each entry by the names that it is for, and what comes after."""
    lines = text.splitlines()
    sections = [number for number, line in enumerate(lines) if re.fullmatch(r"[A-Z][a-z]+:", line)]
    start = next((number for number in sections if lines[number] == "Args:"), None)
    after = next((number for number in sections if start is None or number > start), len(lines))
    entries: dict[tuple[str, ...], list[str]] = {}
    names: tuple[str, ...] = ("",)
    for line in [] if start is None else lines[start + 1 : after]:
        found = re.match(r"    (\S[^:]*):", line)
        if found:
            names = tuple(name.strip() for name in found[1].split(","))
        if line:
            entries.setdefault(names, []).append(line)
    before = "\n".join(lines[: after if start is None else start])
    return before.rstrip(), entries, "\n".join(lines[after:]).rstrip()


def _wrapped(entry: str) -> list[str]:
    return textwrap.wrap(
        entry,
        112,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        # Names and addresses stay in one piece.
        break_long_words=False,
        break_on_hyphens=False,
    )


def _written(parameter: inspect.Parameter) -> str:
    return f"**{parameter.name}" if parameter.kind is inspect.Parameter.VAR_KEYWORD else parameter.name


def _returned(function: Callable[..., Any]) -> str:
    """The class that a builder returns, as a reference."""
    annotation = inspect.signature(function).return_annotation
    if isinstance(annotation, str):
        annotation = getattr(function, "__globals__", {}).get(annotation)
    if not isinstance(annotation, type) or annotation.__module__.startswith(("inspect", "torch.")):
        return "the model's class"
    if annotation.__module__ == function.__module__:
        return f":class:`{annotation.__name__}`"
    return f":class:`~{annotation.__module__}.{annotation.__name__}`"
