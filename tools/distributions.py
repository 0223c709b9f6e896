"""The distributions of this repository: where they are, what they need, and an order in which that comes first.

Packages are found, not listed: a folder in ``shared/`` or ``packages/`` with a ``pyproject.toml`` is one.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Distribution:
    """A folder with a ``pyproject.toml``."""

    folder: Path

    @cached_property
    def project(self) -> dict[str, Any]:
        """The table ``[project]``."""
        project: dict[str, Any] = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        return project

    @property
    def name(self) -> str:
        """``zoo-detection``."""
        return str(self.project["name"])

    @property
    def short_name(self) -> str:
        """``detection``, as in ``nox -s test-detection``."""
        return self.name.removeprefix("zoo-")

    @property
    def package(self) -> str:
        """``zoo_detection``: the name to import, and how its files begin."""
        return self.name.replace("-", "_")

    @property
    def version(self) -> str:
        return str(self.project["version"])

    @property
    def siblings(self) -> list[str]:
        """Names of the distributions of this repository that it requires itself."""
        names = map(required_name, self.project["dependencies"])
        return [name for name in names if name.startswith("zoo-")]


def required_name(requirement: str) -> str:
    """``pillow`` of ``pillow>=10.3``: the distribution that a requirement asks for."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None, f"{requirement!r} is no requirement"
    return name[0]


def minimums(root: Path = ROOT) -> list[str]:
    """What all distributions require, extras included, at the oldest version that they allow: ``pillow==10.3``.

    What an extra wants in one version alone is left out: such distributions hold weights, and no code.

    Raises:
        ValueError: a requirement has no oldest version.
    """
    requirements: set[str] = set()
    for distribution in find(root).values():
        requirements |= set(distribution.project["dependencies"])
        for extra in distribution.project.get("optional-dependencies", {}).values():
            requirements |= {requirement for requirement in extra if "==" not in requirement.partition(";")[0]}
    return sorted(_oldest(text) for text in requirements if not required_name(text).startswith("zoo-"))


def _oldest(requirement: str) -> str:
    wanted, _, marker = requirement.partition(";")
    bounds = re.findall(r">=\s*([^\s,]+)", wanted)
    if len(bounds) != 1:
        raise ValueError(f"{requirement!r} must say from which version on, once, as in 'pillow>=10.3'")
    return f"{required_name(wanted)}=={bounds[0]}" + (f";{marker}" if marker else "")


def find(root: Path = ROOT) -> dict[str, Distribution]:
    """All distributions of a checkout by name, each after those that it needs."""
    paths = [*sorted(root.glob("shared/*/pyproject.toml")), *sorted(root.glob("packages/*/pyproject.toml"))]
    found = {distribution.name: distribution for distribution in (Distribution(path.parent) for path in paths)}
    ordered: dict[str, Distribution] = {}
    for name in found:
        ordered |= {needed: found[needed] for needed in _chain(found, name)}
    return ordered


def needed_by(name: str, root: Path = ROOT) -> list[Distribution]:
    """A distribution and all of this repository that it needs, itself last."""
    found = find(root)
    return [found[needed] for needed in _chain(found, name)]


def _chain(found: dict[str, Distribution], name: str) -> list[str]:
    chain: list[str] = []
    for sibling in found[name].siblings:
        chain += [needed for needed in _chain(found, sibling) if needed not in chain]
    return [*chain, name]
