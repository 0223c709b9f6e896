"""Classification as a task: results, words, images, records, accuracy."""

import json

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo_classification
from support.tasks import check_pickles, check_score, run, save
from zoo_classification.task import Accuracy, Classification, ImageClassificationTask
from zoo_core import predicting, specs
from zoo_core.engines import EagerEngine
from zoo_core.images import ImageReadError
from zoo_core.predicting import find_sources, predict
from zoo_core.specs import ModelSpec
from zoo_core.tasks import NonFiniteError, task_class

LABELS = ["dark", "red", "green", "blue", "bright", "other"]


class Means(nn.Module):
    """Logits are the means of the channels, at known places."""

    def forward(self, x: Tensor) -> Tensor:
        red, green, blue = x.mean((2, 3)).unbind(1)
        zero = torch.zeros_like(red)
        return torch.stack([zero, red, green, blue, zero - 5, zero - 6], dim=1)


def preprocess():
    def transform(picture: Image.Image) -> Tensor:
        return torch.tensor(picture.resize((1, 1)).getpixel((0, 0))).float().view(3, 1, 1)

    return transform


class MeansTask(ImageClassificationTask):
    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.preprocess = preprocess()


def means_task(labels=LABELS, **options):
    return MeansTask(ModelSpec("means", "classification", weights="V1", labels=tuple(labels)), options)


def picture(*color: int, size=(20, 10)) -> Image.Image:
    return Image.new("RGB", size, color)


def result_of(probabilities, labels=LABELS) -> Classification:
    return Classification(torch.tensor(probabilities), labels)


def test_the_entry_point_names_it():
    assert task_class("classification") is ImageClassificationTask


def test_it_goes_to_worker_processes():
    check_pickles(ImageClassificationTask(specs.find("resnet18"), {"topk": 2}), picture(9, 2, 1))


def test_a_batch_of_different_sizes_is_what_each_gives_alone():
    pictures = [picture(9, 2, 1), picture(1, 7, 2, size=(3, 50)), picture(0, 0, 4, size=(1, 1))]
    task = means_task()
    together = run(task, Means(), *pictures)
    for alone, result in zip(pictures, together, strict=True):
        torch.testing.assert_close(run(task, Means(), alone)[0].probabilities, result.probabilities)
    assert [r.top(1)[0][:2] for r in together] == [(1, "red"), (2, "green"), (3, "blue")]
    # By hand: logits 0, 9, 2, 1, -5, -6.
    expected = torch.tensor([0.0, 9, 2, 1, -5, -6]).exp()
    torch.testing.assert_close(together[0].probabilities, expected / expected.sum())


def test_equals_the_models_own_pipeline(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = zoo_classification.shufflenet_v2_x0_5().eval()
    weights = zoo_classification.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    files = []
    for index, size in enumerate([(300, 200), (64, 400)]):
        noise = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8)
        files.append(tmp_path / f"{index}.png")
        Image.frombytes("RGB", size, bytes(noise.flatten().tolist())).save(files[-1])
    monkeypatch.setattr(specs, "build", lambda spec: model)
    found = list(predict("shufflenet_v2_x0_5", files, weights="IMAGENET1K_V1", options={"topk": 3}))
    with torch.inference_mode():
        for file, prediction in zip(files, found, strict=True):
            assert prediction.source.paths == (file,)
            result = prediction.result
            scores = model(weights.transforms()(Image.open(file)).unsqueeze(0)).softmax(1)[0]
            torch.testing.assert_close(result.probabilities, scores, rtol=1e-4, atol=1e-6)
            best = scores.topk(3)
            assert [index for index, _, _ in result.top(3)] == best.indices.tolist()
            assert [label for _, label, _ in result.top(3)] == [weights.meta["categories"][i] for i in best.indices]


def test_printed_are_the_best_classes_not_all_labels():
    result = Classification(torch.tensor([0.125, 0.5, 0.0625, 0.25, 0.0625, 0.0]), LABELS)
    assert repr(result) == "Classification('red' 50.0%, 'blue' 25.0%, 'dark' 12.5%, ...)"
    assert repr(Classification(torch.tensor([0.25, 0.75]), ["no", "yes"])) == "Classification('yes' 75.0%, 'no' 25.0%)"


def test_words_and_json():
    task = means_task(topk=2)
    (result,) = run(task, Means(), picture(3, 1, 0))  # logits 0, 3, 1, 0, -5, -6: e**3 of a sum of 24.81
    assert task.describe(result) == [" 80.9%  red", " 11.0%  green"]
    labels = task.record(result)["labels"]
    assert json.loads(json.dumps(labels)) == labels
    assert [(entry["index"], entry["label"]) for entry in labels] == [(1, "red"), (2, "green")]
    assert labels[0]["score"] == pytest.approx(0.8095, abs=1e-4)


@pytest.mark.parametrize(("topk", "count"), [(1, 1), (6, 6), (1000, 6)])
def test_topk(topk, count):
    task = means_task(topk=topk)
    (result,) = run(task, Means(), picture(3, 2, 1))
    assert len(task.describe(result)) == len(task.record(result)["labels"]) == count
    assert len(means_task().describe(result)) == 5, "by default"


def test_a_model_without_labels():
    task = means_task((), topk=1)
    assert task.describe(run(task, Means(), picture(0, 5, 0))[0]) == [" 98.0%  class 2"]


def test_results_that_are_no_numbers():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 6), float("nan"))

    with pytest.raises(NonFiniteError, match=r"means with V1 gave NaN or infinity; are the weights damaged"):
        run(means_task(), Broken(), picture(1, 1, 1))


def test_half_precision_models_give_float32():
    class Half(Means):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).bfloat16()

    (result,) = run(means_task(), Half(), picture(1, 1, 1))
    assert result.probabilities.dtype == torch.float32
    assert result.probabilities.sum().item() == pytest.approx(1, abs=1e-6)


def test_reads_upright_rgb(tmp_path):
    Image.new("LA", (4, 3), (200, 0)).save(tmp_path / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "text.png").write_text("no picture")
    task = means_task()
    files = [tmp_path / name for name in ("grey.png", "text.png", "turned.jpg")]
    sources, _ = find_sources(task.declaration, map(str, files))
    grey, text, upright = predicting.run(task, EagerEngine(Means()), sources)
    assert (grey.input.mode, grey.input.size) == ("RGB", (4, 3))
    assert upright.input.size == (30, 40)
    assert isinstance(text.error, ImageReadError)
    assert "text.png" in text.message


def test_save(tmp_path):
    task = means_task(topk=3)
    original = picture(200, 10, 10, size=(400, 300))
    (result,) = run(task, Means(), original)
    (path,) = save(task, original, result, tmp_path, "one.two")
    assert path == tmp_path / "one.two.png"
    with Image.open(path) as saved:
        assert saved.mode == "RGB"
        assert saved.width == 400
        assert saved.height > 300
        assert saved.crop((0, 0, 400, 300)).tobytes() == original.tobytes(), "the picture itself stays unobstructed"
    assert original.size == (400, 300)


def test_a_frame_of_a_video_keeps_its_size():
    task = means_task(topk=3)
    original = picture(200, 10, 10, size=(400, 300))
    (result,) = run(task, Means(), original)
    frame = task.draw_frame(original, result)
    assert frame.size == (400, 300)
    assert frame.getpixel((390, 10)) == original.getpixel((390, 10))
    assert frame.getpixel((5, 295)) != original.getpixel((5, 295)), "the labels are in the corner"


# Accuracy


def test_accuracy_by_hand():
    accuracy = Accuracy()
    probabilities = [0.05, 0.4, 0.3, 0.15, 0.06, 0.04]  # ranks: 1, 2, 3, 4, 0, 5
    for index, truth in enumerate((1, 2, 0, 5)):
        accuracy.update(index, result_of(probabilities), truth)
    assert accuracy.compute() == {"acc@1": 25.0, "acc@5": 75.0}
    accuracy.update(4, result_of(probabilities), "red")
    assert accuracy.compute() == {"acc@1": 40.0, "acc@5": 80.0}


def test_accuracy_of_few_classes():
    accuracy = Accuracy()
    accuracy.update(0, result_of([0.9, 0.1], ["a", "b"]), 1)
    assert accuracy.compute() == {"acc@1": 0.0, "acc@5": 100.0}


def test_a_constant_classifier_is_not_always_right():
    accuracy = Accuracy()
    for truth in range(10):
        accuracy.update(truth, result_of([0.1] * 10, [str(i) for i in range(10)]), truth)
    assert accuracy.compute() == {"acc@1": 10.0, "acc@5": 50.0}


def test_labels_that_two_classes_share():
    """ImageNet has the crane that flies and the crane that lifts."""
    accuracy = Accuracy()
    accuracy.update(0, result_of([0.2, 0.7, 0.1], ["crane", "dog", "crane"]), "crane")
    accuracy.update(1, result_of([0.2, 0.1, 0.7], ["crane", "dog", "crane"]), "crane")
    assert accuracy.compute()["acc@1"] == 50.0


def test_wrong_truths():
    accuracy = Accuracy()
    for truth in (-1, 6):
        with pytest.raises(ValueError, match=rf"there is no class {truth}: they are numbered from 0 to 5"):
            accuracy.update(0, result_of([0.1] * 6), truth)
    with pytest.raises(ValueError, match=r"no class with the label 'gren'; did you mean 'green'\?"):
        accuracy.update(0, result_of([0.1] * 6), "gren")
    with pytest.raises(ValueError, match="no result was taken yet"):
        accuracy.compute()
    assert isinstance(means_task().score(), Accuracy)


def test_accuracy_does_not_depend_on_order_or_division():
    generator = torch.Generator().manual_seed(0)
    samples = [
        (
            result_of(torch.rand(6, generator=generator).softmax(0).tolist()),
            int(torch.randint(6, (), generator=generator)),
        )
        for _ in range(23)
    ]
    check_score(Accuracy, samples)
