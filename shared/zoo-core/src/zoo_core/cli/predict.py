"""``zoo predict``: what does a model see in these files?"""

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_core import catalog
from zoo_core.catalog import Checkpoint, Model
from zoo_core.cli import facts, output
from zoo_core.cli.errors import UsageError

if TYPE_CHECKING:
    from zoo_core.tasks import Option

_EXAMPLES = """\b
Examples:
  zoo predict resnet50 photo.jpg
  zoo predict resnet50 'photos/**/*.jpg' holiday/ --output out/
  zoo predict resnet50 photo.jpg --weights IMAGENET1K_V1 --json
  zoo predict photo.jpg             with weights that ship in a package
  zoo predict resnet50 --help       also the options that its task has (--topk,
                                    --threshold, ...)

A file that cannot be read is reported and does not stop the others; the exit code is 1 then.
"""


def register(app: typer.Typer, arguments: list[str]) -> None:
    app.command("predict", epilog=_EXAMPLES)(_with_options(_task_options(arguments)))


def predict(
    first: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Name of a model. Without one, a model whose weights ship in an installed package is used.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Files, shell patterns, or folders.", show_default=False),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Without MODEL: the task to do, classification for instance.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="Weights of the model: IMAGENET1K_V1, DEFAULT, ...")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.")
    ] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many inputs run at a time.", show_default=False)
    ] = None,
    output_directory: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write pictures with the results drawn on them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the results as JSON.")] = False,
    **task_options: Any,
) -> int:
    """Run a model on files, and show what it sees."""
    if first is None:
        raise UsageError("give the name of a model and files for it to look at, or files alone")
    model, checkpoint, words = _choose(first, files or [], task, weights)

    from zoo_core.cli import inputs, running
    from zoo_core.tasks import task_class

    adapter = task_class(model.task)
    paths, problems = inputs.find_files(words, adapter.suffixes, left_out=output_directory)
    for problem in problems:
        output.error(problem)
    if not paths:
        raise ValueError("there is nothing to look at")
    groups = adapter.group(paths)
    if output_directory is not None:
        inputs.make_output_directory(output_directory, paths)
    chosen_device = running.choose_device(device, adapter)
    runner = running.load(model, checkpoint, adapter, chosen_device, task_options)
    stems = inputs.unique_stems(groups)

    records: list[dict[str, Any]] = [{"error": problem} for problem in problems]
    counts = [runner.count(group) for group in groups]  # once: it may open the files
    with output.progress("predicting", sum(counts)) as advance:
        for outcome in running.predictions(runner, groups, batch_size or adapter.batch_size):
            advance(1)
            files_of_outcome = [str(path) for path in groups[outcome.group]]
            record: dict[str, Any] = (
                {"file": files_of_outcome[0]} if len(files_of_outcome) == 1 else {"files": files_of_outcome}
            )
            records.append(record)
            if isinstance(outcome, running.Failure):
                record["error"] = outcome.message
                output.error(outcome.message)
                continue
            stem, title = stems[outcome.group], " ".join(files_of_outcome)
            if counts[outcome.group] > 1:
                record["index"] = outcome.index
                stem, title = f"{stem}.{outcome.index:05d}", f"{title} [{outcome.index}]"
            record |= runner.to_json(outcome.result)
            written: list[str] = []
            if output_directory is not None:
                saved = runner.save(outcome.input, outcome.result, output_directory, stem)
                written = record["output"] = [str(path) for path in saved]
            if not as_json:
                print_result(title, runner.describe(outcome.result), written)
    if as_json:
        output.write_json(
            {
                "model": model.name,
                "weights": checkpoint.name,
                "task": model.task,
                "device": str(chosen_device),
                "results": records,
            }
        )
    return 1 if any("error" in record for record in records) else 0


def print_result(title: str, lines: Sequence[str], written: Sequence[str]) -> None:
    """Prints what was seen in one input, and where the pictures of it are."""
    print(title)
    for line in [*lines, *(f"-> {path}" for path in written)]:
        print(f"  {line}")
    sys.stdout.flush()


def _choose(first: str, rest: list[str], task: str | None, weights: str | None) -> tuple[Model, Checkpoint, list[str]]:
    """The model and the weights that the words of the command line mean, and the words that mean files."""
    name = first.lower()
    if name in catalog.models():
        model = catalog.models()[name]
        if task is not None:
            raise UsageError(f"--task is for calls without a model, and {model.name} is one")
        if not rest:
            raise UsageError(f"give files for {model.name} to look at")
        return model, model.checkpoint(weights or "DEFAULT"), rest
    if weights is not None:
        if _is_file(first):
            raise UsageError("--weights goes with the name of a model, which comes before the files")
        raise catalog.unknown_model(first, catalog.models())
    if not _is_file(first):
        raise catalog.unknown_model(first, catalog.models())
    if late := next((word for word in rest if word.lower() in catalog.models() and not _is_file(word)), None):
        raise UsageError(f"the name of the model comes before the files: zoo predict {late} {first}")
    model, checkpoint = _embedded([first, *rest], task)
    output.note(f"no model was named: {model.name} with {checkpoint.name}, which ships in {model.source.package}")
    return model, checkpoint, [first, *rest]


def _is_file(word: str) -> bool:
    """Whether a word means files, and is not the misspelt name of a model."""
    try:
        exists = word != "" and Path(word).exists()
    except OSError:  # too long for a name, or in a folder that may not be read
        return True
    return exists or any(character in word for character in "./\\*?[")


def _embedded(words: Sequence[str], task: str | None) -> tuple[Model, Checkpoint]:
    """The weights at hand for such files: those of the first task, by name, that takes files of this kind."""
    facts.of_task(task)
    candidates = [(m, c) for m, c in facts.embedded() if task is None or m.task == task]
    if not candidates:
        of_task = "" if task is None else f" of the task {task}"
        raise ValueError(
            f"no installed package ships weights{of_task}, so name a model: zoo predict MODEL FILE...; `zoo list` "
            "shows which there are"
        )
    if len({model.task for model, _ in candidates}) > 1:
        from zoo_core.tasks import task_class

        endings = {Path(word).suffix.lower() for word in words} - {""}
        for model, checkpoint in candidates:
            if endings <= task_class(model.task).suffixes:
                return model, checkpoint
    return candidates[0]


def _task_options(arguments: Sequence[str]) -> tuple["Option", ...]:
    """The options that the task of this call has, beside those of all tasks; none if the call doesn't tell its task."""
    words = [word for word in arguments if not word.startswith("-")]
    model = next((catalog.models()[word.lower()] for word in words if word.lower() in catalog.models()), None)
    task = model.task if model is not None else _value_of("--task", arguments)
    if task is None and any(_is_file(word) for word in words):
        task = _embedded([word for word in words if _is_file(word)], None)[0].task if facts.embedded() else None
    if task is None:
        return ()
    if model is None:
        facts.of_task(task)
    from zoo_core.tasks import task_class

    return task_class(task).extra_options


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument == option:
            return next(iter(arguments[position + 1 : position + 2]), None)
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


def _with_options(options: Sequence["Option"]) -> Callable[..., int]:
    """:func:`predict` with the options of a task in its signature, from which typer makes the command."""
    signature = inspect.signature(predict)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            option.key,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if option.type is bool else option.default,
            annotation=Annotated[
                option.type if option.type is bool or option.default is not None else option.type | None,
                typer.Option(
                    option.name,
                    help=option.help,
                    metavar=None if option.type is bool else "TEXT" if option.type is str else "N",
                    min=option.minimum,
                    max=option.maximum,
                ),
            ],
        )
        for option in options
    ]

    def command(**values: Any) -> int:
        return predict(**values)

    command.__doc__ = predict.__doc__
    command.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
    return command
