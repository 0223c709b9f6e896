"""The prediction loop from Python: what comes out, which errors inputs can cause, and which come through."""

import pickle
import traceback

import pytest
import torch
from PIL import Image

from support.painted import encode
from zoo_core import predicting
from zoo_core.predicting import Failure, Prediction, find_sources, predict
from zoo_core.predicting.loop import run
from zoo_core.specs import find
from zoo_core.tasks import NonFiniteError, Task, check_finite, task_class


@pytest.fixture
def images(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for number in range(12):
        Image.new("RGB", (20 + number, 10), (255 * (number % 2),) * 3).save(f"{number:02d}.png")
    return folder


class Engine:
    """Runs the function that it is given on batches of so many images."""

    def __init__(self, forward=None):
        self.forward = forward
        self.batches = []
        self.model = torch.nn.Identity()
        self.model.eval()

    def __call__(self, batch):
        self.batches.append(len(batch))
        if self.forward is not None:
            self.forward(batch)
        brightness = batch.mean((1, 2, 3))
        return torch.stack((1 - brightness, brightness), 1)


def bright(batch):
    """Which images of a batch are bright."""
    return batch.mean((1, 2, 3)) > 0.5


def toy_task(**options):
    return task_class("toys")(find("brightnet"), options)


def outcomes(forward=None, *, batch_size=None, words=("*.png",)):
    task, engine = toy_task(), Engine(forward)
    sources, problems = find_sources(task.declaration, words)
    assert not problems
    return engine, run(task, engine, sources, batch_size)


def shown(found):
    return [(outcome.source.stem, isinstance(outcome, Prediction)) for outcome in found]


ALL = [(f"{number:02d}", True) for number in range(12)]
DARK_ONLY = [(f"{number:02d}", number % 2 == 0) for number in range(12)]


def test_from_python(toys, images):
    found = list(predict("brightnet", ["absent.png", "00.png", "01.png"], options={"shout": True}))
    absent, dark, light = found
    assert (absent.source, absent.message) == (None, "absent.png: no such file")
    assert absent.record() == {"error": "absent.png: no such file"}
    assert (dark.describe(), light.describe()) == (["DARK"], ["BRIGHT"])
    assert str(dark.source) == dark.record()["file"] == "00.png"
    assert light.record()["brightness"] == pytest.approx(0.9999546, abs=1e-6)
    assert light.draw().height > 100
    (images / "out").mkdir()
    assert light.save(images / "out") == [images / "out" / "01.png"]
    assert light.index == 0
    assert light.input.size == (21, 10)
    (one,) = predict(find("brightnet"), images / "00.png", device="cpu", batch_size=1)
    assert one.describe() == ["dark"]
    assert len(list(predict("brightnet", str(images)))) == 13  # the one that was saved too


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"levl": 1}}, "no option 'levl'"),
        ({"options": {"level": 2}}, "level must be between 0 and 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"device": "nonsense"}, "'nonsense' cannot be used here"),
        ({"weights": "V9"}, "has no weights 'V9'"),
    ],
)
def test_what_is_wrong_is_said_at_once(toys, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        predict("brightnet", "00.png", **arguments)


def test_tasks_can_be_pickled(toys):
    task = toy_task(level=0.9)
    again = pickle.loads(pickle.dumps(task))
    assert (again.spec, again.options, again.declaration) == (task.spec, task.options, task.declaration)
    picture = Image.new("RGB", (9, 9), (200, 100, 50))
    assert torch.equal(again.prepare(picture)[0], task.prepare(picture)[0])


def test_batches(toys, images):
    engine, found = outcomes(batch_size=5)
    assert shown(found) == ALL
    assert engine.batches == [5, 5, 2]
    engine, found = outcomes()
    next(found)
    assert engine.batches == [8], "by default as many as the task declares, and no more than are asked for"


def test_a_record_is_built_only_when_it_is_asked_for(toys, images, capsys, monkeypatch):
    from zoo_core.cli import main

    asked = []
    kind = task_class("toys")
    record = kind.record
    monkeypatch.setattr(kind, "record", lambda self, result: asked.append(result) or record(self, result))
    assert main(["predict", "brightnet", "00.png"]) == 0
    assert asked == []
    assert main(["predict", "brightnet", "00.png", "--json"]) == 0
    assert len(asked) == 1


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 50])
def test_an_input_that_the_model_refuses(toys, images, batch_size):
    def forward(batch):
        if bright(batch).any():
            raise ValueError("too bright")

    _, found = outcomes(forward, batch_size=batch_size)
    found = list(found)
    assert shown(found) == DARK_ONLY
    assert found[1].message == "01.png: too bright"
    assert isinstance(found[1].error, ValueError)


@pytest.mark.parametrize("batch_size", [1, 5, 50])
def test_a_runtime_error_that_only_some_inputs_cause(toys, images, batch_size):
    """The model takes others, so it is not broken: the order stays, even where the first inputs fail."""

    def forward(batch):
        if not bright(batch).all():
            raise RuntimeError("Kernel size can't be greater than actual input size")

    _, found = outcomes(forward, batch_size=batch_size)
    found = list(found)
    assert shown(found) == [(stem, not taken) for stem, taken in DARK_ONLY]
    assert found[0].message == "00.png: Kernel size can't be greater than actual input size"


@pytest.mark.parametrize(("words", "tried"), [(("*.png",), 8), (("00.png", "01.png"), 2), (("00.png",), 1)])
def test_a_runtime_error_that_all_inputs_cause_comes_through(toys, images, words, tried):
    def forward(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    engine, found = outcomes(forward, batch_size=1, words=words)
    with pytest.raises(RuntimeError, match="mat1 and mat2") as raised:
        list(found)
    assert engine.batches == [1] * tried
    assert "forward" in "".join(traceback.format_exception(raised.value)), "with the traceback"


def test_files_that_cannot_be_read_are_told_before_a_broken_model(toys, images):
    (images / "00.png").write_text("no image")

    def forward(batch):
        raise RuntimeError("broken")

    _, found = outcomes(forward)
    assert isinstance(next(found), Failure)
    with pytest.raises(RuntimeError, match="broken"):
        list(found)


@pytest.mark.parametrize("kind", [TypeError, KeyError, AttributeError, AssertionError, NotImplementedError])
def test_mistakes_of_the_program_come_through(toys, images, kind):
    def forward(batch):
        if bright(batch).any():
            raise kind("a mistake")

    _, found = outcomes(forward, batch_size=1)
    assert isinstance(next(found), Prediction)
    with pytest.raises(kind, match="a mistake"):
        next(found)


def test_a_mistake_of_the_program_in_the_command(toys, images, capsys, monkeypatch):
    from zoo_core.cli import main

    monkeypatch.setattr(task_class("toys"), "describe", lambda self, result: result.nothing)
    assert main(["predict", "brightnet", "00.png"]) == 1
    assert capsys.readouterr().err.startswith("error: unexpected AttributeError: ")
    assert main(["predict", "brightnet", "00.png", "--debug"]) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_too_little_memory_halves_the_batch(toys, images):
    def forward(batch):
        if len(batch) > 2:
            torch.empty(10**15)  # the allocator's own error

    engine, found = outcomes(forward, batch_size=8)
    assert shown(found) == ALL
    assert engine.batches == [8, 4, 2, 2, 2, 2, 2, 2], "and the next batches stay as small"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_an_input_that_does_not_fit_by_itself(toys, images, error):
    def forward(batch):
        if bright(batch).any():
            raise error

    _, found = outcomes(forward)
    found = list(found)
    assert shown(found) == DARK_ONLY
    assert "01.png: takes more memory than there is" in found[1].message


def test_an_image_too_large_to_read(toys, images, monkeypatch):
    from zoo_core.predicting import sources

    open_image = sources.open_image
    monkeypatch.setattr(sources, "open_image", lambda path: open_image(path) if path.stem != "01" else [0] * 10**18)
    _, found = outcomes()
    assert shown(found) == [(stem, stem != "01") for stem, _ in ALL]


# Running ----------------------------------------------------------------------------------------------------------


class Any(Task):
    """What the base class does by itself."""

    result = describe = draw = record = score = lambda self, *args: None  # type: ignore


def test_samples_of_one_shape_run_together(toys):
    calls = []

    def engine(first, second):
        calls.append((tuple(first.shape), tuple(second.shape), first.dtype))
        return {"sum": first.sum((1, 2)), "both": [first, (second,)]}

    shapes = [((2, 3), torch.float32), ((3, 2), torch.float32), ((2, 3), torch.float32), ((2, 3), torch.float64)]
    samples = [
        (torch.full(shape, float(index), dtype=dtype), torch.zeros(1)) for index, (shape, dtype) in enumerate(shapes)
    ]
    outputs = Any(find("brightnet")).run(engine, samples)
    assert calls == [
        ((2, 2, 3), (2, 1), torch.float32),
        ((1, 3, 2), (1, 1), torch.float32),
        ((1, 2, 3), (1, 1), torch.float64),
    ]
    assert [float(output["sum"]) for output in outputs] == [0, 6, 12, 18]
    for output, sample in zip(outputs, samples, strict=True):
        assert torch.equal(output["both"][0], sample[0])
        assert output["both"][1][0].shape == (1,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite(toys, value):
    spec = find("brightnet")
    for output in (torch.tensor([1.0, value]), {"a": [torch.zeros(0), (torch.tensor(value),)]}):
        with pytest.raises(NonFiniteError, match="brightnet with HAND_V1 gave NaN or infinity"):
            check_finite(output, spec)
    check_finite([torch.zeros(3), torch.zeros(0), torch.tensor([2**40]), {"x": None}], spec)


def test_a_spec_without_preprocessing(toys):
    with pytest.raises(ValueError, match="nothing says how to prepare inputs for brightnet"):
        Any(find("brightnet", preset=None)).prepare(Image.new("RGB", (3, 3)))
    with pytest.raises(NotImplementedError, match="needs a read"):
        Any(find("brightnet")).read(None)


def test_devices(toys):
    from zoo_core.engines import choose_device

    assert choose_device("cpu", {"cpu"}).type == "cpu"
    with pytest.raises(ValueError, match="run on cpu only, not on meta"):
        choose_device("meta", {"cpu"})
    assert predicting.load(toy_task(), "cpu").device.type == "cpu"


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.mp4", "b.mp4"], [("a.mp4", 2), ("a.mp4", 3), *(("b.mp4", index) for index in range(4))]),
        (["00.png", "a.mp4"], [("a.mp4", index) for index in range(4)]),
    ],
)
def test_inputs_of_the_first_source_alone_are_left_out(toys, images, names, expected, workers):
    for name in ("a.mp4", "b.mp4"):
        encode(images / name, count=4)
    task = toy_task()
    sources, _ = find_sources(task.declaration, names)
    found = list(run(task, Engine(), sources, workers=workers, skip=2))
    assert [(item.source.names[0], item.index) for item in found] == expected
