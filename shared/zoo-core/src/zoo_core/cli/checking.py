"""What ``--check-data`` says: everything that is wrong with data sets, and nothing else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo_core.cli import output

if TYPE_CHECKING:
    from zoo_core.data import Dataset
    from zoo_core.tasks import Task


def check_data(
    task: "Task[Any, Any]", data_sets: Sequence["Dataset"], workers: int | None, known: Sequence[object] = ()
) -> int:
    """Reads all samples, and says what is wrong with them.

    Args:
        task: what inputs and truths mean.
        data_sets: whose samples are read.
        workers: how many threads read.
        known: what is known to be wrong already.

    Returns:
        The exit code: 1 if there is a fault.
    """
    from zoo_core import evaluating

    faults = len(known)
    for fault in known:
        output.error(str(fault))
    count = sum(map(len, data_sets))
    with output.progress("checking", count) as advance:
        for samples in data_sets:
            for found in evaluating.check(task, samples, workers):
                advance(1)
                for problem in found:
                    faults += 1
                    output.error(problem)
    output.note(f"{output.counted(count, 'sample')}, {output.counted(faults, 'fault')}")
    return 1 if faults else 0
