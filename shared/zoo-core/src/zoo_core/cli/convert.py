"""``zoo convert``: the parameters of a model as a checkpoint that says what it is, in another format."""

from pathlib import Path

import click

from zoo_core.cli import choosing, output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Command
from zoo_core.specs import CHECKPOINT_SUFFIXES

_EXAMPLES = """\b
Examples:
  zoo convert run/best.pth flowers.safetensors
  zoo convert resnet50 --checkpoint timm/model.safetensors resnet50.pth --labels labels.txt
  zoo convert resnet50 resnet50.safetensors

The name of the file says its format: .safetensors, or .pth, .pt and .ckpt for that of torch.save. It has the labels,
the preprocessing and the figures that are known of the model, so zoo predict, evaluate, train and export take it.
`zoo export` makes files for other runtimes.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@choosing.model_argument()
@click.argument("file", cls=Argument, type=click.Path(path_type=Path), metavar="FILE", help="The file to write.")
@choosing.model_options
def command(model: str, file: Path, weights: str | None, checkpoint: Path | None, labels: Path | None) -> int:
    """Write a model's parameters as a checkpoint that says what it is."""
    if file.suffix.lower() not in CHECKPOINT_SUFFIXES:
        raise UsageError(f"{file} must end in one of {', '.join(sorted(CHECKPOINT_SUFFIXES))}, which says the format")
    spec = choosing.choose(model, weights=weights, checkpoint=checkpoint, labels=labels)

    from zoo_core.converting import convert

    convert(spec, file)
    output.note(f"wrote {file}, with the parameters of {spec}")
    return 0
