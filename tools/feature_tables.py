"""Writes what zoo_core.features.model_features tells without building: `features.toml` of each package.

    python -m tools.feature_tables [--check]    # --check only says whether they are up to date

Each model is built without storage and run once, which takes two minutes for all.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.distributions import ROOT
from zoo_core import catalog
from zoo_core.features import ModelFeatures
from zoo_core.features.measuring import measured_without_storage

HEADER = (
    "# The features of each model: of a stage its name, path, channels and reduction, for videos also that of time.\n"
    "# Written by tools/feature_tables.py.\n"
)


def file_of(package: str) -> Path:
    """The file of a package, ``"zoo_classification"``."""
    return ROOT / "packages" / package.replace("_", "-") / "src" / package / "features.toml"


def table(name: str, features: ModelFeatures) -> str:
    """A model's table as TOML."""
    lines = [f"\n[{name}]\n", "stages = [\n"]
    for stage in features:
        time = "" if stage.time_reduction is None else f", {stage.time_reduction}"
        lines.append(f'    ["{stage.name}", "{stage.path}", {stage.channels}, {stage.reduction}{time}],\n')
    lines.append("]\n")
    if features.embedding is not None:
        lines.append(f"embedding = {features.embedding}\n")
    if features.head is not None:
        lines.append(f'head = "{features.head}"\n')
    if features.head_takes != "embedding":
        lines.append(f'head_takes = "{features.head_takes}"\n')
    return "".join(lines)


def texts() -> Iterator[tuple[Path, str]]:
    """Each package's file, and what it is to hold."""
    by_package: dict[str, list[str]] = {}
    for name, model in sorted(catalog.models().items()):
        by_package.setdefault(model.module.partition(".")[0], []).append(
            table(name, measured_without_storage(name, {}))
        )
    for package, tables in by_package.items():
        yield file_of(package), HEADER + "".join(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the files are up to date")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in texts() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is out of date; run python -m tools.feature_tables")
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    sys.exit(bool(check and stale))


if __name__ == "__main__":
    main()
