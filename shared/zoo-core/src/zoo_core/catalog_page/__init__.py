"""The catalogue as one HTML file: every model and its weights to sort, filter and compare, with no network.

What the page shows is the catalogues' word and, as latency, what ``latencies.json`` has as measured. The scripts of the
page are in ``page.js``; it draws with Observable Plot and D3, which are in ``vendor`` and become part of the file.
"""

import functools
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import zoo_core
from zoo_core import catalog, declarations
from zoo_core.catalog import Checkpoint, Model, licences
from zoo_core.whole_files import write_beside

_PARTS = files(__name__)


def write(path: Path) -> None:
    """Writes the page: beside the place, and then into it.

    Args:
        path: the file, which may be there already.

    Raises:
        OSError: it cannot be written.
    """
    text = page()
    write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def page() -> str:
    """The page of all installed packages' models."""
    values = {
        "style": _part("page.css"),
        "content": json.dumps(content(), ensure_ascii=False, allow_nan=False, separators=(",", ":")),
        "licences": _part("vendor/LICENSES.txt"),
        "d3": _part("vendor/d3.min.js"),
        "plot": _part("vendor/plot.min.js"),
        "script": _part("page.js"),
    }
    # Nothing that stands inside <script> may end it.
    values = {key: text.replace("</", "<\\/") if key == "content" else text for key, text in values.items()}
    text = _part("page.html")
    for key, value in values.items():
        text = text.replace(f"{{{{{key}}}}}", value)
    return text


def content() -> dict[str, Any]:
    """What the page shows, as plain values."""
    models = catalog.models().values()
    return {
        "version": zoo_core.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "tasks": [_task(name) for name in dict.fromkeys(model.task for model in models)],
        "machines": {kind: found["machine"] for kind, found in latencies().items()},
        "rows": [_row(model, checkpoint) for model in models for checkpoint in model.checkpoints.values()],
    }


def _task(name: str) -> dict[str, str | None]:
    known = declarations.declarations().get(name)
    metric = known.metric if known else None
    return {"name": name, "title": known.title if known else name, "metric": metric.name if metric else None}


@functools.cache
def latencies() -> Mapping[str, Mapping[str, Any]]:
    """By kind of device (``"cpu"``, ``"cuda"``): the machine, the versions, and milliseconds by model."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(_part("latencies.json"))
    return found


def _row(model: Model, checkpoint: Checkpoint) -> dict[str, Any]:
    is_default = checkpoint.name == model.default
    return {
        "task": model.task,
        "model": model.name,
        "weights": checkpoint.name,
        "enum": model.weights,
        "package": model.source.package,
        "default": is_default,
        "embedded": checkpoint.embedded,
        "metrics": {
            f"{data_set} {name}": value
            for data_set, figures in checkpoint.metrics.items()
            for name, value in figures.items()
            if math.isfinite(value)
        },
        "params": checkpoint.num_params,
        "gflops": checkpoint.ops,
        "size": checkpoint.file_size,
        # The input's size follows the weights' preset: measured with the default ones only.
        "latency": {
            kind: found["milliseconds"][model.name]
            for kind, found in latencies().items()
            if is_default and model.name in found["milliseconds"]
        },
        "labels": len(checkpoint.categories) if checkpoint.categories else None,
        "preprocessing": str(checkpoint.transforms),
        "licence": _terms(licences.of_weights(checkpoint)),
        "data": [[name, *_terms(terms)] for name, terms in licences.of_data(checkpoint).items()],
        "recipe": checkpoint.recipe,
        "url": checkpoint.url,
        "notes": checkpoint.docs,
    }


def _terms(terms: licences.Terms) -> list[str | None]:
    return [terms.terms, terms.source]


def _part(name: str) -> str:
    return _PARTS.joinpath(name).read_text(encoding="utf-8")
