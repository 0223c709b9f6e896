"""The options that tasks declare, as click knows them."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import click

from zoo_core.cli.errors import UsageError
from zoo_core.declarations import Declaration, DeclarationWarning, Option, declarations


def untyped(taken: Collection[str]) -> list[click.Option]:
    """The options of all tasks, for the parser, which does not know yet which of them is meant.

    Values are words until :func:`convert` knows the task: ``--frames`` may be a number of one task and a list of
    another. Not in the help; :func:`typed` gives what is shown there.

    Args:
        taken: names that the command has for options of its own. A task's option of such a name is left out, as is one
            that takes a value where another task's takes none.
    """
    found: dict[str, tuple[bool, click.Option]] = {}
    for declared in declarations().values():
        for option in declared.options.values():
            is_flag = option.type is bool
            if option.name in taken or (option.name in found and found[option.name][0] is not is_flag):
                warnings.warn(
                    f"the option {option.name} of the task {declared.task}, which the package {declared.package} "
                    "declares, is left out: another of that name is there already",
                    DeclarationWarning,
                    stacklevel=2,
                )
            elif option.name not in found:
                found[option.name] = (is_flag, click.Option([option.name], is_flag=is_flag, default=None, hidden=True))
    return [option for _, option in found.values()]


def typed(declared: Declaration) -> list[click.Option]:
    """The options of one task, with their types, bounds, defaults and help."""
    return [_typed(option) for option in declared.options.values()]


def _typed(option: Option) -> click.Option:
    kinds: dict[type, click.ParamType[Any]] = {
        int: click.IntRange(_whole(option.minimum), _whole(option.maximum)),
        float: click.FloatRange(option.minimum, option.maximum),
        str: click.STRING,
        bool: click.BOOL,
    }
    is_flag = option.type is bool
    return click.Option(
        [option.name],
        type=kinds[option.type],
        is_flag=is_flag,
        default=option.default,
        metavar=None if is_flag else "TEXT" if option.type is str else "N",
        help=option.help,
    )


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def convert(context: click.Context, declared: Declaration, given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The values that were given for a task's options, by key.

    Args:
        context: of the command.
        declared: the task.
        given: by key, the words that the parser found for options of all tasks; ``None`` or ``False`` where there are
            none.
        model: its name, for hints.

    Raises:
        UsageError: an option is another task's, or does not take its value.
    """
    values: dict[str, Any] = {}
    options = {option.name: option for option in typed(declared)}
    for key, word in given.items():
        if word is None or word is False:
            continue
        if key not in declared.options:
            owners = [other for other in declarations().values() if key in other.options]
            names = " and ".join(dict.fromkeys(other.title.lower() for other in owners))
            raise UsageError(
                f"No such option: {owners[0].options[key].name} for {model}, a model of the task {declared.task}; "
                f"it is one of {names}",
                see=f"zoo predict {model}",
            )
        option = options[key]
        values[key] = option.type.convert(word, option, context)
        try:
            declared.options[key].check(values[key])
        except ValueError as error:
            raise click.BadParameter(str(error), context, option) from error
    return values
