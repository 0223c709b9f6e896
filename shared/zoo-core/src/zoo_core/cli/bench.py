"""``zoo bench``: how fast is a model on this machine?"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli import choosing, output, task_options
from zoo_core.cli.engine_options import tell
from zoo_core.cli.task_options import TaskCommand
from zoo_core.declarations import declaration
from zoo_core.runtimes import ENGINES, PRECISIONS

if TYPE_CHECKING:
    from zoo_core.benchmarking import Measurement

_EXAMPLES = """\b
Examples:
  zoo bench resnet50
  zoo bench resnet50 --batch-size 1,8,32 --engine torch,openvino
  zoo bench vit_b_16 --precision fp32,bf16 --json
  zoo bench fasterrcnn_resnet50_fpn --batch-size 1 --size 480,640

All engines run the same batch in turn, so that what else the machine does hits each alike. Memory is that of a process
which runs this engine alone. An engine exports and compiles the model first, and keeps that for the next time.
"""

_COLUMNS = (
    output.Column("batch", right=True),
    output.Column("engine"),
    output.Column("precision"),
    output.Column("median", right=True),
    output.Column("10 - 90%", right=True, spare=3),
    output.Column("inputs/s", right=True, spare=1),
    output.Column("times torch", right=True),
    output.Column("memory", right=True, spare=2),
    output.Column("largest change", right=True, spare=4),
)


def _words(known: Sequence[str]) -> Callable[[click.Context, click.Parameter, str | None], tuple[str, ...] | None]:
    def read(context: click.Context, parameter: click.Parameter, given: str | None) -> tuple[str, ...] | None:
        words = None if given is None else tuple(dict.fromkeys(word.strip() for word in given.split(",")))
        for word in words or ():
            if word not in known:
                raise click.BadParameter(f"{word!r} is none of {', '.join(known)}", context, parameter)
        return words

    return read


def _numbers(context: click.Context, parameter: click.Parameter, given: str | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise click.BadParameter(f"{given!r} must be whole numbers from 1 on, with commas between", context, parameter)
    return tuple(int(word) for word in words)


@click.command(cls=TaskCommand, declared=choosing.declared_by_model, epilog=_EXAMPLES)
@choosing.model_argument()
@choosing.model_options
@click.option(
    "--batch-size", "batch_sizes", default="1,8", callback=_numbers, metavar="N,...", help="How many inputs a run has."
)
@click.option(
    "--engine",
    "engines",
    callback=_words(ENGINES),
    metavar="NAME,...",
    help=f"Of {', '.join(ENGINES)}; by default all that are installed.",
)
@click.option(
    "--precision",
    "precisions",
    default="fp32",
    callback=_words(PRECISIONS),
    metavar="NAME,...",
    help=f"Of {', '.join(PRECISIONS)}.",
)
@click.option(
    "--size",
    callback=_numbers,
    metavar="H,W",
    help="Size of the inputs, for clips with the number of frames before it; by default that of the weights.",
)
@click.option("--device", metavar="NAME", default="cpu", help="Where torch runs; other engines run on the CPU.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    metavar="N",
    help="About how long each engine is measured with each batch.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the measurements as JSON.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    batch_sizes: Sequence[int],
    engines: Sequence[str] | None,
    precisions: Sequence[str],
    size: Sequence[int] | None,
    device: str,
    seconds: float,
    as_json: bool,
    **given: Any,
) -> int:
    """Measure how fast a model runs here, in each engine."""
    spec = choosing.choose(model, weights=weights, checkpoint=checkpoint, labels=labels)
    options = task_options.convert(context, declaration(spec.task), given, spec.name)

    from zoo_core import benchmarking

    found = benchmarking.benchmark(
        spec,
        batch_sizes=batch_sizes,
        engines=engines,
        precisions=precisions,
        size=size,
        options=options,
        device=device,
        seconds=seconds,
        tell=tell,
    )
    if as_json:
        output.write_json({"model": spec.name, "weights": spec.weights, "measurements": [_as_json(m) for m in found]})
    else:
        _write(found)
    return 1 if found and all(measured.failure is not None for measured in found) else 0


def _write(found: Sequence["Measurement"]) -> None:
    rows = []
    for measured in found:
        row = [str(measured.batch_size), measured.engine, measured.precision]
        if measured.failure is not None:
            rows.append([*row, "none", "", "", "", "", ""])
            output.note(f"{measured.engine} does not run it: {measured.failure}")
            continue
        torch = [
            m for m in found if m.engine == "torch" and m.precision == "fp32" and m.batch_size == measured.batch_size
        ]
        low, high = measured.spread
        rows.append(
            [
                *row,
                f"{1e3 * measured.median:.1f} ms",
                f"{1e3 * low:.1f} - {1e3 * high:.1f}",
                f"{measured.batch_size / measured.median:.1f}",
                f"{torch[0].median / measured.median:.2f}" if torch else "",
                "" if measured.memory is None else output.size(measured.memory),
                "" if measured.change is None else f"{measured.change.largest:.1e}",
            ]
        )
    output.write_table(_COLUMNS, rows)


def _as_json(measured: "Measurement") -> dict[str, Any]:
    record: dict[str, Any] = {
        "engine": measured.engine,
        "precision": measured.precision,
        "batch_size": measured.batch_size,
    }
    if measured.failure is not None:
        return record | {"failure": measured.failure}
    low, high = measured.spread
    return record | {
        "median_s": measured.median,
        "tenth_s": low,
        "ninetieth_s": high,
        "runs": len(measured.seconds),
        "memory_bytes": measured.memory,
        "largest_change": None if measured.change is None else measured.change.largest,
    }
