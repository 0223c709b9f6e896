"""Samples in the order in which they are trained on, each augmented by a generator of its own."""

import signal
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from zoo_core.data import DataError, Dataset, Fault, LabelledSample
from zoo_core.images.bands import BandImage
from zoo_core.predicting import Source
from zoo_core.predicting.sources import inputs
from zoo_core.processes import World
from zoo_core.training import randomness
from zoo_core.training.contract import Batch, Training
from zoo_core.training.recipes import Recipe

__all__ = ["Order", "Place", "Subset", "Unusable", "augmented", "batches", "held_out", "spread"]


class Place(NamedTuple):
    """Which sample, and when.

    Args:
        epoch: from 0 on.
        position: in the order of that epoch, over all processes.
        sample: its number in the data set.
    """

    epoch: int
    position: int
    sample: int


class Order:
    """The order of a data set's samples over a whole run: the same for any number of processes.

    A step takes as many samples as all processes and accumulated batches have together, and an epoch as many full steps
    as there are samples for; what is left over is left out of that epoch, of which each has another order. Where there
    are fewer samples than one step takes, it takes some twice, each time augmented anew.

    Args:
        count: samples of the data set.
        recipe: says how many make a batch, and how often each is in an epoch.
        processes: that train together.
    """

    def __init__(self, count: int, recipe: Recipe, processes: int = 1) -> None:
        self.count = count
        self.seed = recipe.seed
        self.repeats = recipe.ra_reps
        self.parts = processes * recipe.grad_accum_steps
        self.samples_per_step = recipe.batch_size * self.parts
        self.steps_per_epoch = max(count // self.samples_per_step, 1)
        self.steps = self.steps_per_epoch * recipe.epochs

    def epoch(self, number: int) -> list[int]:
        """The indices of an epoch, in order."""
        generator = torch.Generator().manual_seed(randomness.seed(self.seed, "order", number))
        shuffled = torch.randperm(self.count, generator=generator)
        return shuffled.repeat_interleave(self.repeats)[: self.count].tolist()

    def batches(self, first_step: int, world: World) -> Iterator[list[Place]]:
        """The batches of one process, from a step on; of accumulated batches, one after the other."""
        indices: list[int] = []
        of_epoch = -1
        for step in range(first_step, self.steps):
            epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
            if epoch != of_epoch:
                indices, of_epoch = self.epoch(epoch), epoch
            begin = step_of_epoch * self.samples_per_step
            places = [
                Place(epoch, position, indices[position % self.count])
                for position in range(begin, begin + self.samples_per_step)
            ]
            for part in range(world.rank, self.parts, world.size):
                yield places[part :: self.parts]


class _Batches(Sampler[list[Place]]):
    def __init__(self, order: Order, first_step: int, world: World) -> None:
        self.order, self.first_step, self.world = order, first_step, world

    def __iter__(self) -> Iterator[list[Place]]:
        return self.order.batches(self.first_step, self.world)


class Unusable(NamedTuple):
    """A sample that could not be read or augmented."""

    fault: Fault


class _Samples(TorchDataset[Any]):
    def __init__(self, training: Training, samples: Dataset) -> None:
        self.training, self.samples = training, samples

    def __getitem__(self, place: Place) -> Any:
        return augmented(self.training, self.samples, place)


def augmented(training: Training, samples: Dataset, place: Place) -> "tuple[Place, str, Any] | Unusable":
    """The place, the sample's name, and the sample as it is trained on there; or what is wrong with it."""
    path = Path(name := samples.name(place.sample))
    try:
        sample = samples.sample(place.sample)
        path = sample.files[0]
        with_input = inputs(training.task, Source(sample.files, False, ""))
        rng = randomness.generator(training.recipe.seed, "sample", place.epoch, place.position)
        input = next(with_input)
        task = training.task
        images = [task.with_channels(image) for image in (input if isinstance(input, tuple) else (input,))]
        if task.channels not in (1, 3):  # augmented as tensors
            images = [BandImage.of(image) if isinstance(image, Image.Image) else image for image in images]
        input = tuple(images) if isinstance(input, tuple) else images[0]
        return place, name, training.sample(input, sample.truth, rng)
    except (ValueError, OSError) as error:
        # As a value: torch would wrap what a worker raises into the text of its traceback.
        faults = error.faults if isinstance(error, DataError) else [Fault(path, _without(path, error))]
        return Unusable(faults[0])


def spread(count: int, most: int) -> list[int]:
    """At most so many places of a data set, from all over it: those of one class lie beside each other as a rule."""
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(count, generator=generator)[:most].tolist()


def _without(path: Path, error: Exception) -> str:
    """What an error says, without the name of the file in front."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.removeprefix(f"{path}: ")


class _Collate:
    def __init__(self, training: Training) -> None:
        self.training = training

    def __call__(self, items: Sequence[Any]) -> Batch | Unusable:
        for item in items:
            if isinstance(item, Unusable):
                return item
        places, names, samples = zip(*items, strict=True)
        rng = randomness.generator(self.training.recipe.seed, "batch", places[0].epoch, places[0].position)
        return Batch(self.training.collate(samples, rng), names)


def batches(
    training: Training, samples: Dataset, order: Order, first_step: int, world: World, workers: int
) -> Generator[Batch | Unusable, None, None]:
    """The batches of one process, from a step on to the end of the run.

    Workers are processes, and go on over the ends of epochs: the first batch of the next is read while the last is
    evaluated. They end when the generator is closed.
    """
    yield from DataLoader(
        _Samples(training, samples),
        batch_sampler=_Batches(order, first_step, world),
        collate_fn=_Collate(training),
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_loop,
        prefetch_factor=2 if workers else None,
        generator=torch.Generator(),  # torch would draw from the global one when it begins
    )


def _leave_interrupts_to_the_loop(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; workers are needed until the step is done and saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Subset(Dataset):
    """Some samples of a data set.

    Args:
        whole: the data set.
        places: of the samples in it.
    """

    def __init__(self, whole: Dataset, places: Sequence[int]) -> None:
        self.whole, self.places = whole, places
        self.labels = whole.labels

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        return self.whole.name(self.places[index])

    def sample(self, index: int) -> LabelledSample:
        """The sample at a place of this part."""
        return self.whole.sample(self.places[index])


def held_out(samples: Dataset, share: int = 5) -> tuple[Subset, Subset]:
    """Divides a data set without a held-out part: all but one in ``share`` samples, and that one.

    Samples lie sorted by class as a rule, so that each class gives its part. Which are held out follows from their
    number in the data set alone.
    """
    kept = [place for place in range(len(samples)) if place % share != share - 1]
    out = [place for place in range(len(samples)) if place % share == share - 1]
    return Subset(samples, kept), Subset(samples, out or kept)
