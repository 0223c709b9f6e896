"""Workflows and documentation call sessions that exist, and CI pins what sessions install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCUMENTS = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted(ROOT.glob("*/*/README.md"))]
# A session's name in running text or in a command: `nox -s build-detection -- --sdist`.
CALLS = re.compile(r"\bnox (?:--[\w-]+ )*-s ((?:[a-z][a-z-]*\b ?)+)")


@pytest.fixture(scope="session")
def sessions():
    """What each session says it does."""
    command = [sys.executable, "-m", "nox", "--list", "--noxfile", str(ROOT / "noxfile.py")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^[*-] (\S+) -> (.+)$", listed, re.MULTILINE))


def called(text):
    return {name for names in CALLS.findall(text) for name in names.split()}


def test_how_calls_are_found():
    text = "`nox -s test-core`, run: nox -s lint test-workspace\n - run: nox --stop-on-first-error -s one two-b\nnext"
    assert called(text) == {"test-core", "lint", "test-workspace", "one", "two-b"}
    assert called("`nox -s release -- 0.2.0 --dry-run`, `nox -s bench -- video`") == {"release", "bench"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_sessions_that_exist(path, sessions):
    names = called(path.read_text())
    assert names or "uses: ./.github/workflows" in path.read_text()
    assert names <= sessions.keys()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_sessions_that_exist(path, sessions):
    assert called(path.read_text()) - {"name"} <= sessions.keys()


def test_ci_runs_every_test_session(sessions):
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert {name for name in sessions if name.startswith("test-")} <= called(text)


def test_a_release_builds_every_package(sessions):
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert {name for name in sessions if name.startswith("build-")} <= called(text)


def test_packages_have_sessions_and_each_says_what_it_does(sessions):
    names = {path.parent.name.removeprefix("zoo-") for path in ROOT.glob("*/*/pyproject.toml")}
    assert names >= {"core", "classification"}
    for name in names:
        assert {f"test-{name}", f"build-{name}", f"publish-{name}"} <= sessions.keys()


def test_constraints_pin_what_sessions_ask_for():
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(versions) == len(pins)
    wanted = {
        requirement
        for entries in tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"].values()
        for requirement in entries
        if isinstance(requirement, str)
    }
    for path in [*ROOT.glob("shared/*/pyproject.toml"), *ROOT.glob("packages/*/pyproject.toml")]:
        settings = tomllib.loads(path.read_text())
        wanted |= {*settings["project"]["dependencies"], *settings["build-system"]["requires"]}
    for requirement in map(Requirement, wanted):
        if not requirement.name.startswith("zoo-") and requirement.name != "torchvision":
            assert requirement.name in versions, f"{requirement} is not pinned: nox -s lock"
            assert requirement.specifier.contains(versions[requirement.name], prereleases=True), str(requirement)
