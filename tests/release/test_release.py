"""A release of a copy of this repository, and what stops one."""

import re
import sys
import tarfile
import zipfile

import pytest

from tools import distributions
from tools.distributions import ROOT
from tools.release import changelog

from .conftest import git, next_version, run

NAMES = list(distributions.find(ROOT))


def release(checkout, *arguments, code=0):
    return run(sys.executable, "-m", "tools.release", *arguments, "--no-isolation", cwd=checkout, code=code)


@pytest.fixture
def unchanged(checkout):
    """Checks that the checkout is afterwards as it was before."""

    def state():
        untracked = git(checkout, "status", "--porcelain")
        refs = (
            git(checkout, "for-each-ref"),
            git(checkout, "rev-parse", "HEAD"),
            git(checkout, "branch", "--show-current"),
        )
        return untracked, refs, git(checkout, "worktree", "list"), (checkout / "dist").exists()

    before = []
    yield lambda: before.append(state())
    assert before == [state()]


def commit(checkout):
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "Change")


def test_the_commit_and_the_tag(released):
    root, version = released.root, released.version
    assert git(root, "rev-parse", "HEAD~1") == released.before
    assert git(root, "rev-list", "-1", f"v{version}") == git(root, "rev-parse", "HEAD")
    assert git(root, "log", "-1", "--format=%s") == f"Release {version}"
    assert git(root, "status", "--porcelain") == ""
    assert len(git(root, "worktree", "list").splitlines()) == 1
    assert {found.version for found in distributions.find(root).values()} == {version}
    notes = changelog.notes((root / changelog.PATH).read_text(), version)
    assert notes
    assert notes in git(root, "show", f"{released.before}:{changelog.PATH}")


def test_sources_and_wheels(released):
    names = sorted(path.name for path in released.dist.iterdir())
    sources = [f"{name.replace('-', '_')}-{released.version}.tar.gz" for name in NAMES]
    assert sorted(name for name in names if name.endswith(".tar.gz")) == sorted(sources)
    wheels = {name.partition("-")[0]: name for name in names if name.endswith(".whl")}
    assert wheels.keys() == {name.replace("-", "_") for name in NAMES}
    assert len(names) == 2 * len(NAMES)
    for package, name in wheels.items():
        expected = r"manylinux_\d+_\d+_\w+" if package == "zoo_detection" and sys.platform == "linux" else "any"
        if package != "zoo_detection" or sys.platform == "linux":
            assert re.fullmatch(rf"{package}-{released.version}-py3-none-({expected}\.?)+\.whl", name)
    for name in NAMES:
        assert f"{name} works alone" in released.printed


def test_detection_brings_no_library_of_others(released):
    (wheel,) = released.dist.glob("zoo_detection-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        libraries = [info for info in archive.infolist() if ".so" in info.filename]
    assert [info.filename for info in libraries] == ["zoo_detection/_ops_cpu.so"]
    assert libraries[0].file_size < 1_000_000


def test_sources_have_no_absolute_path_of_this_machine(released):
    for path in released.dist.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                assert not member.name.startswith(("/", "..")), member.name
                assert member.uname in ("", "root"), member.name


def test_dry_run(checkout, unchanged):
    unchanged()
    printed = release(checkout, next_version(), "--dry-run")
    assert f'+version = "{next_version()}"' in printed
    assert f'+__version__ = "{next_version()}"' in printed
    assert f"+## {next_version()} (" in printed
    for name in NAMES:
        assert f"{name.replace('-', '_')}-{next_version()}.tar.gz" in printed
    assert "nothing has changed" in printed


def test_a_tree_that_is_not_clean(checkout, unchanged):
    (checkout / "shared" / "zoo-core" / "new.txt").write_text("")
    unchanged()
    printed = release(checkout, next_version(), code=1)
    assert printed.startswith("error: the working tree is not clean")
    assert "new.txt" in printed


def test_a_version_that_is_released(checkout, unchanged):
    git(checkout, "tag", f"v{next_version()}")
    unchanged()
    assert "is there already" in release(checkout, next_version(), code=1)


def test_a_version_that_is_lower(checkout, unchanged):
    unchanged()
    assert "version 0.0.1 is lower than" in release(checkout, "0.0.1", code=1)


def test_no_version(checkout, unchanged):
    unchanged()
    assert "is not a version" in release(checkout, "soon", code=1)
    assert "usage: nox -s release --" in release(checkout, code=2)


def test_nothing_new_to_tell(checkout, unchanged):
    path = checkout / changelog.PATH
    path.write_text("# Changelog\n\n## Unreleased\n")
    commit(checkout)
    unchanged()
    assert "is empty: say there what is new" in release(checkout, next_version(), code=1)


def test_a_stray_file_in_a_package(checkout, unchanged):
    (checkout / "shared" / "zoo-core" / "src" / "zoo_core" / "notes.md").write_text("for me only")
    commit(checkout)
    unchanged()
    printed = release(checkout, next_version(), code=1)
    assert "files that do not belong there: " in printed
    assert "zoo_core/notes.md" in printed


def test_a_package_that_does_not_build(checkout, unchanged):
    path = checkout / "shared" / "zoo-core" / "pyproject.toml"
    path.write_text(path.read_text().replace('readme = "README.md"', 'readme = "NOTES.md"'))
    commit(checkout)
    unchanged()
    printed = release(checkout, next_version(), code=1)
    assert "-m build" in printed
    assert "NOTES.md" in printed
