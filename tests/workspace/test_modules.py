"""How long modules may be."""

from pathlib import Path

from tools import distributions

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [d.folder / "src" / d.package for d in distributions.find(ROOT).values()]
FAMILIES = [package / f"{path.stem}.py" for package in PACKAGES for path in sorted(package.glob("catalog/*.toml"))]
LONGEST = 500


def test_no_module_outside_the_families_is_long():
    modules = [path for part in ("shared", "packages", "tools") for path in (ROOT / part).rglob("*.py")]
    lengths = {path: len(path.read_text().splitlines()) for path in {*modules} - {*FAMILIES}}
    assert not {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > LONGEST}
