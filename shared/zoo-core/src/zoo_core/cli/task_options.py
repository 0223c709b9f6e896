"""The options that tasks declare, as click knows them, and commands that take them."""

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Command, items
from zoo_core.declarations import Declaration, DeclarationWarning, Option, declarations

_DECLARATION = "zoo_core.cli.declaration"


class TaskCommand(Command):
    """A command that takes the options of a task: its parser knows those of all, its help shows those of one.

    Args:
        declared: tells from what was parsed so far, by the names of the command's parameters, what the task declares.
            Raises ``ValueError`` where the line does not tell the task.
        exported: take only those options that are part of an exported model.
    """

    def __init__(
        self,
        *args: Any,
        declared: Callable[[Mapping[str, Any]], Declaration],
        exported: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.declared = declared
        self.exported = exported

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        taken = {name for parameter in own for name in parameter.opts}
        return [*own, *untyped(taken, exported=self.exported)]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        names = self.get_help_option_names(ctx)
        return _Help(names, is_flag=True, is_eager=True, expose_value=False, help="Show this message and exit.")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        declared = ctx.meta.get(_DECLARATION)
        options = [] if declared is None else typed(declared, exported=self.exported)
        if declared is not None and options:
            with formatter.section(f"Options of {declared.title.lower()}"):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            with contextlib.suppress(ValueError):
                options = _taken(self.declared(ctx.params), self.exported)
                found += items((o.name, o.help) for o in options if o.name.startswith(incomplete))
        return found


class _Help(click.Option):
    """``--help``, which explains the options of the task too where the line tells it."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        if opts.get(self.name or "") and not ctx.resilient_parsing:
            with contextlib.suppress(ValueError):
                assert isinstance(ctx.command, TaskCommand)
                ctx.meta[_DECLARATION] = ctx.command.declared(opts)
            click.echo(ctx.get_help())
            ctx.exit()
        return None, args


def _taken(declared: Declaration, exported: bool) -> list[Option]:
    return [option for option in declared.options.values() if option.exported or not exported]


def untyped(taken: Collection[str], *, exported: bool = False) -> list[click.Option]:
    """The options of all tasks, for the parser, which does not know yet which of them is meant.

    Values are words until :func:`convert` knows the task: ``--frames`` may be a number of one task and a list of
    another. Not in the help; :func:`typed` gives what is shown there.

    Args:
        taken: names that the command has for options of its own. A task's option of such a name is left out, as is one
            that takes a value where another task's takes none.
        exported: only those that are part of an exported model.
    """
    found: dict[str, tuple[bool, click.Option]] = {}
    for declared in declarations().values():
        for option in _taken(declared, exported):
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


def typed(declared: Declaration, *, exported: bool = False) -> list[click.Option]:
    """The options of one task, with their types, bounds, defaults and help; or those that are part of a file."""
    return [_typed(option) for option in _taken(declared, exported)]


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
                see=f"{context.command_path} {model}",
            )
        option = options[key]
        values[key] = option.type.convert(word, option, context)
        try:
            declared.options[key].check(values[key])
        except ValueError as error:
            raise click.BadParameter(str(error), context, option) from error
    return values
