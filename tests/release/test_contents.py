"""What may be in a wheel and in a source distribution."""

import io
import tarfile
import zipfile

import pytest

from tools.distributions import Distribution
from tools.release import contents
from tools.release.errors import ReleaseError

README = "# zoo-toy\n\nA toy, only for show.\n"
METADATA = f"""Metadata-Version: 2.4
Name: zoo-toy
Version: 1.0
License-Expression: BSD-3-Clause
License-File: LICENSE
Description-Content-Type: text/markdown

{README}"""
INFO = "zoo_toy-1.0.dist-info"
WHEEL = {
    "zoo_toy/__init__.py": "",
    "zoo_toy/nested/module_2.py": "",
    "zoo_toy/py.typed": "",
    "zoo_toy/catalog/toy.toml": "",
    "zoo_toy/catalog/labels/toys.txt": "",
    "zoo_toy/samples/a-toy.png": "",
    f"{INFO}/METADATA": METADATA,
    f"{INFO}/WHEEL": "",
    f"{INFO}/RECORD": "",
    f"{INFO}/entry_points.txt": "",
    f"{INFO}/licenses/LICENSE": "Free.",
}
SOURCE = {
    "PKG-INFO": METADATA,
    "pyproject.toml": "",
    "README.md": README,
    "LICENSE": "Free.",
    "src/zoo_toy/__init__.py": "",
    "src/zoo_toy/py.typed": "",
}


@pytest.fixture
def toy(tmp_path):
    folder = tmp_path / "zoo-toy"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "zoo-toy"\nversion = "1.0"\nlicense = "BSD-3-Clause"\ndependencies = []\n'
    )
    (folder / "README.md").write_text(README)
    (folder / "LICENSE").write_text("Free.")
    return Distribution(folder)


def write_wheel(directory, files, compression=zipfile.ZIP_DEFLATED):
    path = directory / "zoo_toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def write_source(directory, files):
    path = directory / "zoo_toy-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"zoo_toy-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_a_good_wheel_and_source(toy, tmp_path):
    contents.check_wheel(toy, write_wheel(tmp_path, WHEEL))
    contents.check_source(toy, write_source(tmp_path, SOURCE))


@pytest.mark.parametrize(
    "stray",
    [
        "zoo_toy/notes.md",
        "zoo_toy/.mypy_cache/3.11/cache.db",
        "zoo_toy/__pycache__/module.cpython-311.pyc",
        "zoo_toy/_ops_cpu.so",
        "zoo_toy/checkpoints/without_hash.pth",
        "zoo_core/__init__.py",
        "tests/test_toy.py",
        f"{INFO}/direct_url.json",
    ],
)
def test_a_stray_file(toy, tmp_path, stray):
    with pytest.raises(ReleaseError) as raised:
        contents.check_wheel(toy, write_wheel(tmp_path, WHEEL | {stray: ""}))
    assert f"do not belong there: {stray}." in str(raised.value)


@pytest.mark.parametrize("name", ["zoo_toy/py.typed", "zoo_toy/__init__.py", f"{INFO}/licenses/LICENSE"])
def test_a_file_that_lacks(toy, tmp_path, name):
    with pytest.raises(ReleaseError, match=f"lacks {name}"):
        contents.check_wheel(toy, write_wheel(tmp_path, {key: WHEEL[key] for key in WHEEL if key != name}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Version: 1.0", "Version: 1.1", r"says Version: 1\.1; expected 1\.0"),
        ("License-Expression: BSD-3-Clause\n", "", "says License-Expression: None"),
        ("License-File: LICENSE\n", "", "says License-File: None"),
        ("only for show", "for sale", "is not the README"),
    ],
)
def test_wrong_metadata(toy, tmp_path, old, new, message):
    wrong = METADATA.replace(old, new)
    with pytest.raises(ReleaseError, match=message):
        contents.check_wheel(toy, write_wheel(tmp_path, WHEEL | {f"{INFO}/METADATA": wrong}))
    with pytest.raises(ReleaseError, match=message):
        contents.check_source(toy, write_source(tmp_path, SOURCE | {"PKG-INFO": wrong}))


def test_another_licence(toy, tmp_path):
    with pytest.raises(ReleaseError, match="licence"):
        contents.check_wheel(toy, write_wheel(tmp_path, WHEEL | {f"{INFO}/licenses/LICENSE": "Mine."}))


@pytest.mark.parametrize(
    ("name", "megabytes", "fits"),
    [
        ("zoo_toy/large.py", 2.9, True),
        ("zoo_toy/large.py", 3.1, False),
        ("zoo_toy/checkpoints/toy-0123abcd.pth", 7.9, True),
        ("zoo_toy/checkpoints/toy-0123abcd.pth", 8.1, False),
    ],
)
def test_size(toy, tmp_path, name, megabytes, fits):
    wheel = write_wheel(tmp_path, WHEEL | {name: "x" * int(megabytes * 1e6)}, zipfile.ZIP_STORED)
    if fits:
        contents.check_wheel(toy, wheel)
    else:
        with pytest.raises(ReleaseError, match=f"has {megabytes} MB; it may have"):
            contents.check_wheel(toy, wheel)


@pytest.mark.parametrize("stray", ["tests/test_toy.py", "src/zoo_toy/a.so", "csrc/nms.cpp", "src/zoo_core/__init__.py"])
def test_a_stray_source(toy, tmp_path, stray):
    with pytest.raises(ReleaseError, match="do not belong there"):
        contents.check_source(toy, write_source(tmp_path, SOURCE | {stray: ""}))


def test_sources_of_compiled_operators(toy, tmp_path):
    (toy.folder / "CMakeLists.txt").write_text("")
    with pytest.raises(ReleaseError, match=r"lacks zoo_toy-1\.0/CMakeLists\.txt"):
        contents.check_source(toy, write_source(tmp_path, SOURCE))
    contents.check_source(toy, write_source(tmp_path, SOURCE | {"CMakeLists.txt": "", "csrc/cpu/nms.cpp": ""}))
    with pytest.raises(ReleaseError, match="no compiled operators"):
        contents.check_wheel(toy, write_wheel(tmp_path, WHEEL))
    contents.check_wheel(toy, write_wheel(tmp_path, WHEEL | {"zoo_toy/_ops_cpu.so": ""}))


def test_wheels_that_differ(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = write_wheel(tmp_path / "one", WHEEL)
    contents.check_equal(one, write_wheel(tmp_path / "other", WHEEL))
    # A library that nvcc built: its bytes, and so the sums in RECORD, differ, but hardly its size.
    cuda = {"zoo_toy/_ops_cuda.so": "a" * 1000, f"{INFO}/RECORD": "one"}
    one_cuda = write_wheel(tmp_path / "one", WHEEL | cuda)
    other = {"zoo_toy/_ops_cuda.so": "b" * 1009, f"{INFO}/RECORD": "other"}
    contents.check_equal(one_cuda, write_wheel(tmp_path / "other", WHEEL | other))
    with pytest.raises(ReleaseError, match=r"in: zoo_toy/_ops_cuda\.so$"):
        contents.check_equal(one_cuda, write_wheel(tmp_path / "other", WHEEL | other | {"zoo_toy/_ops_cuda.so": "b"}))
    one = write_wheel(tmp_path / "one", WHEEL)
    changed = WHEEL | {"zoo_toy/__init__.py": "x = 1", f"{INFO}/RECORD": "changed", "zoo_toy/more.py": ""}
    with pytest.raises(ReleaseError, match=r"in: zoo_toy/__init__\.py, zoo_toy/more\.py$"):
        contents.check_equal(one, write_wheel(tmp_path / "other", changed))
