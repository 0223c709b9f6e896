"""How long modules may be, and how a family's file reads: the model first, then its parts, then builders."""

import ast
from pathlib import Path

import pytest

from tools import distributions

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [d.folder / "src" / d.package for d in distributions.find(ROOT).values()]
FAMILIES = [package / f"{path.stem}.py" for package in PACKAGES for path in sorted(package.glob("catalog/*.toml"))]
LONGEST = 500


def test_no_module_outside_the_families_is_long():
    modules = [path for part in ("shared", "packages", "tools") for path in (ROOT / part).rglob("*.py")]
    lengths = {path: len(path.read_text().splitlines()) for path in {*modules} - {*FAMILIES}}
    assert not {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > LONGEST}


@pytest.fixture(params=FAMILIES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def family(request):
    return ast.parse(request.param.read_text())


def is_builder(node):
    return isinstance(node, ast.FunctionDef) and any("register_model" in ast.unparse(d) for d in node.decorator_list)


def test_the_model_is_on_the_first_screen(family):
    models = {ast.unparse(node.returns).strip("'\"") for node in family.body if is_builder(node)}
    own = [node.lineno for node in family.body if isinstance(node, ast.ClassDef) and node.name in models]
    # Where the default of an argument is a class of the file, that class has to stand above.
    assert min(own, default=0) <= 75


def test_builders_come_last_and_leave_to_the_registry_what_all_have_in_common(family):
    kinds = [is_builder(node) for node in family.body]
    assert kinds == sorted(kinds)
    for node in filter(is_builder, family.body):
        assert "show a progress bar" not in (ast.get_docstring(node) or "")
