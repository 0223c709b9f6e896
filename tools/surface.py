"""The public surface of the packages, one name a line: what users call, and so what a change may break.

    python -m tools.surface [--check]

Names and signatures are read from the sources, nothing is imported; of the command, from zoo_core alone, since a task
adds what its `task.toml` has. The files are in `tests/assets/surface`. A test fails when they are out of date: whoever
changes the surface writes them anew (`nox -s surface`), sees in the diff what that means for users, and tells them in
the changelog.
"""

import argparse
import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tools import distributions
from tools.distributions import ROOT, Distribution
from tools.docs.pages import listed_names, public_modules

SURFACE = ROOT / "tests" / "assets" / "surface"
COMMAND = SURFACE / "command.txt"


def surface(distribution: Distribution) -> list[str]:
    """All public names of a distribution with their signatures, sorted."""
    lines: set[str] = set()
    for module, path in public_modules(distribution):
        listed = listed_names(path)
        lines |= {module} | {f"{module}.{name}" for name in listed or []}
        # A package that lists names takes them from its modules.
        spoken_for = path.name == "__init__.py" and listed is not None and "." in module
        for source in sorted(path.parent.glob("*.py")) if spoken_for else [path]:
            for line, name in _definitions(ast.parse(source.read_text(encoding="utf-8")), module):
                if listed is None or name in listed:
                    lines.add(line)
    return sorted(lines | set(_data(distribution)))


def _data(distribution: Distribution) -> Iterator[str]:
    """What users name that is no Python: options of a task, recipes."""
    package = distribution.folder / "src" / distribution.package
    for declaration in sorted(package.glob("task.toml")):
        for name, option in tomllib.loads(declaration.read_text(encoding="utf-8")).get("options", {}).items():
            yield f"zoo COMMAND --{name.replace('_', '-')}: {option.get('type', 'flag')} = {option.get('default')!r}"
    for recipe in sorted(package.glob("recipes/*.toml")):
        yield f"zoo train --recipe {recipe.stem}"


def _definitions(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """Each public definition of a module as a line, and its name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _is_public(node.name) and not _is_overload(node):
            yield f"{module}.{node.name}{_signature(node)}", node.name
        elif isinstance(node, ast.ClassDef) and _is_public(node.name):
            bases = [ast.unparse(base) for base in node.bases]
            yield f"class {module}.{node.name}({', '.join(bases)})", node.name
            for member in _members(node):
                yield f"{module}.{node.name}.{member}", node.name
        else:
            for target, annotation in _assigned(node):
                if _is_public(target) and target != "__all__":
                    yield f"{module}.{target}{annotation}", target


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Methods that users call, fields and enum members; of a property, its type."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            if _is_overload(item) or not (_is_public(item.name) or item.name in ("__init__", "__call__")):
                continue
            decorators = {ast.unparse(decorator) for decorator in item.decorator_list}
            if decorators & {"property", "cached_property", "functools.cached_property"}:
                yield f"{item.name}: {ast.unparse(item.returns) if item.returns else 'Any'}"
            elif not any(decorator.endswith((".setter", ".deleter")) for decorator in decorators):
                yield f"{item.name}{_signature(item)}"
        else:
            for target, annotation in _assigned(item):
                if _is_public(target):
                    yield f"{target}{annotation}"


def _assigned(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The names that a statement binds, each with its annotation."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, f": {ast.unparse(node.annotation)}"
    elif isinstance(node, ast.Assign):
        yield from ((target.id, "") for target in node.targets if isinstance(target, ast.Name))


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _is_overload(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).split(".")[-1] == "overload" for decorator in node.decorator_list)


def command_line() -> list[str]:
    """Every command of `zoo` with its arguments and options, as they stand without any task."""
    import click

    from zoo_core.cli.app import COMMANDS, Zoo

    lines = []
    group = Zoo(name="zoo")
    context = click.Context(group, info_name="zoo")
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        commands = {name: command}
        if isinstance(command, click.Group):
            commands |= {f"{name} {sub}": found for sub, found in command.commands.items()}
        for path, found in commands.items():
            lines.append(f"zoo {path}")
            for parameter in found.params:
                if isinstance(parameter, click.Argument):
                    lines.append(f"zoo {path} {parameter.metavar or parameter.human_readable_name}")
                elif isinstance(parameter, click.Option) and not parameter.hidden:
                    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
                    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
                    lines.append(f"zoo {path} {names}{value}{' ...' if parameter.multiple else ''}")
    return sorted(lines)


def files(*, command: bool) -> dict[Path, str]:
    """What each file has to hold."""
    found = {
        SURFACE / f"{distribution.name}.txt": "\n".join(surface(distribution)) + "\n"
        for distribution in distributions.find(ROOT).values()
    }
    return found | ({COMMAND: "\n".join(command_line()) + "\n"} if command else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args().check
    stale = {
        path: text
        for path, text in files(command=True).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    names = ", ".join(path.name for path in stale)
    if check and stale:
        raise SystemExit(f"the public surface has changed: {names}; run `nox -s surface`, and say so in the changelog")
    SURFACE.mkdir(parents=True, exist_ok=True)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    print(f"written: {names}" if stale else "up to date")


if __name__ == "__main__":
    main()
