"""The pages of the documentation, and that there is something to say on them. The rest is `nox -s docs`."""

import ast
import re
from pathlib import Path

import pytest

from tools import distributions
from tools.distributions import Distribution
from tools.docs import blocks, lint, pages

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = distributions.find(ROOT).values()
MODULES = {name: path for distribution in DISTRIBUTIONS for name, path in pages.public_modules(distribution)}
MAPPED = {"README.md": "overview.md", "packages/zoo-a/README.md": "guides/zoo-a.md", "docs/NEWS.md": "news.md"}


def write_distribution(folder, files):
    for name, text in files.items():
        path = folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Distribution(folder)


def test_modules_are_public_unless_their_name_or_their_package_says_otherwise(tmp_path):
    distribution = write_distribution(
        tmp_path,
        {
            "zoo_a/__init__.py": '__all__ = ["b"]',
            "zoo_a/b.py": "",
            "zoo_a/_c.py": "",
            "zoo_a/spoken_for/__init__.py": '__all__ = ["d"]',
            "zoo_a/spoken_for/d.py": "",
            "zoo_a/spoken_for/deeper/e.py": "",
            "zoo_a/open/__init__.py": "from zoo_a.open.f import *",
            "zoo_a/open/f.py": "",
            "zoo_a/_closed/__init__.py": "",
            "zoo_a/_closed/g.py": "",
        },
    )
    names = [name for name, _ in pages.public_modules(distribution)]
    assert names == ["zoo_a", "zoo_a.b", "zoo_a.open", "zoo_a.open.f", "zoo_a.spoken_for"]


def test_a_name_is_described_where_it_is_from_and_linked_elsewhere(tmp_path):
    distribution = write_distribution(
        tmp_path,
        {
            "zoo_a/__init__.py": "",
            "zoo_a/low/__init__.py": 'from zoo_a.low.part import thing\n__all__ = ["thing"]',
            "zoo_a/low/part.py": "thing = other = 1",
            "zoo_a/plain.py": "word = 1",
            "zoo_a/high.py": (
                "from zoo_a.low.part import other, thing\nfrom zoo_a.plain import word\n"
                '__all__ = ["own", "other", "thing", "word"]'
            ),
            "zoo_a/face.py": 'from zoo_a.low import thing\n__all__ = ["thing"]',
        },
    )
    public = dict(pages.public_modules(distribution))
    elsewhere = {name: pages.names_from_elsewhere(path, public) for name, path in public.items()}
    assert elsewhere.pop("zoo_a.high") == {"thing": "zoo_a.low", "word": "zoo_a.plain"}  # no page describes `other`
    assert elsewhere.pop("zoo_a.face") == {"thing": "zoo_a.low"}
    assert not any(elsewhere.values())
    page = pages.module_page("zoo_a.high", public["zoo_a.high"], {"thing": "zoo_a.low", "word": "zoo_a.plain"})
    assert ":members: own, other\n" in page
    assert page.endswith("It also has :obj:`zoo_a.low.thing`, :obj:`zoo_a.plain.word`.\n")
    assert ":no-members:" in pages.module_page("zoo_a.face", public["zoo_a.face"], {"thing": "zoo_a.low"})


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("README.md", "[A](packages/zoo-a), [a](packages/zoo-a/)", "[A](guides/zoo-a.md), [a](guides/zoo-a.md)"),
        ("README.md", "[part](packages/zoo-a/README.md#use)", "[part](guides/zoo-a.md#use)"),
        ("packages/zoo-a/README.md", "[Zoo](../..) [n](../../docs/NEWS.md)", "[Zoo](../overview.md) [n](../news.md)"),
        ("docs/NEWS.md", "[code](../tools/lock.py) and [none](missing.md)", "code and none"),
        ("README.md", "[web](https://a.org/README.md) [here](#use)", "[web](https://a.org/README.md) [here](#use)"),
        ("README.md", "```py\nx[i](y)\n```\n[n](docs/NEWS.md)", "```py\nx[i](y)\n```\n[n](news.md)"),
    ],
)  # fmt: skip
def test_links_lead_to_pages(path, text, expected):
    assert pages.with_links_to_pages(text, path, MAPPED) == expected


@pytest.mark.parametrize("path", pages.guides(ROOT))
def test_links_between_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"(?s)```.*?```", "", (ROOT / path).read_text())):
        assert "://" in target or (ROOT / path).parent.joinpath(target).exists(), target


def test_all_is_written(tmp_path):
    pages.write(tmp_path / "pages")
    written = {path.relative_to(tmp_path / "pages").as_posix() for path in (tmp_path / "pages").rglob("*.*")}
    assert {"index.md", "overview.md", "changelog.md", "contributing.md"} <= written
    for distribution in DISTRIBUTIONS:
        assert f"guides/{distribution.name}.md" in written
        for name, _ in pages.public_modules(distribution):
            page = "index" if name == distribution.package else name
            assert f"api/{distribution.package}/{page}.rst" in written


def definitions(path):
    """The classes and functions of a module with the docstring of each, of an overloaded one with its last."""
    return {
        node.name: ast.get_docstring(node)
        for node in ast.parse(path.read_text()).body
        # The catalogue says what published weights are.
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] != ["WeightsEnum"])
    }


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_says_what_it_is(name):
    path = MODULES[name]
    assert ast.get_docstring(ast.parse(path.read_text()))
    listed = pages.listed_names(path)
    # A package that lists names takes them from its modules.
    paths = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" and listed else [path]
    defined = {name: text for path in paths for name, text in definitions(path).items()}
    shown = [name for name in defined if not name.startswith("_")] if listed is None else defined.keys() & set(listed)
    assert not [name for name in shown if not defined[name]]


PAGE = """# Use it

<!-- not run: needs a camera -->
```sh
zoo predict resnet50 0   # the first "camera"
```

1. First

   ```python
   print("a")
   ```

   ```
   a
   ```

text
<!-- continues -->
```python
print("b")
```

```console
$ zoo list \\
    alexnet
alexnet
$ zoo info alexnet
```
"""


def test_blocks_and_what_is_said_of_them(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    found = blocks.blocks(path)
    assert [(block.line, block.language) for block in found] == [
        (5, "sh"), (11, "python"), (15, ""), (21, "python"), (25, "console"),
    ]  # fmt: skip
    assert [block.not_run for block in found] == ["needs a camera", None, None, None, None]
    assert [block.continues for block in found] == [False, False, False, True, False]
    assert [block.adjoining for block in found] == [False, False, True, False, True]
    assert found[1].text == 'print("a")'
    assert [command.text for command in blocks.commands(found[0])] == ["zoo predict resnet50 0"]
    said = [(command.line, command.text, command.output) for command in blocks.commands(found[4])]
    assert said == [(25, "zoo list alexnet", "alexnet"), (28, "zoo info alexnet", "")]


def test_headings_have_anchors():
    text = "# The `zoo` command\n\n```sh\n# no heading\n```\n## What's [new](x.md)?\n### A, B\n### A B\n"
    assert lint.anchors(text) == {"the-zoo-command", "whats-new", "a-b", "a-b-1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zoo predict resnet50 photo.jpg --topk 3 | head -1", []),
        ("sbatch --gpus=1 --wrap 'zoo predict resnet50 --shard 1/2 --fast'", ["zoo predict has no option --fast"]),
        ("torchrun --nnodes 2 --no-python zoo train a b --epoch 2", ["zoo train has no option --epoch"]),
        ("zoo forecast a", ["zoo has no command 'forecast'"]),
    ],
)  # fmt: skip
def test_options_in_commands_exist(text, expected):
    assert [fault.removeprefix("here: ") for fault in lint.command_faults(text, "here")] == expected


def test_faults_of_a_page_are_found(tmp_path, monkeypatch):
    path = tmp_path / "page.md"
    path.write_text(
        "# A\n[gone](gone.md) [part](#b) [this](#a) ![x](page.md)\n"
        "`zoo_core.engines.compile_for` `zoo_core.engines.compiled_for` `compile_for()` `compile_fro()`\n"
        "`--topk` `--topc`\n"
    )
    found = [fault.partition(": ")[2] for fault in (*lint.link_faults(path), *lint.code_faults(path))]
    assert found == [
        "there is no gone.md",
        "the page has no heading #b",
        "page.md needs a text that says what the picture shows",
        "there is no public name zoo_core.engines.compiled_for",
        "compile_fro is no public name",
        "nothing of ours has the option --topc",
    ]


def test_classes_say_the_shapes_that_they_take():
    tree = ast.parse(
        'class A(nn.Module):\n    """Shape: Tensor[N, C]."""\n    def forward(self, x): ...\n'
        "class B(nn.Module):\n    def forward(self, x): ...\n"
        "class C(nn.Conv2d):\n    def forward(self, x): ...\n"
        "class D(nn.Module): ...\n"
    )
    assert [node.name for node in tree.body if lint.says_no_shape(node)] == ["B"]


def test_images_lie_among_the_pages():
    assert pages.with_links_to_pages("![a b](img/a.webp)", "packages/zoo-a/README.md", MAPPED) == (
        "![a b](../images/a.webp)"
    )
