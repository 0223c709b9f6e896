"""A copy of this repository, released, and an index on this machine to publish it to."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from support.sharing import directory_of_run, once
from tools import distributions
from tools.distributions import ROOT


def run(*command, cwd=None, code=0, **environment):
    """Runs a command that is to end with an exit code; returns what it printed, errors included."""
    completed = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert completed.returncode == code, completed.stdout
    return completed.stdout


def git(checkout, *arguments):
    return run("git", "-C", checkout, *arguments).strip()


def clone(path):
    """A clean copy of the current commit, to be released at will."""
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, path)
    for key, value in (("name", "Zoo tests"), ("email", "tests@example.invalid"), ("useConfigOnly", "true")):
        git(path, "config", f"user.{key}", value)
    git(path, "config", "commit.gpgsign", "false")
    return path


@pytest.fixture
def checkout(tmp_path):
    return clone(tmp_path / "checkout")


@dataclass(frozen=True)
class Released:
    """A copy of this repository after its release."""

    root: Path
    before: str
    version: str
    printed: str

    @property
    def dist(self):
        return self.root / "dist"


def next_version():
    major, minor, *_ = distributions.find(ROOT)["zoo-core"].version.split(".")
    return f"{major}.{int(minor) + 1}.0"


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory, worker_id):
    return directory_of_run(tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def released(shared_directory):
    def make(path):
        root = clone(path / "checkout")
        before = git(root, "rev-parse", "HEAD")
        printed = run(sys.executable, "-m", "tools.release", next_version(), "--no-isolation", cwd=root)
        (path / "before").write_text(before)
        (path / "printed").write_text(printed)

    path = once(shared_directory, "released", make)
    return Released(path / "checkout", (path / "before").read_text(), next_version(), (path / "printed").read_text())


@pytest.fixture(scope="session")
def third_party(shared_directory):
    """Wheels of everything that our packages need, extras included, but for torch, which environments have."""

    def make(path):
        wanted = {
            requirement
            for distribution in distributions.find(ROOT).values()
            for requirements in (
                distribution.project["dependencies"],
                *distribution.project.get("optional-dependencies", {}).values(),
            )
            for requirement in requirements
            if not re.match(r"zoo-|torch\b", requirement)
        }
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        run(*pip, "--only-binary", ":all:", "--dest", path, *sorted(wanted))

    return once(shared_directory, "third_party", make)


@dataclass
class Index:
    """A package index on this machine."""

    url: str
    directory: Path

    @property
    def simple(self):
        return f"{self.url}simple/"

    def files(self):
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts indexes: ``serve(*directories)`` has what is in the directories, and takes uploads into a new one."""
    servers = []

    def start(*directories):
        uploads = tmp_path_factory.mktemp("uploads")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "pypiserver", "run", "--port", port, "--interface", "127.0.0.1"]
        command += ["--authenticate", ".", "--passwords", ".", "--disable-fallback", uploads, *directories]
        servers.append(
            subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        url = f"http://127.0.0.1:{port}/"
        until = time.monotonic() + 30
        while True:
            try:
                requests.get(url, timeout=5)
                return Index(url, uploads)
            except requests.ConnectionError:
                assert servers[-1].poll() is None, "the index did not start"
                assert time.monotonic() < until, "the index does not answer"
                time.sleep(0.1)

    yield start
    for server in servers:
        server.terminate()
        server.wait()


@pytest.fixture
def without_credentials(monkeypatch, tmp_path):
    """An index that asks for none: twine wants some all the same."""
    monkeypatch.setenv("TWINE_USERNAME", "anyone")
    monkeypatch.setenv("TWINE_PASSWORD", "anything")
    monkeypatch.setenv("HOME", str(tmp_path))


def copy_files(paths, directory):
    directory.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy2(path, directory / path.name)) for path in paths]
