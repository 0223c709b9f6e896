"""``zoo demo``: every installed task at work, without network."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo_core import checkpoints, specs
from zoo_core.catalog import Checkpoint, Model
from zoo_core.cli import facts, output
from zoo_core.cli.parser import Command, tasks_option
from zoo_core.declarations import declaration, declarations
from zoo_core.whole_files import write_beside

if TYPE_CHECKING:
    from PIL import Image

    from zoo_core.drawing import Section

_EXAMPLES = """\b
Examples:
  zoo demo
  zoo demo --output /tmp/images --task classification

Uses weights and images that ship in the installed packages. The names of the images begin with what they show. All
results together are on one page, index.html, and some of each model in one image, contact-sheet.png.
"""

# Frames of a video that the page shows.
_EVERY = 8
_FRAMES = 4
# Images of a model that the contact sheet shows; the page has all.
_ON_SHEET = 5


@click.command(cls=Command, epilog=_EXAMPLES)
@tasks_option("Only this task.")
@click.option(
    "--output",
    "output_directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=Path("zoo-demo"),
    help="Where the images go.",
)
def command(tasks: tuple[str, ...], output_directory: Path) -> int:
    """Show what the installed packages can do, on sample images."""
    models = facts.of_tasks(tasks)
    ready = [(m, c) for m, c in facts.embedded() if not tasks or m.task in tasks]
    if not ready:
        of_task = f" of the task {' or '.join(tasks)}" if tasks else ""
        raise ValueError(f"no installed package ships weights{of_task}; {_what_works(models)}")

    sections: list[Section] = []
    failed = 0
    shown, directories = set[tuple[str, str]](), set[Path]()
    for model, checkpoint in ready:
        try:
            samples = _samples(model, checkpoint)
            if (model.task, samples) in shown:
                continue  # of several models that are for the same, one tells what there is to see
            shown.add((model.task, samples))
            directory = output_directory / model.task / model.name
            if directory in directories:
                directory = directory.with_name(f"{model.name}-{checkpoint.name}")
            directories.add(directory)
            section, failures = _show(model, checkpoint, samples, directory)
        except Exception as error:
            # Whatever is wrong with a package from elsewhere, the others are shown.
            if model.source.ours:
                raise
            problem = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
            output.warning(f"the package {model.source.package}: {model.name} is left out: {problem}")
            continue
        failed += failures
        if section.images:
            sections.append(section)
    if not sections:
        raise ValueError("there was nothing to show")
    page, sheet = _write_sheets(sections, output_directory)
    output.write(f"Some of each model in one image: {sheet}")
    output.write(f"All of them on one page: {page}")
    return 1 if failed else 0


def _write_sheets(sections: "list[Section]", directory: Path) -> tuple[Path, Path]:
    """Writes all that was shown as a page, and some of it as an image. Returns the paths of both."""
    from zoo_core.drawing import contact_page, contact_sheet
    from zoo_core.predicting.saving import write_image

    page = contact_page("What the models of the zoo see", sections)
    paths = directory / "index.html", directory / "contact-sheet.png"
    write_beside(paths[0], lambda path: path.write_bytes(page.encode()))
    some = [replace(section, images=section.images[:_ON_SHEET]) for section in sections]
    write_image(contact_sheet(some), paths[1])
    return paths


def _samples(model: Model, checkpoint: Checkpoint) -> str:
    """Url of the folder with inputs for a model."""
    package = model.source.package.partition(".")[0]
    return checkpoint.samples or declaration(model.task).samples or f"package:{package}/samples"


def _show(model: Model, checkpoint: Checkpoint, samples: str, directory: Path) -> "tuple[Section, int]":
    """Runs a model on samples, a folder's url. Returns what it saw, and how many samples it could not take."""
    from zoo_core import predicting
    from zoo_core.cli.results import print_prediction
    from zoo_core.drawing import Section
    from zoo_core.tasks import task_class

    declared = declaration(model.task)
    images: list[tuple[str, Image.Image]] = []
    section = Section(declared.title, f"{model.name} with {checkpoint.name}", images)
    sources, problems = predicting.find_sources(declared, [str(checkpoints.locate(samples))])
    if problems:
        output.warning(f"{model.source.package} ships no samples for {model.name}: {'; '.join(problems)}")
        return section, 0
    chosen = task_class(model.task)(specs.find(model.name, weights=checkpoint.name), declared.demo)
    loaded = predicting.load(chosen)
    directory.mkdir(parents=True, exist_ok=True)
    output.write(output.Bold(model.name), f" with {checkpoint.name}: {model.task}")
    output.write("")
    failed = 0
    with predicting.Saver(directory) as saver:
        for outcome, _ in saver.follow(predicting.run(chosen, loaded, sources)):
            if isinstance(outcome, predicting.Failure):
                output.error(outcome.message)
                failed += 1
                continue
            name = " ".join(path.name for path in outcome.source.paths)
            print_prediction(outcome, name)
            if not outcome.source.numbered:
                images.append((name, outcome.draw()))
            elif outcome.index % _EVERY == 0 and outcome.index < _EVERY * _FRAMES:
                images.append((f"{name} [{outcome.index}]", outcome.draw_frame()))
    output.write("")
    output.write(f"Images with what it saw: {directory}")
    output.write("")
    return section, failed


def _what_works(models: list[Model]) -> str:
    """A call of ``zoo predict`` with the one of these models that takes the smallest download."""

    def download(model: Model) -> float:
        checkpoint = model.checkpoint()
        return 0 if facts.place(checkpoint) else math.inf if checkpoint.file_size is None else checkpoint.file_size

    # Models of other tasks cannot be shown here.
    shown = sorted((model for model in models if model.task in declarations()), key=download)
    if not shown:
        return "`zoo info MODEL` tells how to use one in Python"
    size = download(shown[0])
    after = f" after a download of {output.size(size * 2**20)}" if 0 < size < math.inf else ""
    files = declaration(shown[0].task).examples
    return f"with files of your own this works{after}: zoo predict {shown[0].name} {files}"
