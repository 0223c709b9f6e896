"""Packages from outside, good and bad, as an installer leaves them: code, a catalogue and metadata."""

import shutil
from pathlib import Path

CATALOG = """
[{model}]
builder = "{package}.nets:{model}"
weights = "Net_Weights"
default = "V1"

[{model}.checkpoints.V1]
url = "https://example.invalid/{model}.pth"
transforms = {{ preset = "ImageClassification", crop_size = 8 }}
categories = ["dark", "bright"]
"""


def write(
    site: Path,
    package: str,
    *,
    model: str | None = None,
    catalog: str | bytes | None = None,
    entry_points: str | bytes | None = None,
    metadata: str | bytes | None = None,
    distribution: str | None = None,
    replace: tuple[str, str] = ("", ""),
) -> Path:
    """Writes a package with one module ``nets`` and a catalogue for it.

    Args:
        site: the folder that takes the place of site-packages.
        package: import name.
        model: name of its model, by default that of the package.
        catalog: its catalogue, by default a good one.
        entry_points: what the file of entry points has, by default what it should.
        metadata: what the file of metadata has, by default what it should.
        distribution: name of the distribution, by default that of the package.
        replace: a part of the default catalogue, and what stands there instead.

    Returns:
        The catalogue file.
    """
    root = site / package
    (root / "catalog").mkdir(parents=True)
    (root / "__init__.py").touch()
    (root / "nets.py").touch()
    good = CATALOG.format(package=package, model=model or package)
    assert replace[0] in good
    file = root / "catalog" / "nets.toml"
    _write(file, good.replace(*replace) if catalog is None else catalog)
    name = distribution or package
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    _write(
        info / "METADATA", metadata if metadata is not None else f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    )
    _write(
        info / "entry_points.txt",
        entry_points if entry_points is not None else f"[zoo.catalogs]\ntoys = {package}:catalog\n",
    )
    return file


def remove(site: Path, package: str) -> None:
    """Takes a package away again."""
    shutil.rmtree(site / package)
    shutil.rmtree(site / f"{package}-1.0.dist-info")


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
