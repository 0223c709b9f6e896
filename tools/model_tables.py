"""Writes, from the catalogues, the tables of models in the packages' READMEs, between markers there, and the list by
which zoo-core knows in which package a model is that is not installed.

    python -m tools.model_tables [--check]      # --check only says whether they are up to date

Imports no torch and needs nothing installed.
"""

import argparse
import math
import sys
from pathlib import Path

from tools.distributions import ROOT

sys.path.insert(0, str(ROOT / "shared" / "zoo-core" / "src"))

from zoo_core import catalog

BEGIN = "<!-- models: written by tools/model_tables.py -->\n"
END = "<!-- end of models -->\n"

PUBLISHED = ROOT / "shared" / "zoo-core" / "src" / "zoo_core" / "published_models.toml"
PUBLISHED_HEADER = "# Which distribution has which model, so that an error can name the package to install.\n"


def models_of(package: Path) -> dict[str, catalog.Model]:
    """The models of a package's catalogue, in the order of their names."""
    directory = package / "src" / package.name.replace("-", "_") / "catalog"
    source = catalog.Source(package.name.removeprefix("zoo-"), directory.parent.name, directory)
    models = {
        name: model
        for path in sorted(directory.glob("*.toml"))
        for name, model in catalog.read_file(path, source).items()
    }
    return dict(sorted(models.items()))


def published(packages: list[Path]) -> str:
    """The list of all models as TOML."""
    tables = []
    for package in packages:
        names = "".join(f'    "{name}",\n' for name in models_of(package))
        tables.append(f"{package.name} = [\n{names}]\n")
    return PUBLISHED_HEADER + "".join(tables)


def table(package: Path) -> str:
    """The Markdown table of a package: a row a checkpoint, in the order of names and of the catalogue."""
    checkpoints = [(model, c) for model in models_of(package).values() for c in model.checkpoints.values()]
    metrics = list(dict.fromkeys(m for _, c in checkpoints for m in metric_values(c)))
    header = ["builder", "weights", *metrics, "parameters (M)", "GFLOPs", "file (MiB)", "recipe"]
    lines = [header, ["---", "---", *["---:"] * (len(header) - 3), "---"]]
    for model, checkpoint in checkpoints:
        default = " (default)" if checkpoint.name == model.default else ""
        values = metric_values(checkpoint)
        lines.append(
            [
                f"`{model.function}`",
                f"`{model.weights}.{checkpoint.name}`{default}",
                *(values.get(metric, "") for metric in metrics),
                "" if checkpoint.num_params is None else f"{checkpoint.num_params / 1e6:.2f}",
                number(checkpoint.ops),
                number(checkpoint.file_size),
                recipe(checkpoint.recipe),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def metric_values(checkpoint: catalog.Checkpoint) -> dict[str, str]:
    """Column -> value. Figures on the data set of a package's published weights need no mention of it."""
    return {
        metric if len(checkpoint.metrics) == 1 else f"{metric} ({data_set})": number(value)
        for data_set, values in checkpoint.metrics.items()
        for metric, value in values.items()
    }


def recipe(value: str | None) -> str:
    """A link to the recipe of published weights, the command that trains those of this repository."""
    if value is None:
        return ""
    return f"[recipe]({value})" if value.startswith("https://") else f"`{value}`"


def number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else str(value)


def with_table(package: Path, text: str) -> str:
    """A README with the table between its markers renewed."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{package / 'README.md'} lacks the lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + table(package) + end + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is out of date")
    check = parser.parse_args().check
    packages = [path.parents[2] for path in sorted(ROOT.glob("packages/*/src/*/catalog"))]
    wanted = {PUBLISHED: published(packages)}
    for package in packages:
        readme = package / "README.md"
        wanted[readme] = with_table(package, readme.read_text(encoding="utf-8"))
    stale = {path: text for path, text in wanted.items() if text != path.read_text(encoding="utf-8")}
    if not stale:
        return
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
    if check:
        raise SystemExit(f"out of date with the catalogues: {names}; run `nox -s tables`")
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    print(f"written: {names}")


if __name__ == "__main__":
    main()
