"""Examples in docstrings, run: what a page of the documentation shows must be what a reader gets."""

import doctest
import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def modules_with_examples(package: str) -> list[str]:
    """Names of the modules of a package, with what lies below it, that have examples in their docstrings."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    names = []
    for path in sorted(root.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(root).with_suffix("").parts
            names.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return names


def run_examples(name: str) -> doctest.TestResults:
    """Runs the examples of one module, with its names in reach; what differs is printed.

    Its functions and classes are looked up one by one: :func:`doctest.testmod` passes over functions that a decorator
    of another module wraps.
    """
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(recurse=False).find(module, name)
    for key, value in vars(module).items():
        if _is_own(value, module):
            tests += doctest.DocTestFinder().find(value, f"{name}.{key}", module=False, globs=vars(module))
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    return runner.summarize(verbose=False)


def _is_own(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__
