"""``zoo recipes``: how models are trained, as data."""

from typing import Any

import click
from click.shell_completion import CompletionItem

from zoo_core.cli import output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Command, items, tasks_option
from zoo_core.training import recipes
from zoo_core.training.recipes import Recipe

_EXAMPLES = """\b
Examples:
  zoo recipes                                  all recipes
  zoo recipes resnet50_v2                      one, as the file that it is
  zoo recipes resnet50_v2 > mine.toml          to change it: zoo train ... --recipe mine.toml
  zoo recipes --keys                           what a recipe, or --set of `zoo train`, may say
"""


def complete_recipes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of recipes that begin so."""
    found = {recipe.name: recipe.description for recipe in recipes.recipes()}
    return items((name, text) for name, text in found.items() if name.startswith(incomplete))


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument(
    "name",
    required=False,
    cls=Argument,
    metavar="[NAME]",
    help="Name of a recipe, to print it.",
    shell_complete=complete_recipes,
)
@tasks_option("Only recipes of this task.")
@click.option("--keys", is_flag=True, help="List the keys that a recipe may have, with their defaults.")
@click.option("--json", "as_json", is_flag=True, help="Write all keys of the recipes, as JSON.")
def command(name: str | None, tasks: tuple[str, ...], keys: bool, as_json: bool) -> int:
    """Show the recipes for `zoo train`."""
    if keys:
        if name is not None or as_json:
            raise UsageError("--keys stands alone")
        _write_keys()
        return 0
    found = [recipe for recipe in recipes.recipes() if not tasks or recipe.task in tasks]
    if name is not None:
        found = _named(name, found)
    if as_json:
        output.write_json([_as_json(recipe) for recipe in found])
    elif name is not None:
        _write(found[0])
    else:
        columns = [output.Column("recipe"), output.Column("task"), output.Column("models", spare=2)]
        rows = [[recipe.name, recipe.task, ", ".join(recipe.models), recipe.description] for recipe in found]
        output.write_table([*columns, output.Column("for", spare=1)], rows)
    return 0 if found else 1


def _named(name: str, among: list[Recipe]) -> list[Recipe]:
    found = [recipe for recipe in among if recipe.name == name]
    if not found:
        raise recipes.RecipeError(f"no recipe {name!r}{recipes.hint(name, [recipe.name for recipe in among])}")
    if len(found) > 1:
        raise UsageError(f"{name} is there for {', '.join(r.task for r in found)}; choose with --task")
    return found


def _write(recipe: Recipe) -> None:
    assert recipe.file is not None
    for line in recipe.file.read_text(encoding="utf-8").splitlines():
        output.write(line)


def _as_json(recipe: Recipe) -> dict[str, Any]:
    head = {"task": recipe.task, "description": recipe.description, "source": recipe.source}
    return head | {"models": list(recipe.models)} | recipe.as_dict()


def _write_keys() -> None:
    rows = []
    for key, f in Recipe.settable().items():
        choices = ", ".join(choice or '""' for choice in f.metadata["choices"])
        rows.append([key, recipes.toml_value(f.default), f.metadata["help"] + (f" {choices}." if choices else "")])
    output.write_table([output.Column("key"), output.Column("default"), output.Column("meaning", spare=1)], rows)
