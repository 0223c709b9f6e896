"""What can be told of the data in some seconds, before the first step; ``--check-data`` reads all of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from zoo_core import evaluating
from zoo_core.catalog.labels import BACKGROUND
from zoo_core.data import DataError, Dataset, Fault
from zoo_core.data.coco import NO_CATEGORY
from zoo_core.text import listed
from zoo_core.training.contract import Training
from zoo_core.training.job import Job
from zoo_core.training.samples import Place, Subset, Unusable, augmented, spread

__all__ = ["Findings", "empty_classes", "precheck"]

_SECONDS = 5.0
_WHOLE_SAMPLES = 16


@dataclass(frozen=True)
class Findings:
    """What is wrong with data.

    Args:
        notes: what training can do with, but the user should know.
        bad: what is wrong with held-out samples, which are not scored.
    """

    notes: Sequence[str] = ()
    bad: Sequence[str] = ()


def precheck(job: Job) -> Findings:
    """Reads the truths of the samples to train on, as many as some seconds suffice for, and some samples whole.

    Raises:
        DataError: samples to train on cannot be used.
    """
    faults = []
    for position, index in enumerate(spread(len(job.samples), _WHOLE_SAMPLES)):
        if isinstance(found := augmented(job.training, job.samples, Place(0, position, index)), Unusable):
            faults.append(found.fault)
    classes, is_whole, more = _read_truths(job.training, job.samples)
    known = {(fault.path, fault.message) for fault in faults}
    faults += [fault for fault in more if (fault.path, fault.message) not in known]
    if faults:
        raise DataError(faults)
    held_out = Subset(job.held_out, spread(len(job.held_out), _WHOLE_SAMPLES))
    bad = [problem for problems in evaluating.check(job.task, held_out, workers=0) for problem in problems]
    return Findings([_said(empty)] if is_whole and (empty := _empty(job, classes)) else [], bad)


def empty_classes(job: Job) -> list[str]:
    """A line that names the classes which no sample to train on has, if there are such; reads all truths."""
    classes, _, _ = _read_truths(job.training, job.samples, seconds=float("inf"))
    empty = _empty(job, classes)
    return [_said(empty)] if empty else []


def _read_truths(training: Training, samples: Dataset, seconds: float = _SECONDS) -> tuple[set[int], bool, list[Fault]]:
    """The classes in truths, whether these were all, and what is wrong with truths."""
    classes: set[int] = set()
    faults: list[Fault] = []
    deadline = time.monotonic() + seconds
    for place in spread(len(samples), len(samples)):
        try:
            classes.update(training.classes(samples.sample(place).truth))
        except DataError as error:
            faults += error.faults
        if time.monotonic() > deadline:
            return classes, False, faults
    return classes, True, faults


def _empty(job: Job, classes: set[int]) -> list[str]:
    if not classes:  # of a task without any, or of nothing but empty images
        return []
    names = enumerate(job.task.labels)
    return [label for index, label in names if index not in classes and label not in (BACKGROUND, NO_CATEGORY)]


def _said(empty: Sequence[str]) -> str:
    return f"no sample to train on has {'this class' if len(empty) == 1 else 'these classes'}: {listed(empty)}"
