"""No circle of imports, between modules or between rooms, wherever in a module an import stands.

A room is what lies directly in a package: ``zoo_core.engines`` with all that is in it, ``zoo_core.tasks``. Whoever
imports a module of a room runs the room's ``__init__`` first, so that a circle of rooms is one too.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import distributions

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [found.folder / "src" for found in distributions.find(ROOT).values()]


@dataclass(frozen=True)
class Arrow:
    """One module imports another.

    Attributes:
        start, end: names of the modules.
        line: where in the file of the first.
    """

    start: str
    end: str
    line: int

    def __str__(self) -> str:
        return f"{self.start} -> {self.end} (line {self.line})"


def arrows(*sources: Path) -> list[Arrow]:
    """All imports of modules below these folders by each other.

    Those for type checkers alone are none, but for rooms whose ``__getattr__`` imports these names when they are used.
    """
    files = {name_of(path, source): path for source in sources for path in sorted(source.rglob("*.py"))}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return [
        Arrow(name, target, node.lineno)
        for name, path in files.items()
        for node in imports(trees[name], of_types="." in name and resolves_names(trees[name]))
        for target in targets(node, name if path.name == "__init__.py" else name.rpartition(".")[0], {*files})
        if target != name
    ]


def name_of(path: Path, source: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def resolves_names(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)


def imports(node: ast.AST, *, of_types: bool = False) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports anywhere below a node, with or without those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from imports(ast.Module([*(child.body if of_types else []), *child.orelse], []))
        else:
            yield from imports(child, of_types=of_types)


def targets(node: ast.Import | ast.ImportFrom, package: str, modules: set[str]) -> set[str]:
    """The modules of ours that an import names, in a module of this package."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & modules
    parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
    base = ".".join([*parents, *([node.module] if node.module else [])])
    named = {f"{base}.{alias.name}" for alias in node.names}
    # What is no module is a name in the one before the dot.
    return (named & modules) | ({base} & modules if named - modules else set())


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def circles(found: list[Arrow], *, of_rooms: bool = False) -> list[list[Arrow]]:
    """The arrows of each circle: within a strongly connected component of modules, or between rooms of one."""
    place = room if of_rooms else str
    after: dict[str, set[str]] = {}
    for arrow in found:
        if place(arrow.start) != place(arrow.end):
            after.setdefault(place(arrow.start), set()).add(place(arrow.end))
    reached = {start: reachable(start, after) for start in after}
    components = {
        frozenset(other for other in ends if start in reached.get(other, ()))
        for start, ends in reached.items()
        if start in ends
    }
    return [
        [
            arrow
            for arrow in found
            if {place(arrow.start), place(arrow.end)} <= component and place(arrow.start) != place(arrow.end)
        ]
        for component in sorted(components, key=sorted)
    ]


def reachable(start: str, after: dict[str, set[str]]) -> set[str]:
    """What can be reached by at least one arrow."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        new = after.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return seen


@pytest.fixture(scope="module")
def ours() -> list[Arrow]:
    """Those of all our packages."""
    return arrows(*SOURCES)


@pytest.mark.parametrize("of_rooms", [False, True], ids=["modules", "rooms"])
def test_there_is_no_circle(ours: list[Arrow], of_rooms: bool) -> None:
    found = circles(ours, of_rooms=of_rooms)
    assert not found, "\n\n".join(
        "a circle of imports; move what the lower one needs into a module below both:\n" + "\n".join(map(str, circle))
        for circle in found
    )


def test_imports_of_all_packages_are_seen(ours: list[Arrow]) -> None:
    found = {(arrow.start, arrow.end) for arrow in ours}
    packages = {folder.parent.name.replace("-", "_") for folder in SOURCES}
    assert {start.partition(".")[0] for start, _ in found} == packages
    assert ("zoo_core.predicting.loop", "zoo_core.tasks") in found
    assert ("zoo_core.registry", "zoo_core.specs") in found  # in a function
    assert ("zoo_detection.backbones", "zoo_core.registry") in found
    assert ("zoo_core.tasks", "zoo_core.training.contract") not in found  # for type checkers
    assert ("zoo_core.features", "zoo_core.features.extracting") in found  # when it is used


FILES = {
    "house/__init__.py": "from house.attic import roof\n",
    "house/attic.py": "import house.rooms.hall\n\nroof = 1\n",
    "house/cellar.py": "def dig():\n    if True:\n        from .rooms import hall\n    return hall\n",
    "house/rooms/__init__.py": "",
    "house/rooms/hall.py": "try:\n    from ..cellar import dig\nexcept ImportError:\n    pass\n",
    "house/rooms/study.py": (
        "import typing\nif typing.TYPE_CHECKING:\n    from house.rooms import tower\nelse:\n    import house.garden\n"
    ),
    "house/rooms/tower.py": "class Bell:\n    from house.rooms.study import typing\n",
    "house/garden.py": "from house.rooms import tower\n",
    "house/shed.py": "import house.rooms.study as study\n",
}


def write(folder: Path, **other: str) -> Path:
    for name, text in {**FILES, **other}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_circles_are_found_with_their_arrows(tmp_path: Path) -> None:
    first, second = circles(arrows(write(tmp_path)))
    assert list(map(str, first)) == [
        "house.cellar -> house.rooms.hall (line 3)",
        "house.rooms.hall -> house.cellar (line 2)",
    ]
    assert list(map(str, second)) == [
        "house.garden -> house.rooms.tower (line 1)",
        "house.rooms.study -> house.garden (line 5)",
        "house.rooms.tower -> house.rooms.study (line 2)",
    ]


def test_rooms_have_circles_where_their_modules_have_none(tmp_path: Path) -> None:
    changed = {"house/garden.py": "", "house/rooms/hall.py": "", "house/rooms/study.py": "from house import cellar\n"}
    found = arrows(write(tmp_path, **changed))
    assert circles(found) == []
    (circle,) = circles(found, of_rooms=True)
    assert list(map(str, circle)) == [
        "house.cellar -> house.rooms.hall (line 3)",
        "house.rooms.study -> house.cellar (line 1)",
    ]


def test_names_that_a_room_resolves_later_are_imports(tmp_path: Path) -> None:
    face = "if TYPE_CHECKING:\n    from house.porch.door import bell\n"
    changed = {
        "house/rooms/hall.py": "",
        "house/garden.py": "",
        "house/porch/door.py": "import house.porch\nbell = 1\n",
    }
    assert circles(arrows(write(tmp_path, **changed, **{"house/porch/__init__.py": face}))) == []
    face += "\n\ndef __getattr__(name):\n    return bell\n"
    (circle,) = circles(arrows(write(tmp_path, **changed, **{"house/porch/__init__.py": face})))
    assert list(map(str, circle)) == [
        "house.porch -> house.porch.door (line 2)",
        "house.porch.door -> house.porch (line 1)",
    ]
