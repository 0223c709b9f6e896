"""Evaluation from Python: figures by hand, shares of processes, samples at fault, the published figure."""

from pathlib import Path

import pytest
from PIL import Image

from zoo_core.data import DataError, Dataset, LabelledSample, share
from zoo_core.evaluating import check, evaluate, score_share
from zoo_core.predicting import load
from zoo_core.specs import find
from zoo_core.tasks import task_class

COUNT = 101


@pytest.fixture
def data(tmp_path):
    """101 images, of which those whose number is divisible by 7 lie in the wrong folder: 15 of them."""
    for number in range(COUNT):
        bright = number % 3 == 0
        label = "bright" if bright != (number % 7 == 0) else "dark"
        path = tmp_path / "data" / "val" / label / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10 + number % 2, 10), (255 * bright,) * 3).save(path)
    return tmp_path / "data"


EXPECTED = 100 * (COUNT - 15) / COUNT


@pytest.mark.parametrize("options", [{}, {"batch_size": 1, "workers": 0}, {"batch_size": 50, "workers": 3}])
def test_the_figure_by_hand(toys, data, options):
    found = evaluate("brightnet", data, **options)
    assert found.metrics == {"acc@1": EXPECTED}
    assert (found.samples, found.bad, found.data_set, found.published) == (COUNT, (), None, {})


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shares_add_up_to_the_same_figure(toys, data, world_size):
    task = task_class("toys")(find("brightnet"), scoring=True)
    samples, engine = task.samples(data), load(task)
    whole = task.score()
    for rank in range(world_size):
        part, bad = score_share(task, engine, samples, share(COUNT, rank, world_size), batch_size=4)
        assert not bad
        whole.merge(part)
    assert len(whole) == COUNT
    assert whole.compute() == {"acc@1": EXPECTED}


def test_a_limit_takes_the_first_samples(toys, data):
    assert evaluate("brightnet", data, limit=10).samples == 10
    with pytest.raises(ValueError, match="limit must be at least 1"):
        evaluate("brightnet", data, limit=0)


def test_samples_at_fault_are_counted_and_lose_nothing_else(toys, data):
    (data / "val" / "bright" / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (13, 10)).save(data / "val" / "dark" / "unlucky.png")
    seen = []
    found = evaluate("brightnet", data, on_progress=lambda *progress: seen.append(progress[:2]))
    assert found.metrics == {"acc@1": EXPECTED}
    assert found.samples == COUNT
    assert ["broken.png" in found.bad[0], "unlucky.png" in found.bad[1]] == [True, True]
    assert seen[-1] == (COUNT + 2, COUNT + 2)


def test_where_nothing_can_be_scored_there_is_no_figure(toys, tmp_path):
    path = tmp_path / "data" / "dark" / "a.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"no sample could be scored; the first of 1 faults: .*a\.png"):
        evaluate("brightnet", tmp_path / "data")


class Toys(Dataset):
    """The toy catalogue's data set; the sample of a number that is ``at_fault`` has no truth."""

    published_as = "Toys"

    def __init__(self, folder: Path, at_fault: int | None = None) -> None:
        self.files = sorted(folder.glob("val/*/*.png"))
        self.at_fault = at_fault

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> LabelledSample:
        if index == self.at_fault:
            raise DataError([])
        file = self.files[index]
        return LabelledSample(file.name, (file,), file.parent.name == "bright")


def test_the_published_figure_stands_beside_that_of_the_whole_data_set_only(toys, data):
    published = {"acc@1": 87.5, "acc@5": 100.0}
    assert evaluate("brightnet", Toys(data)).published == published
    assert evaluate("brightnet", Toys(data), limit=COUNT).published == published
    assert evaluate("brightnet", Toys(data), limit=COUNT - 1).published == {}
    incomplete = evaluate("brightnet", Toys(data, at_fault=3))
    assert (incomplete.published, incomplete.samples, len(incomplete.bad)) == ({}, COUNT - 1, 1)


def test_checking_reads_everything_and_lists_all_faults(toys, data):
    task = task_class("toys")(find("brightnet"), scoring=True)
    assert not any(check(task, task.samples(data)))
    (data / "val" / "bright" / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (13, 10)).save(data / "val" / "dark" / "unlucky.png")
    faults = [fault for found in check(task, task.samples(data), workers=2) for fault in found]
    assert len(faults) == 2
    assert "broken.png" in faults[0]


def test_a_world_that_contradicts_itself_is_refused(toys, data, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"RANK is 2, but must lie in 0\.\.1"):
        evaluate("brightnet", data)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="must be integers"):
        evaluate("brightnet", data)
