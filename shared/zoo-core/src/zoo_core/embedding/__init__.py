"""Embeddings of files: the vectors that a model makes of images and videos, for search and clustering.

``zoo embed`` is a thin face over this::

    from zoo_core.embedding import embed

    for found in embed("resnet50", "photos/", normalize=True):
        print(found.source, found.result)          # Tensor[2048]
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from zoo_core import specs
from zoo_core.embedding.files import EMBEDDING_SUFFIXES, convert, records_of_embeddings
from zoo_core.embedding.task import EmbeddingTask, load
from zoo_core.engines import choose_device, device_name
from zoo_core.predicting import Failure, Prediction, Sampling, default_workers, run, sources_of, with_problems
from zoo_core.specs import ModelSpec

__all__ = ["EMBEDDING_SUFFIXES", "EmbeddingTask", "convert", "embed", "load", "records_of_embeddings"]


def embed(
    model: str | os.PathLike[str] | ModelSpec | None,
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    normalize: bool = False,
    device: str = "auto",
    engine: str = "torch",
    precision: str = "fp32",
    batch_size: int | None = None,
    workers: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[Prediction | Failure]:
    """Runs a model on files, up to what its last layer takes. One file that fails does not stop the others.

    Args:
        model, files, weights, checkpoint, labels, options, device, engine, precision, batch_size, sampling: see
            :func:`zoo_core.predicting.predict`.
        normalize: give vectors of length 1, whose dot product is the cosine of the angle between them.
        workers: how many threads read and prepare inputs ahead; by default as many as there are processors, up to 8.

    Returns:
        For each input, in the order of the files, a prediction whose ``result`` is the embedding, float32 Tensor[D] on
        the CPU, or a failure.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has the model.
        zoo_core.checkpoints.CheckpointError: its weights cannot be had.
        ValueError: the model has no embedding, or an option or the device does not suit it.
    """
    spec = specs.find(model, weights=weights, checkpoint=checkpoint, labels=labels)
    task = EmbeddingTask(spec, options, normalize=normalize)
    problems: deque[str] = deque()
    sources = sources_of(task, files, sampling, problems)
    sources.start()
    place = choose_device(device_name(device, engine), task.declaration.devices)
    runner = load(task, place, engine=engine, precision=precision)
    count = default_workers() if workers is None else workers
    return with_problems(problems, run(task, runner, sources, batch_size, workers=count, keep_inputs=False))
