"""``zoo embed``: the vectors that a model makes of files, for search and for clustering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli import choosing, output
from zoo_core.cli.engine_options import engine_options, tell
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import tasks_option
from zoo_core.cli.results import MATRICES, RECORDS, Recorded, ResultOptions, Writer, result_options
from zoo_core.cli.running import (
    InputOptions,
    choose,
    declared,
    input_options,
    place_of,
    run_on_files,
    words_argument,
)
from zoo_core.cli.task_options import TaskCommand
from zoo_core.runtimes import depends_on

if TYPE_CHECKING:
    from zoo_core.predicting import Share
    from zoo_core.tasks import Task

_EXAMPLES = """\b
Examples:
  zoo embed resnet50 photos/ --results photos.npy            a matrix, float32,
                                       and photos.npy.files.csv: the file of each row
  zoo embed resnet50 photos/ --results photos.parquet --normalize
  zoo embed vit_b_16 'photos/**/*.jpg' --results photos.jsonl
  zoo embed resnet50 clip.mp4 --fps 1 --results clip.csv     a frame a second
  zoo embed resnet50 photos/ --results photos.npy --resume   goes on after an
                                                             interruption
  zoo embed resnet50 photos/ --results photos.npy --shard 3/64
  zoo merge --results photos.npy

An embedding is what the last layer of a classifier takes; of detectors and segmentation models it is the mean of the
backbone's last feature map, of optical flow those of both images. A file that cannot be read is reported and does not
stop the others; the exit code is 1 then.
"""


@dataclass(frozen=True)
class _Results(ResultOptions):
    """Results that may be a matrix, too."""

    def __post_init__(self) -> None:
        if not self.is_matrix:
            if self.results is not None and self.format is None and self.results.suffix.lower() not in RECORDS:
                raise UsageError(f"--results {self.results}: the name must end in {', '.join((*MATRICES, *RECORDS))}")
            super().__post_init__()
        elif self.format is not None:
            raise UsageError(f"--results {self.results} is of the format that its name says, and not {self.format}")

    @property
    def is_matrix(self) -> bool:
        return self.results is not None and self.results.suffix.lower() in MATRICES

    def writer(
        self, task: "Task[Any, Any]", share: "Share", device: str, *, given: Mapping[str, Any] | None = None
    ) -> Writer:
        if not self.is_matrix:
            return super().writer(task, share, device, given=given)
        from zoo_core.embedding.files import check_can_write, records_of_embeddings
        from zoo_core.predicting.recording import Recorder
        from zoo_core.predicting.results import already_there

        assert self.results is not None
        check_can_write(self.results)
        if self.results.exists() and not self.resume:
            raise already_there(self.results)
        records = records_of_embeddings(self.results)
        recorder = Recorder(records, task, format="jsonl", share=share, resume=self.resume, given=given)
        return _Matrix(recorder, self.results)


class _Matrix(Recorded):
    """Writes records, and makes a matrix of them in the end."""

    def __init__(self, recorder: Any, path: Path) -> None:
        super().__init__(recorder)
        self._path = path

    def finish(self) -> int:
        code = super().finish()
        if not self._recorder.is_part:
            from zoo_core.embedding.files import convert

            rows = convert(self._path)
            output.note(f"{self._path} has {output.counted(rows, 'row')}")
        return code


@click.command(cls=TaskCommand, declared=declared, epilog=_EXAMPLES)
@words_argument
@tasks_option("Without MODEL: the task to do, classification for instance.", several=False)
@choosing.model_options
@input_options
@engine_options
@click.option("--normalize", is_flag=True, help="Vectors of length 1, whose dot product is the cosine between them.")
@result_options(".npy", ".parquet", ".csv", ".jsonl")
@click.pass_context
def command(
    context: click.Context,
    words: Sequence[str],
    tasks: Sequence[str],
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    lists: Sequence[str],
    device: str,
    batch_size: int | None,
    workers: int | None,
    every: int | None,
    fps: float | None,
    engine: str | None,
    precision: str,
    normalize: bool,
    format_name: str | None,
    as_json: bool,
    results: Path | None,
    resume: bool,
    shard: str | None,
    **given: Any,
) -> int:
    """Run a model on files, and write the embeddings that it makes of them.

    --results FILE takes .npy, .parquet, .csv and .jsonl.
    """
    inputs = InputOptions(lists, device, batch_size, workers, every, fps)
    asked = _Results(format_name, as_json, results, resume, shard)
    chosen = choose(
        *(context, words, tasks, inputs, asked, given), weights=weights, checkpoint=checkpoint, labels=labels
    )

    from zoo_core import embedding

    task = embedding.EmbeddingTask(chosen.spec, chosen.options, normalize=normalize, packed=asked.is_matrix)
    place = place_of(task, device, engine)
    given_to_results = {"verb": "embed", "every": every, "fps": fps, "normalize": normalize}
    given_to_results |= depends_on(engine, precision)
    return run_on_files(
        context,
        task,
        chosen,
        inputs,
        writer=lambda: asked.writer(task, chosen.share, str(place), given=given_to_results),
        load=lambda: embedding.load(task, place, engine=engine, precision=precision, tell=tell),
        doing="embedding",
    )
