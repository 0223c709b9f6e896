"""``zoo demo``: every installed task at work, without network."""

import math
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.catalog import Model
from zoo_core.cli import facts, output

_EXAMPLES = """\b
Examples:
  zoo demo
  zoo demo --output /tmp/pictures --task classification

Uses weights and pictures that ship in the installed packages. The names of the pictures begin with what they show.
"""


def register(app: typer.Typer, arguments: list[str]) -> None:
    app.command("demo", epilog=_EXAMPLES)(demo)


def demo(
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Only this task.")] = None,
    output_directory: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the pictures go.")] = Path(
        "zoo-demo"
    ),
) -> int:
    """Show what the installed packages can do, on sample pictures."""
    models = facts.of_task(task)
    ready = [(m, c) for m, c in facts.embedded() if task is None or m.task == task]
    if not ready:
        of_task = "" if task is None else f" of the task {task}"
        raise ValueError(f"no installed package ships weights{of_task}; {_what_works(models)}")

    from zoo_core import checkpoints
    from zoo_core.cli import inputs, running
    from zoo_core.cli.predict import print_result
    from zoo_core.tasks import task_class

    shown = failed = 0
    for model, checkpoint in ready:
        adapter = task_class(model.task)
        package = model.source.package.partition(".")[0]
        folder = checkpoints.locate(adapter.samples or f"package:{package}/samples")
        paths, problems = inputs.find_files([str(folder)], adapter.suffixes)
        if problems:
            output.warning(f"{model.source.package} ships no samples for {model.name}: {'; '.join(problems)}")
            continue
        directory = output_directory / model.task / model.name
        directory.mkdir(parents=True, exist_ok=True)
        print(f"{output.bold(model.name)} with {checkpoint.name}: {model.task}\n")
        groups = adapter.group(paths)
        stems = inputs.unique_stems(groups)
        runner = running.load(model, checkpoint, adapter, running.choose_device("cpu", adapter), {})
        counts = [runner.count(group) for group in groups]  # once: it may open the files
        for outcome in running.predictions(runner, groups, adapter.batch_size):
            if isinstance(outcome, running.Failure):
                output.error(outcome.message)
                failed += 1
                continue
            stem = stems[outcome.group]
            if counts[outcome.group] > 1:
                stem = f"{stem}.{outcome.index:05d}"
            runner.save(outcome.input, outcome.result, directory, stem)
            print_result(" ".join(path.name for path in groups[outcome.group]), runner.describe(outcome.result), [])
            shown += 1
        print(f"\nPictures with what it saw: {directory}\n")
    if not shown:
        raise ValueError("there was nothing to show")
    return 1 if failed else 0


def _what_works(models: list[Model]) -> str:
    """A call of ``zoo predict`` with the one of these models that takes the smallest download."""
    from zoo_core.tasks import task_class

    def download(model: Model) -> float:
        checkpoint = model.checkpoint()
        return 0 if facts.place(checkpoint) else math.inf if checkpoint.file_size is None else checkpoint.file_size

    for model in sorted(models, key=download):
        try:
            files = task_class(model.task).example_files
        except ValueError:  # models that the command line cannot show
            continue
        size = download(model)
        after = f" after a download of {output.size(size * 2**20)}" if 0 < size < math.inf else ""
        return f"with files of your own this works{after}: zoo predict {model.name} {files}"
    return "`zoo info MODEL` tells how to use one in Python"
