"""Fresh virtual environments that have torch and nothing else, each ready at once."""

import os
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

from tools.distributions import ROOT
from tools.environments import share_packages
from tools.release.commands import run


class Environment:
    """A virtual environment without pip of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def scripts(self) -> Path:
        return self.path / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        return self.scripts / ("python.exe" if os.name == "nt" else "python")

    def pip(self, *arguments: str | Path) -> str:
        """Runs pip on this environment.

        Raises:
            ReleaseError: pip failed.
        """
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "--no-input"]
        return run([*pip, *arguments])

    def installed(self) -> dict[str, str]:
        """Names and versions of the distributions in it."""
        lines = self.pip("list", "--format", "freeze").split()
        return dict(line.split("==") for line in lines)


class Environments:
    """Makes environments in a directory.

    Torch takes long to unpack, so it is installed once; each environment gets its files as hard links.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._template = directory / "torch"

    def prepare(self) -> None:
        """Installs torch for all environments to come.

        Raises:
            ReleaseError: pip failed.
        """
        requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["torch"]
        Environment(_create(self._template)).pip("install", "--quiet", *requirements)

    def fresh(self, name: str) -> Environment:
        """A new environment with torch alone."""
        environment = Environment(_create(self._directory / name))
        share_packages(self._template, environment.path)
        return environment


def smoke_test(environment: Environment, package: str, directory: Path) -> str:
    """Does a package's main job in an environment, with no network and with no module but the installed ones.

    Args:
        environment: has the package.
        package: its import name.
        directory: a new folder for the cache and the images.

    Returns:
        What was printed.

    Raises:
        ReleaseError: something failed.
    """
    directory.mkdir(parents=True)
    script = Path(__file__).with_name("smoke.py")
    return run(
        [environment.python, "-I", script, package],
        cwd=directory,
        TORCH_HOME=str(directory / "cache"),
        ZOO_OFFLINE="1",
        PATH=os.pathsep.join([str(environment.scripts), os.environ["PATH"]]),
    )


def install(environment: Environment, requirements: Sequence[str], *options: str | Path) -> None:
    """Installs requirements from wheels only.

    Raises:
        ReleaseError: pip failed.
    """
    environment.pip("install", "--quiet", "--only-binary", ":all:", *options, *requirements)


def _create(path: Path) -> Path:
    venv.create(path, with_pip=False, symlinks=os.name != "nt", clear=True)
    return path
