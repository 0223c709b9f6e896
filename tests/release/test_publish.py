"""Uploads to a real index: order, what is there already, and what goes wrong."""

import re
import sys

import pytest

from tools import distributions
from tools.release import publish
from tools.release.errors import ReleaseError

from .conftest import copy_files, run

pytestmark = pytest.mark.usefixtures("without_credentials")

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "zoo-{name}"
version = "{version}"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[tool.hatch.build.targets.wheel]
packages = ["src/zoo_{name}"]
"""
# As in this repository, `core` is what the others need.
SMALL = {"shared/zoo-core": (), "packages/zoo-alpha": ("core", "beta"), "packages/zoo-beta": ("core",)}
FILES = [f"zoo_{name}-1.0{ending}" for name in ("core", "beta", "alpha") for ending in (".tar.gz", "-py3-none-any.whl")]


def write(root, version="1.0", text=""):
    for folder, siblings in SMALL.items():
        name = folder.rpartition("-")[2]
        package = root / folder / "src" / f"zoo_{name}"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(text)
        dependencies = ", ".join(f'"zoo-{sibling}=={version}"' for sibling in siblings)
        (root / folder / "pyproject.toml").write_text(
            PYPROJECT.format(name=name, version=version, dependencies=dependencies)
        )


def build(root):
    for folder in SMALL:
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", root / "dist", root / folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A repository of three small distributions, built."""
    root = tmp_path_factory.mktemp("small")
    write(root)
    build(root)
    return root


@pytest.fixture
def index(serve):
    return serve()


def upload(root, index, *names):
    return [path.name for path in publish.publish(names, root / "dist", index.url, index.simple, root)]


def test_all_in_the_order_of_need(small, index):
    assert upload(small, index) == FILES
    assert index.files() == sorted(FILES)


def test_what_is_there_is_left_out(small, index, capsys):
    assert upload(small, index, "zoo-core") == FILES[:2]
    capsys.readouterr()
    assert upload(small, index) == FILES[2:]
    assert capsys.readouterr().out.count("there already") == 2
    assert upload(small, index) == []


def test_an_upload_that_stopped_half_way_goes_on(small, index, tmp_path):
    copy_files([small / "dist" / FILES[0]], index.directory)
    assert upload(small, index) == FILES[1:]


def test_one_whose_needs_are_not_there(small, index):
    with pytest.raises(ReleaseError, match=r"zoo-beta needs zoo-core 1\.0, which .*\(nox -s publish-core\)"):
        upload(small, index, "zoo-beta")
    assert index.files() == []


def test_another_version_of_what_it_needs_is_not_enough(small, index, tmp_path):
    write(tmp_path, version="1.0.1")
    build(tmp_path)
    upload(tmp_path, index, "zoo-core")
    with pytest.raises(ReleaseError, match=r"zoo-beta needs zoo-core 1\.0"):
        upload(small, index, "zoo-beta")


def test_another_file_of_the_same_name(small, index, tmp_path):
    write(tmp_path, text="changed = True")
    build(tmp_path)
    upload(tmp_path, index, "zoo-core")
    with pytest.raises(ReleaseError, match=r"has another zoo_core-1\.0"):
        upload(small, index)
    assert index.files() == sorted(FILES[:2])


def test_nothing_is_uploaded_if_anything_is_not_built(small, index, tmp_path):
    copy_files([small / "dist" / name for name in FILES[:-1]], tmp_path)
    with pytest.raises(ReleaseError, match=r"lacks zoo_alpha-1\.0\.tar\.gz or a wheel of it.*build-alpha"):
        publish.publish([], tmp_path, index.url, index.simple, small)
    assert index.files() == []


def test_wheels_of_all_platforms(small, index, tmp_path):
    copy_files([small / "dist" / name for name in FILES[:2]], tmp_path)
    more = ["zoo_core-1.0-py3-none-manylinux_2_28_x86_64.whl", "zoo_core-1.0-py3-none-win_amd64.whl"]
    for name in more:
        (tmp_path / name).write_bytes((tmp_path / FILES[1]).read_bytes())
    # Other versions and distributions in the folder do not matter.
    (tmp_path / "zoo_core-1.0.1-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "zoo_beta-1.0-py3-none-any.whl").write_bytes(b"")
    found = distributions.find(small)["zoo-core"]
    assert {path.name for path in publish.files_of(found, tmp_path)} == {*FILES[:2], *more}


def test_an_unknown_name(small, index):
    with pytest.raises(ReleaseError, match=r"no distribution zoo-gamma; there are zoo-core, zoo-beta, zoo-alpha"):
        upload(small, index, "zoo-gamma")


def test_an_index_that_does_not_answer(small):
    with pytest.raises(ReleaseError, match="does not say what it has of zoo-core"):
        publish.publish([], small / "dist", "http://127.0.0.1:9/", "http://127.0.0.1:9/simple/", small)


def test_an_index_that_refuses(small, index, monkeypatch):
    """An address that takes no uploads: the error is twine's, and says what came back."""
    with pytest.raises(ReleaseError) as raised:
        publish.publish([], small / "dist", f"{index.url}nowhere", index.simple, small)
    assert re.search(r"twine upload .* failed", str(raised.value))
    assert index.files() == []


def test_the_command(small, index):
    """As `nox -s publish` calls it; this repository's own files are not built here."""
    command = [sys.executable, "-m", "tools.release.publish", "--index", index.url]
    printed = run(*command, "zoo-nothing", code=1)
    assert printed.startswith("error: there is no distribution zoo-nothing; there are zoo-core, ")
    assert "--listing URL" in run(*command, "--help")
