"""The public names and signatures of the packages are those on file: a change is a decision, and told to users."""

import ast

import pytest

from tools import surface

FILES = surface.files(command=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_names_and_signatures_are_those_on_file(path):
    known, found = path.read_text().splitlines(), FILES[path].splitlines()
    gone, new = sorted(set(known) - set(found)), sorted(set(found) - set(known))
    assert not gone and not new, "run `nox -s surface`, and tell users in shared/CHANGELOG.md"  # noqa: PT018


def test_what_counts():
    tree = ast.parse(
        "import os\n"
        "SIZE: int = 3\n"
        "_hidden = 4\n"
        "class Net(Base):\n"
        "    width: int\n"
        "    def __init__(self, depth: int = 3, *, wide=False) -> None: ...\n"
        "    def _inner(self): ...\n"
        "    def forward(self, x: Tensor, /) -> Tensor: ...\n"
        "    @property\n"
        "    def blocks(self) -> int: ...\n"
        "@overload\n"
        "def build(name: str) -> Net: ...\n"
        "def build(name): ...\n"
        "def _helper(): ...\n"
    )
    assert [line for line, _ in surface._definitions(tree, "m")] == [
        "m.SIZE: int",
        "class m.Net(Base)",
        "m.Net.width: int",
        "m.Net.__init__(self, depth: int=3, *, wide=False) -> None",
        "m.Net.forward(self, x: Tensor, /) -> Tensor",
        "m.Net.blocks: int",
        "m.build(name)",
    ]
