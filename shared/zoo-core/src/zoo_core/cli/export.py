"""``zoo export``: a model as a file for another runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli import choosing, output, task_options
from zoo_core.cli.errors import UsageError
from zoo_core.cli.task_options import TaskCommand
from zoo_core.declarations import declaration
from zoo_core.exported_files import FORMATS, format_of

if TYPE_CHECKING:
    from zoo_core.exporting import Exported

_EXAMPLES = """\b
Examples:
  zoo export resnet50                                  resnet50.onnx
  zoo export resnet50 --output model.xml               for OpenVINO: model.xml, model.bin
  zoo export run/best.pth --format pt2                 what `zoo train` wrote
  zoo export resnet50 --checkpoint mine.pth --labels labels.txt
  zoo export resnet50 --preprocess                     takes uint8 images
  zoo export resnet50 --half                           a file of half the size
  zoo export resnet50 --int8 flowers/                  8 bits, by these images
  zoo export maskrcnn_resnet50_fpn --max-detections 100
  zoo export --list                                    formats, and what they need
  zoo predict resnet50.onnx photo.jpg                  exported files are models
  zoo evaluate resnet50.onnx imagenet/                 like others

The file says what it is: labels, preprocessing, where its weights come from. It is compared with the model, at the size
of the export and at two others, and is not left behind where it computes something else.
"""

_FORMATS: Mapping[str, tuple[str, str, str]] = {
    "onnx": ("ONNX Runtime, and most others", "zoo-core[onnx]", "onnx onnxscript onnxruntime"),
    "openvino": ("OpenVINO, on Intel's processors", "zoo-core[openvino]", "onnx onnxscript openvino"),
    "pt2": ("torch.export, in Python or C++", "", ""),
}

_DYNAMIC = ("auto", "batch,size", "batch", "size", "none")


def _sides(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise click.BadParameter(f"write it as in 480x640, height first, not {text!r}", context, parameter)
    return tuple(map(int, sides)) if len(sides) > 1 else (int(text), int(text))


@click.command(cls=TaskCommand, declared=choosing.declared_by_model, exported=True, epilog=_EXAMPLES)
@choosing.model_argument(required=False)
@choosing.model_options
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS), case_sensitive=False),
    help="What to write; by default what the ending of --output says, or else onnx.",
)
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to; by default the model's name, here.",
)
@click.option(
    "--dynamic",
    type=click.Choice(_DYNAMIC, case_sensitive=False),
    default="auto",
    help="What stays open: the number of inputs, their size. auto is as much as the model takes.",
)
@click.option(
    "--size",
    callback=_sides,
    metavar="HxW",
    help="Size of the images, or FRAMESxHxW of clips; by default what the weights were made for.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="How many inputs the file takes at a time, where that does not stay open.",
)
@click.option("--half", is_flag=True, help="Store the weights in 16 bits. Not for pt2.")
@click.option(
    "--int8",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Quantize layers to 8 bits by the images in a folder; if it is a data set, the accuracy before and after is "
    "shown. Not for pt2.",
)
@click.option("--opset", type=click.IntRange(18, 25), metavar="N", help="Version of ONNX's operators.")
@click.option(
    "--preprocess",
    is_flag=True,
    help="Make normalisation part of the file, which then takes uint8 in 0..255. Images are still to be resized and "
    "cropped before: no runtime resizes as Pillow does. Detectors resize in the file anyway.",
)
@click.option(
    "--max-detections",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of detectors: outputs of N rows, zeros behind what was found, and num_detections.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    metavar="N",
    help="The largest difference from the model, as a share of the largest output: 0.001, or 0.02 with --half.",
)
@click.option("--list", "show_formats", is_flag=True, help="Show the formats, what they are for and what they need.")
@click.option("--json", "as_json", is_flag=True, help="Write what was done, or the list, as JSON.")
@click.pass_context
def command(
    context: click.Context,
    model: str | None,
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    format_name: str | None,
    file: Path | None,
    dynamic: str,
    size: Sequence[int] | None,
    batch_size: int,
    half: bool,
    int8: Path | None,
    opset: int | None,
    preprocess: bool,
    max_detections: int | None,
    tolerance: float | None,
    show_formats: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Write a model to a file for another runtime."""
    if show_formats:
        if model is not None:
            raise UsageError("--list shows formats, and takes no model")
        _list(as_json)
        return 0
    if model is None and checkpoint is None:
        raise UsageError("give the name of a model, or a checkpoint; --list shows the formats")
    if file is not None and format_name is None:
        try:
            format_name = format_of(file)
        except ValueError as error:
            raise UsageError(f"{error}; or give --format") from None
    spec = choosing.choose(model, weights=weights, checkpoint=checkpoint, labels=labels)
    options = task_options.convert(context, declaration(spec.task), given, spec.name)

    from zoo_core.exporting import export

    exported = export(
        spec,
        file,
        format=format_name,
        options=options,
        dynamic=dynamic,
        size=size,
        batch_size=batch_size,
        half=half,
        int8=int8,
        opset=opset,
        preprocess=preprocess,
        max_detections=max_detections,
        tolerance=tolerance,
        on_step=lambda step: output.note(f"{step} ..."),
    )
    if as_json:
        output.write_json(_as_json(exported))
    else:
        _write(exported)
    return 0


def _list(as_json: bool) -> None:
    from importlib.util import find_spec

    rows = []
    for name, ending in FORMATS.items():
        runs_in, extra, modules = _FORMATS[name]
        missing = [module for module in modules.split() if find_spec(module) is None]
        need = f"pip install '{extra}'" if missing else "nothing more" if extra else "nothing"
        rows.append((name, ending, runs_in, need, not missing))
    if as_json:
        output.write_json(
            [
                {
                    "format": name,
                    "ending": ending,
                    "runs_in": runs_in,
                    "needs": _FORMATS[name][1] or None,
                    "ready": ready,
                }
                for name, ending, runs_in, _, ready in rows
            ]
        )
        return
    columns = [output.Column(title) for title in ("format", "ending", "runs in", "needs")]
    output.write_table(columns, [row[:4] for row in rows])


def _write(exported: "Exported") -> None:
    for path in exported.files:
        output.write(output.Bold(str(path)), f"  {output.size(path.stat().st_size)}")
    output.write("")
    signature = exported.signature
    for title, tensors in (("takes", signature.inputs), ("gives", signature.outputs)):
        for tensor in tensors:
            output.write(f"{title}  {tensor}")
    output.write("")
    output.write_table(
        [output.Column("inputs of"), output.Column("largest difference", right=True), output.Column("")],
        [[shape, f"{found.value:.1e}", found.note] for shape, found in exported.differences.items()],
    )
    if exported.accuracy is not None:
        before, after = exported.accuracy
        output.write("")
        output.write_table(
            [
                output.Column("metric"),
                *(output.Column(title, right=True) for title in ("before", "after", "difference")),
            ],
            [
                [name, f"{value:.3f}", f"{after[name]:.3f}", f"{after[name] - value:+.3f}"]
                for name, value in before.items()
                if name in after
            ],
        )


def _as_json(exported: "Exported") -> dict[str, Any]:
    accuracy = exported.accuracy
    return {
        "files": [str(path) for path in exported.files],
        "format": exported.format,
        "inputs": [tensor.as_dict() for tensor in exported.signature.inputs],
        "outputs": [tensor.as_dict() for tensor in exported.signature.outputs],
        "differences": {shape: found.value for shape, found in exported.differences.items()},
        "tolerance": exported.tolerance,
        "accuracy": None if accuracy is None else {"before": dict(accuracy[0]), "after": dict(accuracy[1])},
    }
