"""Environments that share the files of large packages."""

import errno
import os
import subprocess
import venv

import pytest

from tools import environments


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "template"
    venv.create(path, with_pip=False)
    packages = environments.site_packages(path)
    (packages / "large").mkdir()
    (packages / "large" / "__init__.py").write_text("SIZE = 'large'")
    (packages / "large-1.0.dist-info").mkdir()
    (packages / "large-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: large\nVersion: 1.0\n")
    return path


def fresh(path):
    venv.create(path, with_pip=False)
    return path


def ask(environment, program):
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_has_what_the_template_has(template, tmp_path):
    environment = fresh(tmp_path / "own")
    environments.share_packages(template, environment)
    program = "import large, importlib.metadata as m; print(large.SIZE, m.version('large'), large.__file__)"
    size, version, path = ask(environment, program).split(" ", 2)
    assert (size, version) == ("large", "1.0")
    assert path.startswith(str(environments.site_packages(environment)))
    assert os.path.samefile(path, environments.site_packages(template) / "large" / "__init__.py")


def test_a_package_removed_or_replaced_in_one_stays_in_the_other(template, tmp_path):
    first, second = fresh(tmp_path / "first"), fresh(tmp_path / "second")
    for environment in (first, second):
        environments.share_packages(template, environment)
    (environments.site_packages(first) / "large" / "__init__.py").unlink()
    (environments.site_packages(first) / "large" / "__init__.py").write_text("SIZE = 'other'")
    (environments.site_packages(first) / "small.py").write_text("")
    assert ask(first, "import large; print(large.SIZE)") == "other"
    assert ask(second, "import large; print(large.SIZE)") == "large"
    assert not (environments.site_packages(template) / "small.py").exists()


def test_files_are_copied_where_they_cannot_be_linked(template, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "other file system")

    monkeypatch.setattr(os, "link", refuse)
    environment = fresh(tmp_path / "own")
    environments.share_packages(template, environment)
    assert ask(environment, "import large; print(large.SIZE)") == "large"
    copied = environments.site_packages(environment) / "large" / "__init__.py"
    assert not os.path.samefile(copied, environments.site_packages(template) / "large" / "__init__.py")


def test_an_interrupted_copy_leaves_the_environment_without_the_package(template, tmp_path, monkeypatch):
    environment = fresh(tmp_path / "own")
    link = os.link

    def interrupted(source, target):
        if str(source).endswith("METADATA"):
            raise KeyboardInterrupt
        link(source, target)

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environments.share_packages(template, environment)
    assert not any(environments.site_packages(environment).iterdir())
    monkeypatch.undo()
    environments.share_packages(template, environment)
    assert ask(environment, "import large; print(large.SIZE)") == "large"
    assert sorted(path.name for path in environments.site_packages(environment).parent.iterdir()) == ["site-packages"]


def test_what_is_no_environment_is_named(template, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is no virtual environment"):
        environments.share_packages(template, tmp_path / "nothing")
