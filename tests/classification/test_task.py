"""The command line's adapter for classification: results, words, pictures, JSON, accuracy."""

import json

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo_classification
from zoo_classification.task import Accuracy, Classification, ImageClassificationTask
from zoo_core.images import ImageReadError
from zoo_core.tasks import task_class
from zoo_core.weights import Weights, WeightsEnum

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


class Means_Weights(WeightsEnum):
    V1 = Weights(url="https://example.org/means.pth", transforms=preprocess, meta={"categories": LABELS})
    UNLABELLED = Weights(url="https://example.org/other.pth", transforms=preprocess, meta={"categories": None})


def means_task(weights=Means_Weights.V1, model=None, **options):
    return ImageClassificationTask((model or Means()).eval(), weights, torch.device("cpu"), options)


def picture(*color: int, size=(20, 10)) -> Image.Image:
    return Image.new("RGB", size, color)


def result_of(probabilities, labels=LABELS) -> Classification:
    return Classification(torch.tensor(probabilities), labels)


def test_the_entry_point_names_it():
    assert task_class("classification") is ImageClassificationTask


def test_a_batch_of_different_sizes_is_what_each_gives_alone():
    pictures = [picture(9, 2, 1), picture(1, 7, 2, size=(3, 50)), picture(0, 0, 4, size=(1, 1))]
    task = means_task()
    together = task.run(pictures)
    for alone, result in zip(pictures, together, strict=True):
        torch.testing.assert_close(task.run([alone])[0].probabilities, result.probabilities)
    assert [r.top(1)[0][:2] for r in together] == [(1, "red"), (2, "green"), (3, "blue")]
    # By hand: logits 0, 9, 2, 1, -5, -6.
    expected = torch.tensor([0.0, 9, 2, 1, -5, -6]).exp()
    torch.testing.assert_close(together[0].probabilities, expected / expected.sum())


def test_equals_the_models_own_pipeline(tmp_path):
    torch.manual_seed(0)
    model = zoo_classification.shufflenet_v2_x0_5().eval()
    weights = zoo_classification.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    files = []
    for index, size in enumerate([(300, 200), (64, 400)]):
        noise = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8)
        files.append(tmp_path / f"{index}.png")
        Image.frombytes("RGB", size, bytes(noise.flatten().tolist())).save(files[-1])
    task = ImageClassificationTask(model, weights, torch.device("cpu"), {"topk": 3})
    with torch.inference_mode():
        results = task.run([task.read((file,)) for file in files])
        for file, result in zip(files, results, strict=True):
            scores = model(weights.transforms()(Image.open(file)).unsqueeze(0)).softmax(1)[0]
            torch.testing.assert_close(result.probabilities, scores)
            best = scores.topk(3)
            assert [index for index, _, _ in result.top(3)] == best.indices.tolist()
            assert [label for _, label, _ in result.top(3)] == [weights.meta["categories"][i] for i in best.indices]


def test_words_and_json():
    task = means_task(topk=2)
    (result,) = task.run([picture(3, 1, 0)])  # logits 0, 3, 1, 0, -5, -6: e**3 of a sum of 24.81
    assert task.describe(result) == [" 80.9%  red", " 11.0%  green"]
    labels = task.to_json(result)["labels"]
    assert json.loads(json.dumps(labels)) == labels
    assert [(entry["index"], entry["label"]) for entry in labels] == [(1, "red"), (2, "green")]
    assert labels[0]["score"] == pytest.approx(0.8095, abs=1e-4)


@pytest.mark.parametrize(("topk", "count"), [(1, 1), (6, 6), (1000, 6)])
def test_topk(topk, count):
    task = means_task(topk=topk)
    (result,) = task.run([picture(3, 2, 1)])
    assert len(task.describe(result)) == len(task.to_json(result)["labels"]) == count
    assert len(means_task().describe(result)) == 5, "by default"


def test_a_model_without_labels():
    task = means_task(Means_Weights.UNLABELLED, topk=1)
    assert task.describe(task.run([picture(0, 5, 0)])[0]) == [" 98.0%  class 2"]


def test_results_that_are_no_numbers():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 6), float("nan"))

    with pytest.raises(
        ValueError, match=r"Means_Weights\.V1 gave results that are no numbers; are the weights damaged"
    ):
        means_task(model=Broken()).run([picture(1, 1, 1)])


def test_half_precision_models_give_float32():
    class Half(Means):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).bfloat16()

    (result,) = means_task(model=Half()).run([picture(1, 1, 1)])
    assert result.probabilities.dtype == torch.float32
    assert result.probabilities.sum().item() == pytest.approx(1, abs=1e-6)


def test_reads_upright_rgb(tmp_path):
    task = means_task()
    Image.new("LA", (4, 3), (200, 0)).save(tmp_path / "grey.png")
    assert (task.read((tmp_path / "grey.png",)).mode, task.read((tmp_path / "grey.png",)).size) == ("RGB", (4, 3))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=turned)
    assert task.read((tmp_path / "turned.jpg",)).size == (30, 40)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageReadError, match=r"text\.png"):
        task.read((tmp_path / "text.png",))


def test_save(tmp_path):
    task = means_task(topk=3)
    original = picture(200, 10, 10, size=(400, 300))
    (result,) = task.run([original])
    (path,) = task.save(original, result, tmp_path, "one.two")
    assert path == tmp_path / "one.two.png"
    with Image.open(path) as saved:
        assert saved.mode == "RGB"
        assert saved.width == 400
        assert saved.height > 300
        assert saved.crop((0, 0, 400, 300)).tobytes() == original.tobytes(), "the picture itself stays unobstructed"
    assert original.size == (400, 300)


# Accuracy


def test_accuracy_by_hand():
    accuracy = Accuracy()
    probabilities = [0.05, 0.4, 0.3, 0.15, 0.06, 0.04]  # ranks: 1, 2, 3, 4, 0, 5
    for truth in (1, 2, 0, 5):
        accuracy.update(result_of(probabilities), truth)
    assert accuracy.compute() == {"acc@1": 25.0, "acc@5": 75.0}
    accuracy.update(result_of(probabilities), "red")
    assert accuracy.compute() == {"acc@1": 40.0, "acc@5": 80.0}


def test_accuracy_of_few_classes():
    accuracy = Accuracy()
    accuracy.update(result_of([0.9, 0.1], ["a", "b"]), 1)
    assert accuracy.compute() == {"acc@1": 0.0, "acc@5": 100.0}


def test_a_constant_classifier_is_not_always_right():
    accuracy = Accuracy()
    for truth in range(10):
        accuracy.update(result_of([0.1] * 10, [str(i) for i in range(10)]), truth)
    assert accuracy.compute() == {"acc@1": 10.0, "acc@5": 50.0}


def test_labels_that_two_classes_share():
    """ImageNet has the crane that flies and the crane that lifts."""
    accuracy = Accuracy()
    accuracy.update(result_of([0.2, 0.7, 0.1], ["crane", "dog", "crane"]), "crane")
    accuracy.update(result_of([0.2, 0.1, 0.7], ["crane", "dog", "crane"]), "crane")
    assert accuracy.compute()["acc@1"] == 50.0


def test_wrong_truths():
    accuracy = Accuracy()
    for truth in (-1, 6):
        with pytest.raises(ValueError, match=rf"there is no class {truth}: they are numbered from 0 to 5"):
            accuracy.update(result_of([0.1] * 6), truth)
    with pytest.raises(ValueError, match=r"no class with the label 'gren'; did you mean 'green'\?"):
        accuracy.update(result_of([0.1] * 6), "gren")
    with pytest.raises(ValueError, match="no result was taken yet"):
        accuracy.compute()
    assert isinstance(means_task().score(), Accuracy)
