"""The one version of all distributions: in each pyproject.toml, in the exact pins between them, and in the code."""

import re
from pathlib import Path

import tomlkit
from packaging.version import InvalidVersion, Version

from tools import distributions
from tools.release.errors import ReleaseError

CODE = Path("shared/zoo-core/src/zoo_core/__init__.py")
_STATED = re.compile(r'^__version__ = ".*"$', re.MULTILINE)


def parse(text: str) -> Version:
    """A version in its normal form.

    Raises:
        ReleaseError: it is none, or spelt otherwise than installers would show it.
    """
    try:
        version = Version(text)
    except InvalidVersion:
        raise ReleaseError(f"{text!r} is not a version: expected something like 0.2.0 or 1.0.0rc1") from None
    if str(version) != text:
        raise ReleaseError(f"{text!r} is not the normal form of the version: write {version}")
    if version.local:
        raise ReleaseError(f"{text!r} has a local part ({version.local}), which no index takes: leave it out")
    return version


def current(root: Path) -> Version:
    """The version that all distributions of a checkout have.

    Raises:
        ReleaseError: they differ.
    """
    versions = {name: distribution.version for name, distribution in distributions.find(root).items()}
    if len(set(versions.values())) != 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        raise ReleaseError(f"the distributions differ in version: {listed}; all must have the same")
    return Version(next(iter(versions.values())))


def with_version(root: Path, version: Version) -> dict[Path, str]:
    """The files that state the version, by path, as they are to read."""
    changed: dict[Path, str] = {}
    for distribution in distributions.find(root).values():
        path = distribution.folder / "pyproject.toml"
        document = tomlkit.parse(path.read_text())
        project = document["project"]
        assert isinstance(project, tomlkit.items.Table)
        project["version"] = str(version)
        requirements = project["dependencies"]
        assert isinstance(requirements, tomlkit.items.Array)
        for index, requirement in enumerate(list(requirements)):
            name = distributions.required_name(requirement)
            if name in distribution.siblings:
                requirements[index] = f"{requirement.partition('==')[0]}=={version}"  # extras stay
        changed[path] = tomlkit.dumps(document)
    path = root / CODE
    text, count = _STATED.subn(f'__version__ = "{version}"', path.read_text())
    if count != 1:
        raise ReleaseError(f'{path} must state the version once, as __version__ = "..."; it does so {count} times')
    changed[path] = text
    return changed
