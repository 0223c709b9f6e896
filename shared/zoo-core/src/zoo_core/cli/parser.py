"""What the commands are made of, on click: arguments with a help text, ``--debug`` anywhere, names to complete."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from zoo_core import catalog

Function = TypeVar("Function", bound=Callable[..., Any])


def together(*decorators: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several arguments or options as one decorator: the help shows them in this order."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class Session:
    """What the options that may stand anywhere on the line say."""

    debug = False


def debug_option() -> click.Option:
    """``--debug``, which the group and each command have."""

    def remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value and isinstance(context.obj, Session):
            context.obj.debug = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Show the whole traceback of an error. May stand anywhere on the line.",
    )


class Argument(click.Argument):
    """An argument that is explained in the help, which click does from some version on by itself.

    Args:
        declarations: its name, as click takes it.
        help: what it is.
        **settings: of :class:`click.Argument`.
    """

    def __init__(self, declarations: Sequence[str], help: str, **settings: Any) -> None:
        super().__init__(declarations, **settings)
        self.explanation = help


class Command(click.Command):
    """A command of ``zoo``."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.append(debug_option())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Explains the arguments, then the options."""
        explained = [
            (parameter.metavar or parameter.human_readable_name, parameter.explanation)
            for parameter in self.get_params(ctx)
            if isinstance(parameter, Argument)
        ]
        if explained:
            with formatter.section("Arguments"):
                formatter.write_dl(explained)
        super().format_options(ctx, formatter)


Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of models that begin so."""
    return items((name, model.task) for name, model in catalog.models().items() if name.startswith(incomplete.lower()))


def complete_tasks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The tasks that begin so."""
    tasks = sorted({model.task for model in catalog.models().values()})
    return items((task, "") for task in tasks if task.startswith(incomplete.lower()))


def tasks_option(help: str, *, several: bool = True) -> Callable[[Function], Function]:
    """Adds ``--task`` to a command; the value is ``tasks``, each once, in any letter case.

    Args:
        help: what it is for.
        several: whether more than one make sense. If not, the command says so to a user who gives them.
    """

    def known(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
        tasks = {task.lower(): task for task in (model.task for model in catalog.models().values())} if given else {}
        return tuple(dict.fromkeys(tasks.get(word.lower(), word) for word in given))

    return click.option(
        "--task",
        "tasks",
        multiple=True,
        callback=known,
        metavar="NAME",
        help=f"{help} May be repeated." if several else help,
        shell_complete=complete_tasks,
    )


def complete_weights(*others: str) -> Completer:
    """A completer for the names of weights: of the models that the line names before, or of all.

    Args:
        *others: what may stand in place of a name.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # An option that waits for its value leaves the words before it in ``args``.
        words = list(context.args)
        for value in context.params.values():
            words += [value] if isinstance(value, str) else list(value) if isinstance(value, tuple | list) else []
        named = [catalog.models()[word.lower()] for word in words if word.lower() in catalog.models()]
        names = {name for model in named or catalog.models().values() for name in model.checkpoints}
        return items(
            (name, "") for name in [*sorted(names), "DEFAULT", *others] if name.lower().startswith(incomplete.lower())
        )

    return complete


def items(names: Iterable[tuple[str, str]]) -> list[CompletionItem]:
    """Names and what explains them, as click wants them. What a terminal cannot show as it is is left out."""
    return [CompletionItem(name, help=text or None) for name, text in names if name.isprintable()]
