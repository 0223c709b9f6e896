"""``nox -s release -- 0.2.0``: one release of all distributions, built, checked and tagged, or nothing at all.

Everything happens in a worktree of its own beside the checkout. Only when all is well does the checkout move on to the
release's commit, and its tag appear; until then, and after a failure, it is as it was.
"""

import argparse
import difflib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

from tools import distributions
from tools.distributions import ROOT
from tools.release import building, changelog, environments, versions
from tools.release.commands import run
from tools.release.errors import ReleaseError


def git(*arguments: str | Path, root: Path) -> str:
    return run(["git", "-C", root, *arguments]).strip()


def check_ready(root: Path, version: Version) -> None:
    """Checks that a version may be released from this checkout.

    Raises:
        ReleaseError: it may not; the message says what to do first.
    """
    if changed := git("status", "--porcelain", root=root):
        raise ReleaseError(f"the working tree is not clean; commit these changes or take them back:\n{changed}")
    if git("tag", "--list", f"v{version}", root=root):
        raise ReleaseError(f"the tag v{version} is there already: choose the next version")
    if version < (now := versions.current(root)):
        raise ReleaseError(f"version {version} is lower than {now}, which this checkout has: choose a higher one")


def changes(root: Path, version: Version) -> dict[Path, str]:
    """The files that a release changes, by path in the checkout, as they are to read.

    Raises:
        ReleaseError: the changelog says nothing of what is new, or the version is not stated as it should be.
    """
    path = root / changelog.PATH
    if not path.is_file():
        raise ReleaseError(f"{path} is missing: it says what is new, under '## Unreleased'")
    changed = versions.with_version(root, version)
    changed[path] = changelog.released(path.read_text(), str(version), datetime.now(UTC).date())
    return {path: text for path, text in changed.items() if text != path.read_text()}


def show(root: Path, version: Version) -> None:
    """Prints what a release would change and do."""
    for path, text in changes(root, version).items():
        name = path.relative_to(root)
        lines = path.read_text().splitlines(keepends=True), text.splitlines(keepends=True)
        sys.stdout.writelines(difflib.unified_diff(*lines, f"a/{name}", f"b/{name}", n=1))
    print(f"\nThen commit 'Release {version}', and into {root / 'dist'}, each built, checked and tried alone:")
    for distribution in distributions.find(root).values():
        print(f"  {distribution.package}-{version}.tar.gz and its wheel")
    print(f"Then tag v{version}. This was a dry run: nothing has changed.")


@contextmanager
def worktree(root: Path) -> Iterator[Path]:
    """A second checkout of the current commit, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="zoo-release-") as scratch:
        path = Path(scratch, "checkout")
        git("worktree", "add", "--detach", path, "HEAD", root=root)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", path, root=root)


def try_each_alone(checkout: Path, built: Path) -> None:
    """Installs each wheel in an environment of its own and does its main job there.

    Raises:
        ReleaseError: one cannot be installed, or fails; the message says which.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-environments-") as scratch:
        fresh = environments.Environments(Path(scratch))
        fresh.prepare()

        def attempt(distribution: distributions.Distribution) -> None:
            environment = fresh.fresh(distribution.name)
            environments.install(environment, [f"{distribution.name}=={distribution.version}"], "--find-links", built)
            environments.smoke_test(environment, distribution.package, Path(scratch, f"{distribution.name}-work"))
            print(f"{distribution.name} works alone", flush=True)

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(attempt, distributions.find(checkout).values()))


def release(root: Path, version: Version, *, isolated: bool = True) -> list[Path]:
    """Releases a version from a checkout.

    Args:
        root: the checkout.
        version: the new version.
        isolated: whether builds install their requirements for themselves.

    Returns:
        The files in ``dist/`` to publish.

    Raises:
        ReleaseError: something is wrong; the checkout is as it was.
    """
    check_ready(root, version)
    with worktree(root) as checkout:
        for path, text in changes(checkout, version).items():
            path.write_text(text)
        git("commit", "--quiet", "--all", "--message", f"Release {version}", root=checkout)
        commit = git("rev-parse", "HEAD", root=checkout)
        epoch = int(git("log", "-1", "--format=%ct", root=checkout))
        built = Path(checkout.parent, "built")
        files: list[Path] = []
        for distribution in distributions.find(checkout).values():
            files += building.build(distribution, built, isolated=isolated, epoch=epoch)
            for path in files[-2:]:
                print(f"{path.stat().st_size / 1e6:6.2f} MB  {path.name}", flush=True)
        try_each_alone(checkout, built)

        placed = [Path(shutil.copy2(path, _dist(root) / path.name)) for path in files]
        tag = f"v{version}"
        try:
            git("tag", "--annotate", "--message", f"Release {version}", tag, commit, root=root)
            git("merge", "--quiet", "--ff-only", commit, root=root)
        except BaseException:  # Ctrl-C too
            for path in placed:
                path.unlink()
            if git("tag", "--list", tag, root=root):
                git("tag", "--delete", tag, root=root)
            raise
        return placed


def _dist(root: Path) -> Path:
    path = root / "dist"
    path.mkdir(exist_ok=True)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s release --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="the version to release, such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument(
        "--no-isolation", action="store_true", help="build with the requirements that this environment has"
    )
    arguments = parser.parse_args()
    try:
        version = versions.parse(arguments.version)
        if arguments.dry_run:
            check_ready(ROOT, version)
            show(ROOT, version)
            return 0
        for path in release(ROOT, version, isolated=not arguments.no_isolation):
            print(path)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\nReleased {version}. Push it: git push --follow-tags. Publish it: nox -s publish")
    return 0


if __name__ == "__main__":
    sys.exit(main())
