"""The rules of the workspace: who depends on whom, and what every distribution has in common."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(
    path.parent for path in [*ROOT.glob("shared/*/pyproject.toml"), *ROOT.glob("packages/*/pyproject.toml")]
)
# Never upward, never sideways but for the backbones of zoo-classification.
ALLOWED = {
    "zoo-core": set(),
    "zoo-classification": {"zoo-core"},
    "zoo-quantized": {"zoo-core", "zoo-classification"},
    "zoo-segmentation": {"zoo-core", "zoo-classification"},
    "zoo-detection": {"zoo-core", "zoo-classification"},
    "zoo-video": {"zoo-core"},
    "zoo-flow": {"zoo-core"},
}
TOP_LEVEL = {
    ".ci", ".git", ".github", ".gitignore", ".gitattributes", ".dockerignore",
    "LICENSE", "README.md",
    "hubconf.py", "noxfile.py", "packages", "pyproject.toml", "shared", "tests", "tools",
}  # fmt: skip

folders = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())


def requirements(folder):
    return [Requirement(text) for text in project(folder)["project"]["dependencies"]]


def modules(folder):
    return sorted((folder / "src").rglob("*.py"))


def imported(path):
    """The top-level names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def test_the_packages_are_those_of_the_design():
    assert {"zoo-core", "zoo-classification"} <= {folder.name for folder in FOLDERS} <= set(ALLOWED)


def test_nothing_else_lies_at_the_top_level():
    import subprocess

    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {Path(name).parts[0] for name in listed} <= TOP_LEVEL


@folders
def test_declared_dependencies_keep_the_direction(folder):
    ours = {requirement.name for requirement in requirements(folder) if requirement.name.startswith("zoo-")}
    assert ours <= ALLOWED[folder.name]


@folders
def test_imports_are_declared_and_keep_the_direction(folder):
    declared = {requirement.name.replace("-", "_") for requirement in requirements(folder)}
    for path in modules(folder):
        ours = {name for name in imported(path) if name.startswith("zoo_")} - {folder.name.replace("-", "_")}
        assert ours <= declared, f"{path} imports {ours - declared}, which {folder.name} does not depend on"


@folders
def test_no_runtime_code_imports_torchvision_or_numpy(folder):
    for path in modules(folder):
        assert not {"torchvision", "timm", "numpy"} & set(imported(path)), path


def test_packages_and_tools_import_nothing_of_the_tests():
    """What tools and tests share is in `tools/`."""
    helpers = {"tests"} | {path.stem for path in (ROOT / "tests").iterdir() if path.is_dir()}
    code = [path for part in ("shared", "packages", "tools") for path in (ROOT / part).rglob("*.py")]
    assert len(code) > 100
    for path in code:
        assert not helpers & set(imported(path)), path


@folders
def test_version_and_exact_pins(folder):
    core = project(ROOT / "shared" / "zoo-core")["project"]["version"]
    assert project(folder)["project"]["version"] == core
    for requirement in requirements(folder):
        if requirement.name.startswith("zoo-"):
            assert str(requirement.specifier) == f"=={core}"


def test_the_version_in_code_is_the_distributions():
    source = (ROOT / "shared/zoo-core/src/zoo_core/__init__.py").read_text()
    stated = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert stated
    assert stated[1] == project(ROOT / "shared" / "zoo-core")["project"]["version"]


@folders
def test_house_form(folder):
    settings = project(folder)
    assert settings["build-system"]["build-backend"] == "hatchling.build"
    assert settings["project"]["requires-python"] == ">=3.11"
    package = folder / "src" / folder.name.replace("-", "_")
    assert (package / "py.typed").is_file()
    assert len((folder / "README.md").read_text()) > 400
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@folders
def test_catalogue_files_belong_to_modules(folder):
    package = folder / "src" / folder.name.replace("-", "_")
    for path in package.glob("catalog/*.toml"):
        assert (package / f"{path.stem}.py").is_file(), f"{path} has no module beside it"


def test_only_the_command_line_and_downloads_need_their_libraries():
    """`import zoo_classification` must not pay for click, rich or requests."""
    for path in modules(ROOT / "shared" / "zoo-core"):
        if "cli" in path.parts or "checkpoints" in path.parts:
            continue
        top = {name for node in ast.parse(path.read_text()).body for name in top_level_imports(node)}
        assert not top & {"click", "rich", "requests", "filelock"}, path


def top_level_imports(node):
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module.partition(".")[0]
