"""Writes ``.ci/constraints.txt``: one version of everything that any session of the noxfile installs.

Run it with the lowest Python that we support, whose versions the others can install too.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import distributions
from tools.distributions import ROOT, required_name

PATH = ROOT / ".ci" / "constraints.txt"
HEADER = """\
# What CI installs, so that a run next month gives the same result. Written by `nox -s lock`.
"""
# Installed without its dependencies, which would be another torch.
_APART = {"torchvision"}


def requirements() -> set[str]:
    """All that sessions, packages and builds ask for, but for our own packages."""
    found = {"nox", *_of_groups()}
    for distribution in distributions.find().values():
        found |= set(distribution.project["dependencies"])
        found |= set(tomllib.loads((distribution.folder / "pyproject.toml").read_text())["build-system"]["requires"])
    return {requirement for requirement in found if not required_name(requirement).startswith("zoo-")}


def resolve(wanted: set[str]) -> dict[str, str]:
    """The versions that pip would install, by name.

    Raises:
        subprocess.CalledProcessError: they do not go together; pip has said why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", str(report)]
        subprocess.run([*pip, *sorted(wanted)], check=True)
        installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    versions = {
        entry["metadata"]["name"].lower().replace("_", "-"): entry["metadata"]["version"] for entry in installed
    }
    return dict(sorted(versions.items()))


def _of_groups() -> Iterator[str]:
    for entries in tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"].values():
        yield from (entry for entry in entries if isinstance(entry, str) and required_name(entry) not in _APART)


def main() -> None:
    versions = resolve(requirements())
    PATH.write_text(HEADER + "".join(f"{name}=={version.partition('+')[0]}\n" for name, version in versions.items()))
    print(f"{len(versions)} versions in {PATH.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
