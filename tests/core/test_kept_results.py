"""Results of an evaluation in a file: what is in it, going on after an interruption, and what is refused."""

import json

import pytest
from PIL import Image

from zoo_core import evaluating
from zoo_core.data import ClassFolders
from zoo_core.evaluating import evaluate, score_share
from zoo_core.kept_results import KeptResults
from zoo_core.predicting import load
from zoo_core.predicting.merging import parts_of
from zoo_core.predicting.results import ResultFileError
from zoo_core.processes import World
from zoo_core.specs import find
from zoo_core.tasks import Score, task_class

COUNT = 101
EXPECTED = 100 * (COUNT - 15) / COUNT


@pytest.fixture
def data(toys, tmp_path):
    """101 images, 15 of them in the wrong folder."""
    for number in range(COUNT):
        bright = number % 3 == 0
        label = "bright" if bright != (number % 7 == 0) else "dark"
        path = tmp_path / "data" / "val" / label / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 10), (255 * bright,) * 3).save(path)
    return tmp_path / "data"


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


class StoppedError(Exception):
    pass


def interrupted(data, file, after, **options):
    """An evaluation that stops after so many samples."""

    def stop(done, count, score):
        if done == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        evaluate("brightnet", data, results=file, on_progress=stop, **options)


def by_process(data, file, size, *, resume=False, killed=(), after=5):
    """The processes of a run, one after the other; those that are killed stop after some samples.

    The figure, or None if a process was killed.
    """
    task = task_class("toys")(find("brightnet"), scoring=True)
    samples, engine = task.samples(data), load(task)
    worlds = [World(rank, size, rank) for rank in range(size)]
    found = [KeptResults.find(file, task, samples, len(samples), 4, world, resume=resume) for world in worlds]
    scores = []
    for world, kept in zip(worlds, found, strict=True):
        with kept.opened():
            count = 0

            def stop(*_, rank=world.rank):
                nonlocal count
                count += 1
                if rank in killed and count == after:
                    raise StoppedError

            try:
                before = kept.restored()
                options = {"on_progress": stop, "kept": kept, "onto": before}
                scores.append(score_share(task, engine, samples, kept.places, 4, 0, **options)[0])
                kept.finish()
            except StoppedError:
                pass
    if len(scores) < size:
        return None
    found[0].put_together()
    whole = task.score()
    for score in scores:
        whole.merge(score)
    assert len(whole) == COUNT
    return whole.compute()


def test_a_line_for_each_sample_in_the_order_of_the_data(data, tmp_path):
    file = tmp_path / "new" / "results.jsonl"
    (data / "val" / "bright" / "broken.png").write_bytes(b"no image")
    found = evaluate("brightnet", data, results=file)
    assert found.metrics == {"acc@1": EXPECTED}
    kept = lines(file)
    samples = ClassFolders(data, None, {".png"})
    assert [line["sample"] for line in kept] == [samples.name(place) for place in range(len(samples))]
    broken = next(line for line in kept if line["sample"] == "bright/broken.png")
    assert broken.keys() == {"sample", "file", "error"}
    good = kept[0]
    assert good["file"] == str(samples[0].files[0])
    assert good["score"] == {"right": True}
    assert 0 <= good["brightness"] <= 1  # what `zoo predict` writes of it


@pytest.mark.parametrize("after", [1, 8, 50, 100])
def test_an_evaluation_that_was_interrupted_goes_on(data, tmp_path, after, monkeypatch):
    (data / "val" / "bright" / "broken.png").write_bytes(b"no image")
    whole = evaluate("brightnet", data, results=tmp_path / "whole.jsonl")
    file = tmp_path / "results.jsonl"
    interrupted(data, file, after)
    there = len(lines(file))
    assert after <= there < COUNT + 1
    seen = []
    found = evaluate("brightnet", data, results=file, resume=True, on_progress=lambda *now: seen.append(now[:2]))
    assert found == whole
    assert seen[-1] == (COUNT + 1 - there, COUNT + 1 - there)
    assert file.read_text() == (tmp_path / "whole.jsonl").read_text()
    monkeypatch.setattr(evaluating, "load", None)  # all is done: no model is needed
    assert evaluate("brightnet", data, results=file, resume=True) == whole


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 2), (2, 5), (5, 2)])
def test_another_number_of_processes_goes_on(data, tmp_path, before, after):
    evaluate("brightnet", data, results=tmp_path / "whole.jsonl")
    file = tmp_path / "results.jsonl"
    assert by_process(data, file, before, killed={0, before - 1}) is None
    assert by_process(data, file, after, resume=True, killed={after // 2}, after=7) is None
    assert by_process(data, file, before, resume=True) == {"acc@1": EXPECTED}
    assert parts_of(file) == []
    assert file.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert sorted(path.name for path in tmp_path.glob("*results*")) == ["results.jsonl", "results.jsonl.journal"]
    assert evaluate("brightnet", data, results=file, resume=True).metrics == {"acc@1": EXPECTED}


def test_a_process_that_is_killed_while_it_puts_parts_together(data, tmp_path, monkeypatch):
    file = tmp_path / "results.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(StoppedError))
        with pytest.raises(StoppedError):
            by_process(data, file, 3)
    assert file.exists()
    assert len(parts_of(file)) == 3  # all of it is there twice
    for size in (3, 1):
        assert by_process(data, file, size, resume=True) == {"acc@1": EXPECTED}
        assert parts_of(file) == []


def test_a_torn_line_is_done_again(data, tmp_path):
    file = tmp_path / "results.jsonl"
    interrupted(data, file, 30)
    content = file.read_bytes()
    file.write_bytes(content[:-7])
    assert evaluate("brightnet", data, results=file, resume=True).metrics == {"acc@1": EXPECTED}
    assert len(lines(file)) == COUNT


def test_a_limit_may_grow(data, tmp_path):
    file = tmp_path / "results.jsonl"
    assert evaluate("brightnet", data, results=file, limit=10).samples == 10
    assert evaluate("brightnet", data, results=file, limit=20, resume=True).samples == 20
    assert evaluate("brightnet", data, results=file, limit=15, resume=True).samples == 15
    assert evaluate("brightnet", data, results=file, resume=True).metrics == {"acc@1": EXPECTED}


def test_what_belongs_to_another_run_is_refused(data, tmp_path):
    file = tmp_path / "results.jsonl"
    evaluate("brightnet", data, results=file)
    with pytest.raises(ResultFileError, match="is there already: --resume goes on with it"):
        evaluate("brightnet", data, results=file)
    with pytest.raises(ResultFileError, match=r"written with options\.level = 0\.5, and this run has 0\.25"):
        evaluate("brightnet", data, results=file, resume=True, options={"level": 0.25})
    with pytest.raises(ResultFileError, match=r"written with weights = HAND_V1, and this run has FILE_V1"):
        evaluate("brightnet", data, weights="FILE_V1", results=file, resume=True)
    with pytest.raises(ValueError, match="name it"):
        evaluate("brightnet", data, resume=True)
    (data / "val" / "bright" / "003.png").rename(data / "val" / "bright" / "999.png")
    with pytest.raises(ResultFileError, match=r"003\.png"):
        evaluate("brightnet", data, results=file, resume=True)
    (data / "val" / "bright" / "999.png").unlink()
    with pytest.raises(ResultFileError, match=r"results of 101 samples, and the data set has only 100"):
        evaluate("brightnet", data, results=file, resume=True)


def test_another_precision_or_engine_is_another_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "load", lambda task, place, **_: load(task, place))  # toys run in torch only
    file = tmp_path / "results.jsonl"
    interrupted(data, file, 30)
    with pytest.raises(ResultFileError, match="written with precision = the default, and this run has bf16"):
        evaluate("brightnet", data, results=file, resume=True, precision="bf16")
    with pytest.raises(ResultFileError, match="written with engine = the default, and this run has openvino"):
        evaluate("brightnet", data, results=file, resume=True, engine="openvino")
    assert evaluate("brightnet", data, results=file, resume=True, engine="torch").metrics == {"acc@1": EXPECTED}
    lower = tmp_path / "lower.jsonl"
    interrupted(data, lower, 30, precision="bf16")
    with pytest.raises(ResultFileError, match="written with precision = bf16, and this run has the default"):
        evaluate("brightnet", data, results=lower, resume=True)
    assert evaluate("brightnet", data, results=lower, resume=True, precision="bf16").samples == COUNT


def test_parts_of_another_precision_are_not_gone_on_with(data, tmp_path):
    file = tmp_path / "results.jsonl"
    assert by_process(data, file, 3, killed={0, 2}) is None
    with pytest.raises(ResultFileError, match=r"part-0000\d-of-00003.*precision = the default"):
        evaluate("brightnet", data, results=file, resume=True, precision="bf16")


def test_a_result_of_zoo_predict_has_no_score(data, tmp_path):
    file = tmp_path / "results.jsonl"
    interrupted(data, file, 30)
    journal = file.with_name("results.jsonl.journal")
    journal.write_bytes(journal.read_bytes().replace(b'"verb": "evaluate"', b'"verb": "predict!"'))
    with pytest.raises(ResultFileError, match="written with verb = predict!"):
        evaluate("brightnet", data, results=file, resume=True)
    journal.unlink()
    with pytest.raises(ResultFileError, match="cannot be gone on with"):
        evaluate("brightnet", data, results=file, resume=True)


def test_a_score_that_does_not_say_what_a_sample_adds_is_kept_in_no_file(data, tmp_path, monkeypatch):
    task = task_class("toys")
    plain = type("PlainScore", (Score,), {name: lambda *_: {} for name in ("_update", "_merge", "compute")})
    monkeypatch.setattr(task, "score", lambda self: plain())
    assert evaluate("brightnet", data).samples == COUNT
    with pytest.raises(ResultFileError, match="results of the task toys cannot be kept"):
        evaluate("brightnet", data, results=tmp_path / "results.jsonl")
