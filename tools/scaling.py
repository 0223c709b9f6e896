"""How long training takes on how many accelerators, computed from the time of a step on one and from the network.

    python -m tools.scaling                                      # the tables of shared/zoo-core/docs/clusters.md
    python -m tools.scaling --write                              # writes them there
    python -m tools.scaling --figures mine.toml                  # the same with your own figures, see scaling.toml
    python -m tools.scaling --set models.resnet50.step_seconds=0.11 --set accelerators_per_node=4

A step takes what the slower of two things takes: computing, with what of the exchange of gradients is not hidden behind
it; or reading and augmenting the next images. The exchange is a ring: each of p processes sends 2 (p - 1) / p of the
message to its neighbour, in 2 (p - 1) steps, over the slowest link on the way.

Python alone; what it computes is the whole of :func:`step`.
"""

import argparse
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.distributions import ROOT

FIGURES = Path(__file__).with_name("scaling.toml")
PAGE = ROOT / "shared" / "zoo-core" / "docs" / "clusters.md"
PROCESSES = (1, 8, 64, 512)
_BYTES = 4  # gradients are float32, under autocast too
_USEFUL = 0.5


@dataclass(frozen=True)
class Figures:
    """What is known of a model, the data and the machines. `scaling.toml` says what each is."""

    samples: int
    held_out: int
    bytes_per_sample: float
    samples_per_core: float
    cores_per_accelerator: int
    accelerators_per_node: int
    inner_bandwidth: float
    inner_latency: float
    outer_bandwidth: float
    outer_latency: float
    backward_share: float
    bucket_bytes: float
    jitter: float
    evaluation_speed: float
    parameters: int
    batch_size: int
    step_seconds: float
    floor_seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.floor_seconds < self.step_seconds:
            raise ValueError(f"floor_seconds must be from 0 to below step_seconds, not {self.floor_seconds}")


@dataclass(frozen=True)
class Step:
    """The seconds of a step.

    Args:
        compute: forward, backward and the optimiser, on the slowest process.
        exchange: of gradients, were it alone.
        exposed: what of that is not hidden behind the backward pass.
        reading: of the images of a step, by the workers, which read ahead.
    """

    compute: float
    exchange: float
    exposed: float
    reading: float

    @property
    def total(self) -> float:
        return max(self.compute + self.exposed, self.reading)


def ring_seconds(message: float, processes: int, figures: Figures) -> float:
    """What an all-reduce of so many bytes takes by a ring over so many processes."""
    if processes == 1:
        return 0.0
    crosses = processes > figures.accelerators_per_node
    bandwidth = min(figures.inner_bandwidth, figures.outer_bandwidth) if crosses else figures.inner_bandwidth
    latency = figures.outer_latency if crosses else figures.inner_latency
    return 2 * (processes - 1) * (message / processes / bandwidth + latency)


def step(figures: Figures, processes: int, batch_size: float) -> Step:
    """A step of so many processes, each with a batch of that size."""
    slope = (figures.step_seconds - figures.floor_seconds) / figures.batch_size
    alone = figures.floor_seconds + slope * batch_size
    # The slowest of n like processes is this far above the mean, of a normal distribution and at most.
    compute = alone * (1 + figures.jitter * math.sqrt(2 * math.log(processes)))
    message = _BYTES * figures.parameters
    exchange = ring_seconds(message, processes, figures)
    last = ring_seconds(min(message, figures.bucket_bytes), processes, figures)
    exposed = max(exchange - figures.backward_share * alone, last)
    reading = batch_size / (figures.samples_per_core * figures.cores_per_accelerator)
    return Step(compute, exchange, exposed, reading)


def epoch_seconds(figures: Figures, processes: int, batch_size: float) -> float:
    """All steps of an epoch, and the evaluation after it."""
    steps = max(figures.samples // (processes * batch_size), 1)  # what is left over waits for another epoch
    alone = figures.step_seconds / figures.batch_size / figures.evaluation_speed
    evaluation = (
        max(alone, 1 / (figures.samples_per_core * figures.cores_per_accelerator)) * figures.held_out / processes
    )
    return steps * step(figures, processes, batch_size).total + evaluation


def efficiency(figures: Figures, processes: int, batch_size: float, alone: float) -> float:
    """Samples a second of each process, relative to those of one process with batches of the size ``alone``."""
    rate = batch_size / step(figures, processes, batch_size).total
    return rate / (alone / step(figures, 1, alone).total)


def limit(figures: Figures, total: int) -> int:
    """The most processes, of a power of two, that share steps of ``total`` samples at half of one's efficiency or more.

    One has batches of the size that the step was timed with. As each then has fewer samples, what does not shrink with
    them (the exchange, and the launching of kernels) takes its share.
    """
    processes = 1
    while 2 * processes <= total:
        doubled = 2 * processes
        batch = min(total / doubled, figures.batch_size)
        if efficiency(figures, doubled, batch, figures.batch_size) < _USEFUL:
            break
        processes = doubled
    return processes


# From the file to the page -------------------------------------------------------------------------------------------


def read(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The file of figures, with changes ``KEY=VALUE``; a key is that of a figure, ``networks.NAME`` or
    ``models.NAME.KEY``.

    Raises:
        ValueError: there is no such key, or the value is no number.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    for change in changes:
        key, sign, value = change.partition("=")
        parts = key.split(".") if key.startswith(("models.", "networks.")) else ["figures", key]
        table: Any = content
        for part in parts:
            table = table.get(part) if isinstance(table, dict) else None
        if not sign or not isinstance(table, dict) or "value" not in table:
            raise ValueError(
                f"{key!r} is no figure of {path.name}; one is changed like step_seconds of a model: "
                "models.resnet50.step_seconds=0.11"
            )
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"{key} must be a number, not {value!r}") from None
        table |= {"value": int(number) if number.is_integer() else number, "how": "yours", "why": "given"}
    return content


def of(content: Mapping[str, Any], model: str, network: str) -> Figures:
    """The figures of a model on a network."""
    values = {key: entry["value"] for key, entry in {**content["figures"], **content["models"][model]}.items()}
    return Figures(**values, outer_bandwidth=content["networks"][network]["value"])


def tables(content: Mapping[str, Any]) -> str:
    """All tables, in Markdown: assumptions, weak and strong scaling for each model and network."""
    parts = ["### What it is computed from", _assumptions(content)]
    for model in content["models"]:
        usual = content["models"][model]["batch_size"]["value"]
        parts += [
            f"### {model}: {usual} images for each accelerator",
            "The more accelerators, the larger the step, which the recipe's rate has to follow.",
            _table(content, model, [(count, usual) for count in PROCESSES]),
            f"### {model}: 8,192 images a step",
            "The more accelerators, the fewer images for each, so that training stays the same. One and eight compute "
            "several batches for a step (`grad_accum_steps`).",
            _table(content, model, [(count, min(usual, 8192 // count)) for count in PROCESSES]),
            _limits(content, model),
        ]
    return "\n\n".join(parts) + "\n"


def _assumptions(content: Mapping[str, Any]) -> str:
    entries = {**content["figures"]}
    entries |= {f"bandwidth of a node, {name}": entry for name, entry in content["networks"].items()}
    entries |= {f"{key} of {model}": e for model, of_it in content["models"].items() for key, e in of_it.items()}
    rows = [
        f"| {key} | {_number(entry['value'])} | {entry['how']} | {entry['why']} |" for key, entry in entries.items()
    ]
    return "\n".join(["| figure | value | | |", "| --- | ---: | --- | --- |", *rows])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _table(content: Mapping[str, Any], model: str, sizes: Sequence[tuple[int, int]]) -> str:
    rows = [
        "| accelerators | images each | network | step (ms) | exchange, hidden or not (ms) | reading (ms) | images/s | "
        "efficiency | read from disk (GB/s) | 90 epochs | 600 epochs |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for processes, batch in sizes:
        # Networks matter between nodes only.
        for network in content["networks"]:
            figures = of(content, model, network)
            is_inside = processes <= figures.accelerators_per_node
            found = step(figures, processes, batch)
            rate = processes * batch / found.total
            epoch = epoch_seconds(figures, processes, batch)
            rows.append(
                f"| {processes} | {batch} | {'' if is_inside else network} | {1000 * found.total:.1f} | "
                f"{1000 * found.exchange:.1f} | {1000 * found.reading:.1f} | {rate:,.0f} | "
                f"{efficiency(figures, processes, batch, figures.batch_size):.0%} | "
                f"{rate * figures.bytes_per_sample / 1e9:.2f} | {_duration(90 * epoch)} | {_duration(600 * epoch)} |"
            )
            if is_inside:
                break
    return "\n".join(rows)


def _limits(content: Mapping[str, Any], model: str) -> str:
    found = [f"{limit(of(content, model, name), 8192)} over {name}" for name in content["networks"]]
    return f"More than half of an accelerator's own speed is left with up to {', '.join(found)}."


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return (
        f"{minutes:.0f} min"
        if minutes < 100
        else f"{minutes / 60:.1f} h"
        if minutes < 6000
        else f"{minutes / 1440:.1f} d"
    )


BEGIN, END = "<!-- figures: written by tools/scaling.py -->", "<!-- end of figures -->"


def with_tables(page: str, content: Mapping[str, Any]) -> str:
    """The page with the tables between their marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{tables(content)}\n{END}{tail}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="a file like tools/scaling.toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another value; may be repeated"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    given = parser.parse_args(arguments)
    try:
        content = read(given.figures, given.set)
        if given.write:
            PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), content), encoding="utf-8")
        else:
            print(tables(content))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
