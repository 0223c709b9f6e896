"""``nox -s publish -- [NAME...] --index URL``: uploads what ``dist/`` has of the current version, by twine.

Distributions go in the order in which they need each other; files that the index has already are left out. Twine takes
the user's name and password, or a token, from its own settings (``~/.pypirc``, ``TWINE_USERNAME``, ``TWINE_PASSWORD``),
and on a hosted runner the identity that the index trusts.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import requests
from pypi_simple import NoSuchProjectError, PyPISimple

from tools import distributions
from tools.distributions import ROOT, Distribution
from tools.release.commands import run
from tools.release.errors import ReleaseError

PYPI = "https://upload.pypi.org/legacy/"
# Where indexes show what they have, for those that do not do so below the address for uploads.
LISTINGS = {PYPI: "https://pypi.org/simple/", "https://test.pypi.org/legacy/": "https://test.pypi.org/simple/"}


def files_of(distribution: Distribution, directory: Path) -> list[Path]:
    """The files of a distribution's current version, wheels of all platforms among them.

    Raises:
        ReleaseError: the source distribution or any wheel lacks.
    """
    stem = f"{distribution.package}-{distribution.version}"
    found = [sorted(directory.glob(f"{stem}{ending}")) for ending in (".tar.gz", "-*.whl")]
    if not all(found):
        raise ReleaseError(
            f"{directory} lacks {stem}.tar.gz or a wheel of it: build it by nox -s release, or by nox -s "
            f"build-{distribution.short_name}"
        )
    return [path for paths in found for path in paths]


def listed(name: str, listing: str) -> dict[str, str | None]:
    """The files that an index has of a distribution, with their SHA-256 where the index says it.

    Raises:
        ReleaseError: the index cannot be asked.
    """
    try:
        with PyPISimple(endpoint=listing) as index:
            page = index.get_project_page(name)
    except NoSuchProjectError:
        return {}
    except requests.RequestException as error:
        raise ReleaseError(f"{listing} does not say what it has of {name}: {error}") from None
    return {package.filename: package.digests.get("sha256") for package in page.packages}


def publish(names: Sequence[str], directory: Path, index: str, listing: str, root: Path = ROOT) -> list[Path]:
    """Uploads distributions.

    Args:
        names: of the distributions; all if empty.
        directory: has their files.
        index: address for uploads.
        listing: address of the index's simple API.
        root: the checkout that says which version is current.

    Returns:
        What was uploaded.

    Raises:
        ReleaseError: a file lacks, or the index has another of its name, or lacks what the distribution needs, or
            refuses the upload. What was uploaded before stays.
    """
    found = distributions.find(root)
    if unknown := sorted(set(names) - found.keys()):
        raise ReleaseError(f"there is no distribution {', '.join(unknown)}; there are {', '.join(found)}")
    chosen = [distribution for name, distribution in found.items() if not names or name in names]
    files = {distribution.name: files_of(distribution, directory) for distribution in chosen}
    uploaded: list[Path] = []
    for distribution in chosen:
        for sibling in distribution.siblings:
            if sibling not in files and not _has(sibling, distribution.version, listing):
                raise ReleaseError(
                    f"{distribution.name} needs {sibling} {distribution.version}, which {listing} does not have: "
                    f"publish that first (nox -s publish-{sibling.removeprefix('zoo-')})"
                )
        there = listed(distribution.name, listing)
        missing = [path for path in files[distribution.name] if path.name not in there]
        for path in files[distribution.name]:
            if path in missing:
                continue
            theirs = there[path.name]
            if theirs is not None and theirs != hashlib.sha256(path.read_bytes()).hexdigest():
                raise ReleaseError(
                    f"{listing} has another {path.name} than {directory}; a published file cannot change: release a "
                    "new version"
                )
            print(f"{path.name}: there already")
        if missing:
            run([sys.executable, "-m", "twine", "upload", "--non-interactive", "--repository-url", index, *missing])
            uploaded += missing
            for path in missing:
                print(f"{path.name}: uploaded", flush=True)
    return uploaded


def _has(name: str, version: str, listing: str) -> bool:
    stem = f"{name.replace('-', '_')}-{version}"
    return any(filename.startswith((f"{stem}-", f"{stem}.tar.gz")) for filename in listed(name, listing))


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s publish --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="distributions (zoo-detection); all without")
    parser.add_argument("--index", default=PYPI, metavar="URL", help="where uploads go (default: %(default)s)")
    parser.add_argument(
        "--listing", metavar="URL", help="the index's simple API (default: /simple/ below the index, or as PyPI has it)"
    )
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", metavar="DIR", help="default: %(default)s")
    arguments = parser.parse_args()
    index = arguments.index
    listing = arguments.listing or LISTINGS.get(index, f"{index.rstrip('/')}/simple/")
    try:
        uploaded = publish(arguments.names, arguments.dist, index, listing)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(uploaded)} files uploaded to {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
