"""The training itself: one loop for every task, from top to bottom."""

import contextlib
import copy
import dataclasses
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from zoo_core.data import DataError, share
from zoo_core.engines import EagerEngine, choose_device
from zoo_core.evaluating import merged, score_share
from zoo_core.features.freezing import is_frozen
from zoo_core.processes import LostProcessError, World, agreed, available_processors, gathered, joined
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Sample
from zoo_core.training import randomness
from zoo_core.training.batch_norm import synchronized
from zoo_core.training.contract import Batch
from zoo_core.training.interruption import Interruption
from zoo_core.training.job import Job, prepare
from zoo_core.training.observer import Observer
from zoo_core.training.optimization import apart, average, learning_rate, make_optimizer, make_schedule
from zoo_core.training.precheck import Findings, precheck
from zoo_core.training.recipes import Recipe
from zoo_core.training.records import Records
from zoo_core.training.samples import Order, Unusable, batches
from zoo_core.training.saving import Saver, write_file
from zoo_core.training.state import State

__all__ = ["BEST", "BEST_SAFETENSORS", "LAST", "NonFiniteLossError", "Outcome", "fit", "train"]

BEST, BEST_SAFETENSORS, LAST = "best.pth", "best.safetensors", "last.pth"
_SECONDS_BETWEEN_SAVES = 600.0
# In the record of an epoch, what is not a figure of the model.
_OF_THE_LOOP = frozenset({"epoch", "step", "loss", "val_loss", "lr", "samples_per_second"})


class NonFiniteLossError(ValueError):
    """The loss was NaN or infinite. The message names the files of the batch."""


@dataclass(frozen=True)
class Outcome:
    """What training came to.

    Args:
        metrics: of the best epoch, by name.
        epoch: which it was, from 1 on; 0 where none is done.
        steps: how many were done in all.
        of_steps: how many there were to do.
        interrupted: whether it was stopped from outside; what was done is saved.
    """

    metrics: Mapping[str, float]
    epoch: int
    steps: int
    of_steps: int
    interrupted: bool


def train(
    model: str | os.PathLike[str] | ModelSpec,
    data: str | os.PathLike[str],
    *,
    recipe: str | Recipe | None = None,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    from_scratch: bool = False,
    settings: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] = "run",
    **options: Any,
) -> Outcome:
    """Trains a model on a data set: :func:`~zoo_core.training.prepare` and :func:`fit` in one.

    Args:
        model, data, recipe, weights, checkpoint, from_scratch, settings, labels, in_channels, arguments: see
            :func:`~zoo_core.training.prepare`.
        output: folder for the files of the run.
        **options: see :func:`fit`.
    """
    job = prepare(
        *(model, data),
        recipe=recipe,
        weights=weights,
        checkpoint=checkpoint,
        from_scratch=from_scratch,
        settings=settings,
        labels=labels,
        in_channels=in_channels,
        arguments=arguments,
    )
    return fit(job, output, **options)


def fit(
    job: Job,
    output: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: str = "auto",
    workers: int | None = None,
    compile: bool = False,
    deterministic: bool = False,
    save_every: int | None = None,
    safetensors: bool = False,
    observer: Observer | None = None,
) -> Outcome:
    """Trains as a job says. Under torchrun each process trains on its part of each step's samples.

    Args:
        job: what to train.
        output: folder for ``best.pth``, ``last.pth``, ``recipe.toml``, ``metrics.jsonl``, ``metrics.csv``,
            ``curves.png`` and ``curves.html``. Processes on several machines have to share it.
        resume: go on with the run in that folder, if there is one.
        device: ``"cpu"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU if there is one.
        workers: how many processes read and augment; by default as many as this one has processors, up to 8.
        compile: compile the model with :func:`torch.compile`.
        deterministic: use algorithms that give the same result each time, on GPUs too.
        save_every: save after so many steps too; in any case after each epoch, and every ten minutes.
        safetensors: write ``best.safetensors`` in the place of ``best.pth``. It says what it is as well.
        observer: is told how it goes.

    Raises:
        TypeError: the model has parameters that safetensors has no place for (int8 ones), and these are asked for.
        NonFiniteLossError: the loss was NaN or infinite.
        zoo_core.data.DataError: a sample cannot be used.
        zoo_core.training.saving.SaveError: a file could not be written; the last good one is as it was.
        zoo_core.processes.LostProcessError: another process has ended.
        ValueError: the folder has another run in it, or the device is not there.
    """
    folder, recipe, training = Path(output), job.recipe, job.training
    best_file = BEST_SAFETENSORS if safetensors else BEST
    # Where torchrun starts all processes again after one has died, they go on.
    resume = resume or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    with (
        torch.random.fork_rng(),
        _deterministic(deterministic),
        joined() as world,
        _lost_processes(world),
        Saver() as saver,
        Interruption() as interruption,
        contextlib.ExitStack() as stack,
    ):
        where = choose_device(device, training.devices, local_rank=world.gpu_rank)
        order = Order(len(job.samples), recipe, world.size)
        state = agreed(lambda: _begin(job, order, where, folder, resume, world), world)
        if safetensors:
            _check_dense(state)
        records = Records(folder, state.history, f"{job.spec.name}, {recipe.name}") if world.is_first else None
        observer = observer if world.is_first and observer is not None else Observer()
        findings = agreed(lambda: precheck(job) if world.is_first and not state.step else Findings(), world)
        observer.begin(state.step, order.steps)
        for note in findings.notes:
            observer.note(note)
        observer.bad(findings.bad)

        model, optimizer = state.model, state.optimizer
        wrapped: Any = DistributedDataParallel(model) if distributed.is_initialized() else model
        if compile:
            wrapped.compile()
        workers = _own_workers() if workers is None else workers
        loader = batches(training, job.samples, order, state.step, world, workers)
        stack.enter_context(contextlib.closing(loader))
        began_epoch = saved = time.monotonic()
        began_step = state.step
        asked = 0.0
        epoch = -1
        is_done = state.step == order.steps or _has_waited(recipe, state)
        while not is_done and not asked:
            if epoch != (epoch := state.step // order.steps_per_epoch):
                training.begin_epoch(model, epoch)

            # A step: the gradients of one or several batches.
            loss = 0.0
            for part in range(recipe.grad_accum_steps):
                batch = _usable(next(loader))
                torch.manual_seed(randomness.seed(recipe.seed, "step", state.step, part, world.rank))  # for dropout
                is_last = part == recipe.grad_accum_steps - 1
                with contextlib.nullcontext() if is_last or wrapped is model else wrapped.no_sync():
                    with torch.autocast(where.type, getattr(torch, recipe.amp_dtype), enabled=recipe.amp):
                        value = training.loss(wrapped, _to(batch.content, where)) / recipe.grad_accum_steps
                    loss += _finite(value, state.step, batch)
                    state.scaler.scale(value).backward()
            if recipe.clip_grad_norm:
                state.scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad_norm)
            state.scaler.step(optimizer)
            state.scaler.update()
            optimizer.zero_grad()
            state.schedule.step()
            state.step += 1
            if state.averaged is not None and state.step % recipe.model_ema_steps == 0:
                state.averaged.update_parameters(model)

            # What the processes tell each other.
            loss, asked = _sum(world, loss / world.size, float(interruption.asked))
            state.loss += loss
            is_done = state.step == order.steps
            observer.step(state.step, loss)

            # The end of an epoch: how good is the model?
            is_end = state.step % order.steps_per_epoch == 0
            if is_end:
                rate = (state.step - began_step) * order.samples_per_step / max(time.monotonic() - began_epoch, 1e-9)
                figures, val_loss, bad = _evaluate(job, state, where, world, workers)
                if records is not None:
                    observer.bad(bad)
                    record = _record(state, order, figures, val_loss, rate)
                    state.history.append(record)
                    records.add(record)
                    if _is_better(job, state, figures):
                        state.best, state.best_epoch = _main_figure(job, figures), len(state.history)
                        saver.save(folder / best_file, state.result({_data_name(job): figures}))
                    observer.epoch(record)
                state.loss, began_epoch, began_step = 0.0, time.monotonic(), state.step
                (waited,) = _sum(world, float(world.is_first and _has_waited(recipe, state)))
                is_done = is_done or waited > 0

            # Saving, in the background of the next step.
            if world.is_first:
                saver.check()
                is_due = save_every is not None and state.step % save_every == 0
                if is_end or is_due or asked or time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                    saver.save(folder / LAST, state.content())
                    saved = time.monotonic()
        del wrapped  # holds the group of processes, which is left below
        saver.wait()
        if records is not None:
            records.close()
        best = state.history[state.best_epoch - 1] if state.best_epoch else {}
        return Outcome(
            {name: value for name, value in best.items() if name not in _OF_THE_LOOP},
            state.best_epoch,
            state.step,
            order.steps,
            interrupted=asked > 0 and not is_done,
        )


# Parts of it ---------------------------------------------------------------------------------------------------------


def check_folder(folder: Path, *, resume: bool) -> None:
    """Checks that a run may go into a folder.

    Raises:
        ValueError: there is another run in it.
    """
    if (folder / LAST).exists() and not resume:
        raise ValueError(
            f"{folder} has a run in it already: --resume goes on with it, another --output begins a new one"
        )


def _own_workers() -> int:
    """How many processes prepare samples for this one: as many as there are processors for each, up to 8."""
    return min(max(available_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1), 8)


def _begin(job: Job, order: Order, device: torch.device, folder: Path, resume: bool, world: World) -> State:
    """The model and all that it is trained with, before the first step or after the last that was saved."""
    recipe = job.recipe
    if world.is_first:
        check_folder(folder, resume=resume)
        folder.mkdir(parents=True, exist_ok=True)
    model = job.build().to(device)
    if recipe.sync_bn and distributed.is_initialized():
        model = synchronized(model, device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _train_mode(model, recipe.freeze_batch_norm)  # evaluation takes a copy, so it stays in it
    groups = job.training.parameter_groups(model)
    if recipe.body_lr_factor != 1:
        groups = apart(groups, job.body(model), recipe.body_lr_factor)
    optimizer = make_optimizer(recipe, groups, learning_rate(recipe, order.samples_per_step))
    state = State(
        _spec_of(job, model),
        model,
        optimizer,
        make_schedule(recipe, optimizer, order.steps_per_epoch),
        average(model, recipe) if recipe.model_ema else None,
        torch.amp.GradScaler(device.type, enabled=recipe.amp and recipe.amp_dtype == "float16"),
        job.training.finished,
        _identity(job, order),
    )
    if resume and (folder / LAST).exists():
        state.load(folder / LAST)
    if world.is_first:
        write_file(folder / "recipe.toml", lambda file: file.write(recipe.as_toml().encode()))
    return state


def _check_dense(state: State) -> None:
    for name, value in state.used().state_dict().items():
        if not isinstance(value, Tensor) or value.is_quantized:
            raise TypeError(f"safetensors has no place for int8 parameters such as {name}; let best.pth be written")


def _spec_of(job: Job, model: nn.Module) -> ModelSpec:
    arguments = dict(job.spec.arguments) | dict(job.training.arguments(model))
    return dataclasses.replace(job.spec, arguments=arguments)


def _identity(job: Job, order: Order) -> dict[str, Any]:
    recipe = job.recipe.as_dict()
    # Processes and batches may be others, as long as a step takes the same samples.
    for key in ("batch_size", "grad_accum_steps", "name"):
        del recipe[key]
    return {
        "model": " on ".join([job.spec.name, *filter(None, [job.spec.arguments.get("backbone")])]),
        "labels": list(job.spec.labels),
        "samples": len(job.samples),
        "samples of a step": order.samples_per_step,
        "recipe": {key: list(value) if isinstance(value, tuple) else value for key, value in recipe.items()},
    }


def _train_mode(module: nn.Module, freeze_batch_norm: bool = False) -> None:
    """Training mode, but for what is frozen as a whole: its batch norms keep the statistics that go with it."""
    module.training = not (freeze_batch_norm and isinstance(module, nn.modules.batchnorm._BatchNorm))
    for child in module.children():
        if is_frozen(child):
            child.eval()
        else:
            _train_mode(child, freeze_batch_norm)


def _to(content: Any, device: torch.device) -> Any:
    if isinstance(content, Tensor):
        return content.to(device, non_blocking=True)
    if isinstance(content, Mapping):
        return {key: _to(value, device) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_to(value, device) for value in content)
    return content


def _sum(world: World, *values: float) -> Sequence[float]:
    """The sums of values over all processes."""
    if world.size == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(total)
    return total.tolist()


def _usable(batch: Batch | Unusable) -> Batch:
    if isinstance(batch, Unusable):
        raise DataError(batch.fault)
    return batch


def _finite(loss: Tensor, step: int, batch: Batch) -> float:
    """The value of a loss.

    Raises:
        NonFiniteLossError: it is none.
    """
    value = float(loss.detach())
    if math.isfinite(value):
        return value
    raise NonFiniteLossError(
        f"the loss of step {step + 1} is {value}, so training was stopped; the files of the batch: "
        f"{', '.join(batch.names)}. Are they damaged? If not, try a lower lr, a longer warm-up, or clip_grad_norm"
    )


def _evaluate(
    job: Job, state: State, device: torch.device, world: World, workers: int
) -> tuple[dict[str, float], float | None, list[str]]:
    """The figures of the held-out samples, their mean loss, and what could not be scored, for the first process."""
    if world.size > 1:
        for buffer in state.kept.buffers():  # each process has seen other samples
            distributed.broadcast(buffer, 0)
    supported = job.task.declaration.devices
    if supported is not None and device.type not in supported:
        device = choose_device("auto", supported)
    model = copy.deepcopy(state.used())
    engine = EagerEngine(model, device, job.task.eager_arguments(model))
    places = share(len(job.held_out), world.rank, world.size)
    # Where one image runs at a time, it is because a batch would change results.
    size = None if job.task.declaration.batch_size == 1 else job.recipe.batch_size
    losses: dict[int, float | None] = {}  # by place: a batch that fails runs again, in parts

    def outputs(samples: Sequence[Sample], truths: Mapping[int, Any]) -> list[Any]:
        found, of_samples = job.training.validated(engine, samples, list(truths.values()))
        losses.update(zip(truths, of_samples, strict=True))
        return found

    own = score_share(job.task, engine, job.held_out, places, size, workers, call=outputs)
    found = gathered((own, [loss for loss in losses.values() if loss is not None]), world)
    if found is None:
        return {}, None, []
    score, bad = merged(job.task, [of_process for of_process, _ in found])
    every = [loss for _, of_process in found for loss in of_process]
    return score.compute(), math.fsum(every) / len(every) if every else None, bad


def _record(
    state: State, order: Order, figures: Mapping[str, float], val_loss: float | None, rate: float
) -> dict[str, float]:
    """What is written down of an epoch, which was trained on so many samples a second."""
    return {
        "epoch": len(state.history) + 1,
        "step": state.step,
        "loss": state.loss / order.steps_per_epoch,
        **({} if val_loss is None else {"val_loss": val_loss}),
        "lr": state.optimizer.param_groups[0]["lr"],
        **figures,
        "samples_per_second": rate,
    }


def _main_figure(job: Job, figures: Mapping[str, float]) -> float:
    """The figure that decides which epoch is the best; the more the better."""
    metric = job.task.declaration.metric
    if metric is None or metric.name not in figures:
        return next(iter(figures.values()))
    return figures[metric.name] if metric.higher_is_better else -figures[metric.name]


def _is_better(job: Job, state: State, figures: Mapping[str, float]) -> bool:
    return state.best is None or _main_figure(job, figures) > state.best


def _has_waited(recipe: Recipe, state: State) -> bool:
    """Whether the figure has not become better for so many epochs that the recipe wants to stop."""
    return 0 < recipe.early_stopping <= len(state.history) - state.best_epoch


def _data_name(job: Job) -> str:
    return job.held_out.published_as or "held-out samples"


@contextlib.contextmanager
def _lost_processes(world: World) -> Iterator[None]:
    """Tells the end of another process from an error of this one."""
    try:
        yield
    except RuntimeError as error:
        if world.size > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise LostProcessError("another process of this run has ended before its time") from error
        raise


@contextlib.contextmanager
def _deterministic(asked: bool) -> Iterator[None]:
    if not asked:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
