"""Writes what Sphinx reads: the Markdown files of the repository, and a page for each public module.

    python -m tools.docs.pages

Modules are found, not listed. One is public if no part of its name begins with an underscore. A package inside a
distribution that lists names in ``__all__`` (``zoo_detection.ops``) speaks for its modules, which get no pages. A
name is described once, where it is from; pages of other modules that list it have a link.
"""

import ast
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools import distributions
from tools.distributions import ROOT, Distribution

SOURCE = ROOT / "build" / "docs-source"
EXTRA = ROOT / "build" / "docs-extra"
INDEX = Path(__file__).with_name("index.md")
IMAGES = "images"
PICTURES = "shared/zoo-core/docs/images"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]\[]+)\]\((?P<target>[^()\s]+)\)")
_FENCE = re.compile(r"^```", re.MULTILINE)


def guides(root: Path = ROOT) -> dict[str, str]:
    """The Markdown files that are pages: path in the repository -> path among the pages."""
    packages = {
        f"{found.folder.relative_to(root).as_posix()}/README.md": f"guides/{found.name}.md"
        for found in distributions.find(root).values()
    }
    more = {
        path.relative_to(root).as_posix(): f"jobs/{found.name}-{path.stem}.md"
        for found in distributions.find(root).values()
        for path in sorted((found.folder / "docs").glob("*.md"))
    }
    return (
        {
            "README.md": "overview.md",
            ".github/CONTRIBUTING.md": "contributing.md",
            "shared/CHANGELOG.md": "changelog.md",
        }
        | packages
        | more
    )


def with_links_to_pages(text: str, path: str, pages: dict[str, str]) -> str:
    """A Markdown file whose links lead to pages; of a link to what is no page, only the text stays.

    Images lie together in a folder among the pages.

    Args:
        text: the file.
        path: where it is in the repository.
        pages: as :func:`guides` gives them.
    """

    def replace(link: re.Match[str]) -> str:
        target, hash_sign, heading = link["target"].partition("#")
        if "://" in target or not target:
            return link[0]
        if link["image"]:
            shown = posixpath.relpath(f"{IMAGES}/{posixpath.basename(target)}", posixpath.dirname(pages[path]))
            return f"![{link['text']}]({shown})"
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        # A link to a folder shows its README.
        page = pages.get(target) or pages.get(posixpath.normpath(f"{target}/README.md"))
        if page is None:
            return link["text"]
        return f"[{link['text']}]({posixpath.relpath(page, posixpath.dirname(pages[path]))}{hash_sign}{heading})"

    # Brackets in code are no links.
    parts = _FENCE.split(text)
    return "```".join(part if number % 2 else _LINK.sub(replace, part) for number, part in enumerate(parts))


def public_modules(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    """Name and file of each public module, packages before what is in them."""
    source = distribution.folder / "src"
    spoken_for: list[Path] = []
    for path in sorted(source.rglob("*.py"), key=lambda file: (file.parent, file.name != "__init__.py", file.name)):
        is_package = path.name == "__init__.py"
        parts = (path.parent if is_package else path.with_suffix("")).relative_to(source).parts
        if any(part.startswith("_") for part in parts) or any(folder in path.parents for folder in spoken_for):
            continue
        if is_package and len(parts) > 1 and listed_names(path) is not None:
            spoken_for.append(path.parent)
        yield ".".join(parts), path


def listed_names(path: Path) -> list[str] | None:
    """What a module has in ``__all__``; ``None`` if it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def names_from_elsewhere(path: Path, public: Mapping[str, Path]) -> dict[str, str]:
    """The names of ``__all__`` that a module takes from another page's module: name -> that module.

    Args:
        path: of the module.
        public: the modules that have pages, with their files.
    """
    listed = {*(listed_names(path) or ())}
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not listed or not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        # A package speaks for its modules.
        home = node.module if node.module in public else node.module.rpartition(".")[0]
        if home in public and public[home] != path:
            there = listed_names(public[home])
            names = {alias.name for alias in node.names} & listed
            found |= {name: home for name in names if there is None or name in there}
    return found


def module_page(name: str, path: Path, elsewhere: Mapping[str, str] | None = None) -> str:
    """The page of a module: the names of ``__all__`` or all public ones, in the order of the source.

    Args:
        name, path: of the module.
        elsewhere: names that other pages describe, see :func:`names_from_elsewhere`; this page links them.
    """
    names = listed_names(path)
    if names is None:
        return f"{heading(name)}.. automodule:: {name}\n   :members:\n"
    taken = elsewhere or {}
    own = ", ".join(listed for listed in names if listed not in taken)
    members = f"   :members: {own}\n   :ignore-module-all:\n" if own else "   :no-members:\n"
    links = ", ".join(f":obj:`{home}.{listed}`" for listed, home in sorted(taken.items()))
    return f"{heading(name)}.. automodule:: {name}\n{members}" + (f"\nIt also has {links}.\n" if links else "")


def package_page(distribution: Distribution, modules: dict[str, Path]) -> str:
    """The page of a distribution's API: what its package says, and its modules."""
    names = listed_names(distribution.folder / "src" / distribution.package / "__init__.py")
    listed = ", ".join(f":obj:`.{name}`" for name in names or [])
    offers = (
        f"``{distribution.package}`` itself has {listed}." if listed else "It has the names of its modules of models."
    )
    rows = "".join(f"   * - :mod:`{name}`\n     - {summary(path)}\n" for name, path in modules.items())
    return (
        f"{heading(distribution.package)}"
        f".. automodule:: {distribution.package}\n   :no-members:\n\n"
        f"How to use it is in :doc:`the guide of {distribution.name} </guides/{distribution.name}>`. "
        f"{offers}\n\n"
        f".. list-table:: Modules\n\n{rows}\n"
        ".. toctree::\n   :hidden:\n\n" + "".join(f"   {name}\n" for name in modules)
    )


def summary(path: Path) -> str:
    """How a module's docstring begins: its first paragraph, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def heading(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n\n"


def images(root: Path = ROOT) -> dict[str, Path]:
    """The images that pages show, by name.

    Raises:
        ValueError: two of them are called the same.
    """
    found: dict[str, Path] = {}
    for link in _LINK.finditer(INDEX.read_text(encoding="utf-8")):
        if link["image"]:
            # The landing page names those of zoo-core's guides as they lie among the pages.
            name = posixpath.basename(link["target"])
            found[name] = (root / PICTURES / name).resolve()
    for path in guides(root):
        for link in _LINK.finditer((root / path).read_text(encoding="utf-8")):
            if link["image"] and "://" not in link["target"]:
                image = (root / path).parent.joinpath(link["target"]).resolve()
                if found.setdefault(image.name, image) != image:
                    raise ValueError(f"{image} and {found[image.name]} are called the same; pages show both")
    return found


def write(folder: Path) -> None:
    """Writes all pages to a folder, in place of what is in it. Files that stay the same are not touched.

    Sphinx reads again what is newer than what it has.
    """
    pages = guides()
    contents = {"index.md": INDEX.read_text(encoding="utf-8")}
    for path, page in pages.items():
        contents[page] = with_links_to_pages((ROOT / path).read_text(encoding="utf-8"), path, pages)
    apis = {
        distribution: {name: path for name, path in public_modules(distribution) if name != distribution.package}
        for distribution in distributions.find().values()
    }
    public = {name: path for modules in apis.values() for name, path in modules.items()}
    for distribution, modules in apis.items():
        folder_of_api = f"api/{distribution.package}"
        contents[f"{folder_of_api}/index.rst"] = package_page(distribution, modules)
        contents |= {
            f"{folder_of_api}/{name}.rst": module_page(name, path, names_from_elsewhere(path, public))
            for name, path in modules.items()
        }
    files = {page: content.encode() for page, content in contents.items()}
    files |= {f"{IMAGES}/{name}": path.read_bytes() for name, path in images().items()}
    for page, data in files.items():
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / page).is_file() or (folder / page).read_bytes() != data:
            (folder / page).write_bytes(data)
    for old in folder.rglob("*"):
        if old.is_file() and old.relative_to(folder).as_posix() not in files:
            old.unlink()


def write_catalog(folder: Path) -> None:
    """Writes the page of all models, which is whole in itself: Sphinx takes the folder as it is."""
    # It needs zoo-core, without which the pages' rules can be tested.
    from zoo_core import catalog_page

    folder.mkdir(parents=True, exist_ok=True)
    catalog_page.write(folder / "models.html")


if __name__ == "__main__":
    write(SOURCE)
    write_catalog(EXTRA)
