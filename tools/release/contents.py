"""What may be in a wheel or a source distribution, what must be, and how large it may get."""

import email
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tools.distributions import Distribution
from tools.release.errors import ReleaseError

MEGABYTE = 1_000_000
LARGEST = 3 * MEGABYTE
LARGEST_WITH_WEIGHTS = 8 * MEGABYTE

# Below the folder of the package; a new kind of file is to be added here on purpose.
_PACKAGE = (
    r"([a-z_][a-z0-9_]*/)*[a-z_][a-z0-9_]*\.py",
    r"py\.typed",
    r"published_models\.toml",
    r"licences\.toml",
    r"features\.toml",
    r"catalog_page/[a-z_]+\.(html|css|js|json)",
    r"catalog_page/vendor/([a-z0-9]+\.min\.js|LICENSES\.txt)",
    r"task\.toml",
    r"catalog/[a-z0-9_]+\.toml",
    r"recipes/[a-z0-9_]+\.toml",
    r"(catalog/)?labels/[a-z0-9_]+\.txt",
    r"checkpoints/([a-z0-9_]+-[0-9a-f]{8,64}\.pth|README\.md)",
    r"(samples|photographs)/([a-z0-9_-]+\.(png|jpg|mp4)|README\.md)",
)
_COMPILED = (r"_ops_(cpu|cuda)\.(so|dylib|dll)",)
_DIST_INFO = ("METADATA", "RECORD", "WHEEL", r"entry_points\.txt", "licenses/LICENSE")
_SOURCE = (r"PKG-INFO", r"pyproject\.toml", r"README\.md", "LICENSE", r"\.gitignore")
_COMPILED_SOURCE = (r"CMakeLists\.txt", r"csrc/([a-z_]+/)*[a-z_]+\.(cpp|cu|h)")


def check_wheel(distribution: Distribution, wheel: Path) -> None:
    """Checks the files of a wheel, its metadata and its size.

    Raises:
        ReleaseError: a file is there that should not be, or one lacks, or the wheel is too large.
    """
    package, version = distribution.package, distribution.version
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        info = f"{package}-{version}.dist-info"
        inside = (*_PACKAGE, *(_COMPILED if _is_compiled(distribution) else ()))
        _check_names(
            wheel,
            names,
            allowed=[*(f"{package}/{pattern}" for pattern in inside), *(re.escape(info) + f"/{p}" for p in _DIST_INFO)],
            required=[f"{package}/__init__.py", f"{package}/py.typed", f"{info}/METADATA", f"{info}/licenses/LICENSE"],
        )
        _check_metadata(distribution, wheel, archive.read(f"{info}/METADATA").decode())
        if archive.read(f"{info}/licenses/LICENSE") != (distribution.folder / "LICENSE").read_bytes():
            raise ReleaseError(f"the licence in {wheel.name} is not that of {distribution.folder}")
        if _is_compiled(distribution) and not any(re.search(r"/_ops_cpu\.", name) for name in names):
            raise ReleaseError(f"{wheel.name} has no compiled operators for the CPU: see what its build printed")
    with_weights = any("/checkpoints/" in name for name in names)
    largest = LARGEST_WITH_WEIGHTS if with_weights else LARGEST
    if (size := wheel.stat().st_size) > largest:
        raise ReleaseError(f"{wheel.name} has {size / MEGABYTE:.1f} MB; it may have {largest / MEGABYTE:.0f} MB")


def check_source(distribution: Distribution, source: Path) -> None:
    """Checks the files and the metadata of a source distribution.

    Raises:
        ReleaseError: a file is there that should not be, or one lacks.
    """
    package, version = distribution.package, distribution.version
    top = f"{package}-{version}"
    compiled = _is_compiled(distribution)
    with tarfile.open(source) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
        patterns = [
            *(f"src/{package}/{pattern}" for pattern in _PACKAGE),
            *_SOURCE,
            *(_COMPILED_SOURCE if compiled else ()),
        ]
        required = ["LICENSE", "PKG-INFO", "README.md", "pyproject.toml", f"src/{package}/__init__.py"]
        required += ["CMakeLists.txt"] if compiled else []
        _check_names(
            source,
            names,
            allowed=[f"{re.escape(top)}/{pattern}" for pattern in patterns],
            required=[f"{top}/{name}" for name in required],
        )
        metadata = archive.extractfile(f"{top}/PKG-INFO")
        assert metadata is not None
        _check_metadata(distribution, source, metadata.read().decode())


def check_equal(first: Path, second: Path) -> None:
    """Checks that two wheels have the same files with the same contents.

    nvcc names functions after the number of its process, so that libraries for CUDA differ in a few bytes from build to
    build: of those, the sizes may differ by 1 %. RECORD says nothing that the other files do not.

    Raises:
        ReleaseError: they differ; the message names the files.
    """
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        files = [{entry.filename: entry for entry in archive.infolist()} for archive in (one, other)]
    names = sorted(name for name in files[0].keys() | files[1].keys() if not name.endswith(".dist-info/RECORD"))
    differing = [name for name in names if not _equal(*(entries.get(name) for entries in files))]
    if differing:
        raise ReleaseError(
            f"the wheel from the source distribution differs from the one from the checkout ({first.name}) in: "
            f"{', '.join(differing)}"
        )


def _equal(one: zipfile.ZipInfo | None, other: zipfile.ZipInfo | None) -> bool:
    if one is None or other is None:
        return False
    if re.search(r"/_ops_cuda\.", one.filename):
        return abs(one.file_size - other.file_size) <= 0.01 * other.file_size
    return one.CRC == other.CRC


def _is_compiled(distribution: Distribution) -> bool:
    return (distribution.folder / "CMakeLists.txt").is_file()


def _check_names(archive: Path, names: Iterable[str], *, allowed: list[str], required: list[str]) -> None:
    names = set(names)
    if stray := sorted(name for name in names if not any(re.fullmatch(pattern, name) for pattern in allowed)):
        raise ReleaseError(
            f"{archive.name} has files that do not belong there: {', '.join(stray)}. "
            f"Leave them out, or allow their kind in {Path(__file__).name}"
        )
    if missing := sorted(set(required) - names):
        raise ReleaseError(f"{archive.name} lacks {', '.join(missing)}")


def _check_metadata(distribution: Distribution, archive: Path, text: str) -> None:
    metadata = email.message_from_string(text)
    expected = {
        "Name": distribution.name,
        "Version": distribution.version,
        "License-Expression": distribution.project["license"],
        "License-File": "LICENSE",
    }
    for key, value in expected.items():
        if metadata[key] != value:
            raise ReleaseError(f"{archive.name} says {key}: {metadata[key]}; expected {value}")
    description = metadata.get_payload() or metadata["Description"]
    if str(description).strip() != (distribution.folder / "README.md").read_text().strip():
        raise ReleaseError(f"the description in {archive.name} is not the README of {distribution.folder}")
