"""Segmentation as a task: labels at the image's size, words, images, records and the score."""

import json
import re
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo_segmentation
from support import reference
from support.tasks import check_pickles, check_score, run, save
from zoo_core import predicting, specs
from zoo_core.drawing import class_color
from zoo_core.engines import EagerEngine
from zoo_core.images import open_image, to_pil_image
from zoo_core.predicting import find_sources
from zoo_core.tasks import NonFiniteError, task_class
from zoo_segmentation import read_mask, write_mask
from zoo_segmentation.task import Segmentation, SegmentationScore, SemanticSegmentationTask, labels_at_size

from . import published

WEIGHTS = zoo_segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT
LABELS = reference.labels()["voc21"]


def task(**options):
    return SemanticSegmentationTask(specs.find("lraspp_mobilenet_v3_large"), options)


class ByBrightness(nn.Module):
    """Says `person` where a picture is bright and `background` elsewhere, so that results are known."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        scores = torch.zeros(len(x), 21, *x.shape[2:])
        scores[:, 15] = x.mean(dim=1)
        return OrderedDict(out=scores)


def half_bright(width, height):
    """Black on the left, white on the right."""
    picture = Image.new("RGB", (width, height))
    picture.paste((255, 255, 255), (width // 2, 0, width, height))
    return picture


def test_it_is_the_tasks_adapter():
    assert task_class("segmentation") is SemanticSegmentationTask


def test_it_goes_to_worker_processes():
    check_pickles(task(mask=True), half_bright(60, 40))


def test_pictures_of_several_sizes():
    model = ByBrightness()
    pictures = [half_bright(640, 400), half_bright(90, 200), half_bright(640, 400), half_bright(520, 520)]
    results = run(task(), model, *pictures)
    assert model.shapes == [(2, 3, 520, 832), (1, 3, 1155, 520), (1, 3, 520, 520)]
    for picture, result in zip(pictures, results, strict=True):
        assert result.mask.shape == (picture.height, picture.width)
        assert result.mask.dtype == torch.uint8
        middle = picture.width // 2
        assert (result.mask[:, : middle - 3] == 0).all()
        assert (result.mask[:, middle + 3 :] == 15).all()


@pytest.mark.parametrize("size", [(3000, 1), (1, 65), (130, 2)], ids=str)
def test_a_picture_that_would_not_fit_in_memory(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "strip.png")
    sources, _ = find_sources(task().declaration, [str(tmp_path / "strip.png")])
    (failure,) = predicting.run(task(), EagerEngine(ByBrightness()), sources)
    assert re.search(rf"strip.png: too long and thin \({size[0]}x{size[1]}\).* cut it into pieces", failure.message)


@pytest.mark.parametrize("size", [(640, 10), (1, 64)], ids=str)
def test_a_long_picture_that_does_fit(size):
    (result,) = run(task(), ByBrightness(), half_bright(*size))
    assert result.mask.shape == (size[1], size[0])


@pytest.mark.parametrize("size", [(31, 47), (7, 9), (100, 3), (1, 1)])
@pytest.mark.parametrize("classes", [1, 2, 21, 300])
def test_labels_at_size(size, classes):
    """The best class of interpolated scores, as computed at once."""
    scores = torch.randn(classes, 31, 47, generator=torch.Generator().manual_seed(classes))
    expected = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0)
    labels = labels_at_size(scores, size)
    assert labels.dtype == (torch.uint8 if classes <= 256 else torch.int32)
    assert torch.equal(labels.long(), expected)


def test_of_equal_classes_the_first_wins():
    assert (labels_at_size(torch.ones(5, 4, 4), (9, 9)) == 0).all()
    assert (labels_at_size(torch.ones(5, 4, 4), (4, 4)) == 0).all()


class Largest(TorchDispatchMode):
    """The largest floating tensor that an operator gives back, in elements."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def test_enlarging_never_holds_the_scores_of_all_classes():
    with Largest() as largest:
        labels_at_size(torch.zeros(21, 16, 16), (512, 512))
    assert largest.elements == 512 * 512


def test_results_that_are_no_numbers():
    class Broken(ByBrightness):
        def forward(self, x):
            scores = super().forward(x)
            scores["out"][0, 3, 5, 5] = self.value
            return scores

    for value in (float("nan"), float("inf"), float("-inf")):
        model = Broken()
        model.value = value
        with pytest.raises(NonFiniteError, match="gave NaN or infinity"):
            run(task(), model, half_bright(30, 30))


def segmentation():
    """A quarter of `dog`, a few pixels of `cat`, the rest background."""
    mask = torch.zeros(100, 200, dtype=torch.uint8)
    mask[:50, :100] = 12
    mask[99, 190:199] = 8
    return Segmentation(mask, LABELS)


def test_words_and_json():
    result = segmentation()
    assert task().describe(result) == [" 75.0%  background", " 25.0%  dog", " <0.1%  cat"]
    data = json.loads(json.dumps(task().record(result)))
    assert data == {
        "classes": [
            {"index": 0, "label": "__background__", "share": (20000 - 5000 - 9) / 20000},
            {"index": 12, "label": "dog", "share": 0.25},
            {"index": 8, "label": "cat", "share": 9 / 20000},
        ]
    }
    assert sum(item["share"] for item in data["classes"]) == pytest.approx(1)


def test_picture_and_mask(tmp_path):
    result = segmentation()
    picture = Image.new("RGB", (200, 100), (100, 150, 200))
    assert save(task(), picture, result, tmp_path, "photo") == [tmp_path / "photo.png"]
    assert save(task(mask=True), picture, result, tmp_path, "photo") == [
        tmp_path / "photo.png",
        tmp_path / "photo.mask.png",
    ]
    assert torch.equal(read_mask(tmp_path / "photo.mask.png"), result.mask)

    shown = Image.open(tmp_path / "photo.png").convert("RGB")
    # Small pictures are enlarged to twice their size; the legend is below.
    assert shown.width == 400
    assert shown.height > 200
    assert shown.getpixel((300, 100)) == (100, 150, 200), "the background stays as it was"
    dog = class_color(12)
    painted = shown.getpixel((50, 50))
    assert all(abs(c - (p + d) / 2) <= 1 for c, p, d in zip(painted, (100, 150, 200), dog, strict=True))
    legend = shown.crop((0, 200, 400, shown.height))
    colors = {color for _, color in legend.getcolors(maxcolors=10**6)}
    assert {(0, 0, 0), class_color(8), class_color(12)} <= colors
    assert class_color(15) not in colors


def test_a_frame_keeps_its_size_and_the_legend_its_order():
    result = segmentation()
    frame = Image.new("RGB", (200, 100), (100, 150, 200))
    shown = task().draw_frame(frame, result)
    assert shown.size == (200, 100)
    assert shown.getpixel((190, 10)) == (100, 150, 200)

    def place(color):
        return [y for y in range(100) for x in range(20) if shown.getpixel((x, y)) == color]

    assert place(class_color(8))
    assert place(class_color(12))
    assert max(place(class_color(8))) < min(place(class_color(12))), "by class, not by share"


def test_a_picture_of_nothing_but_background():
    result = Segmentation(torch.zeros(10, 10, dtype=torch.uint8), LABELS)
    drawn = task().draw(Image.new("RGB", (10, 10), (9, 8, 7)), result)
    assert drawn.convert("RGB").getpixel((100, 100)) == (9, 8, 7)
    assert task().describe(result) == ["100.0%  background"]


@pytest.mark.parametrize("label", ["background", "Background", "__background__"])
def test_the_background_of_other_data_sets_is_not_painted_either(label):
    result = Segmentation(torch.zeros(10, 10, dtype=torch.uint8), (label, "road"))
    drawn = task().draw_frame(Image.new("RGB", (10, 10), (9, 8, 7)), result)
    assert drawn.convert("RGB").getcolors() == [(100, (9, 8, 7))]


def test_a_folder_is_scored(tmp_path):
    """Pictures, results and indexed masks with void pixels, end to end."""
    score = task().score()
    for number in range(3):
        picture = half_bright(100, 80)
        truth = torch.zeros(80, 100, dtype=torch.uint8)
        truth[:, 50:] = 15
        truth[:, 46:54] = 255  # the interpolated edge
        truth[:20, :10] = 15 if number == 0 else 0
        picture.save(tmp_path / f"{number}.jpg", quality=95)
        write_mask(truth, tmp_path / f"{number}.png")
    for index, path in enumerate(sorted(tmp_path.glob("*.jpg"))):
        (result,) = run(task(), ByBrightness(), open_image(path))
        score.update(index, result, path.with_suffix(".png"))
    # In 3 * 80 * 92 pixels, 200 of the first picture's are missed.
    person, background, missed = 3 * 80 * 46 + 200, 3 * 80 * 46 - 200, 200
    ious = {"person": (person - missed) / person, "__background__": background / (background + missed)}
    computed = score.compute()
    assert computed == {
        "miou": pytest.approx(50 * sum(ious.values())),
        "pixel_acc": pytest.approx(100 * (1 - missed / (3 * 80 * 92))),
        **{f"iou ({label})": pytest.approx(100 * iou) for label, iou in ious.items()},
    }


def test_truth_that_does_not_fit(tmp_path):
    score = SegmentationScore()
    with pytest.raises(ValueError, match="no result was taken"):
        score.compute()
    path = tmp_path / "truth.png"
    write_mask(torch.zeros(3, 4, dtype=torch.uint8), path)
    with pytest.raises(ValueError, match=r"truth\.png: .*same shape.*\[100, 200\] and \[3, 4\]"):
        score.update(0, segmentation(), path)
    write_mask(torch.full((100, 200), 21, dtype=torch.uint8), path)
    with pytest.raises(ValueError, match=r"truth\.png: target has the label 21"):
        score.update(0, segmentation(), path)
    score.update(0, segmentation(), segmentation().mask)
    assert score.compute()["miou"] == 100


def test_the_score_does_not_depend_on_order_or_division():
    generator = torch.Generator().manual_seed(0)
    masks = [torch.randint(0, 4, (2, 9, 11), generator=generator, dtype=torch.uint8) for _ in range(14)]
    samples = [(Segmentation(mask[0], LABELS), mask[1]) for mask in masks]
    check_score(SegmentationScore, samples)
    empty = SegmentationScore()
    empty.merge(SegmentationScore())
    with pytest.raises(ValueError, match="no result was taken"):
        empty.compute()
    empty.update(0, *samples[0])
    other = SegmentationScore()
    other.update(1, Segmentation(masks[0][0], LABELS[:5]), masks[0][1])
    with pytest.raises(ValueError, match="21 classes that ignores 255 cannot take one of 5 classes"):
        empty.merge(other)
    assert len(empty) == 1


def test_the_model_of_predictions_has_no_auxiliary_classifier(home):
    published.save_segmentation(home, "deeplabv3_mobilenet_v3_large")
    published.save_segmentation(home, "lraspp_mobilenet_v3_large")
    assert specs.build(specs.find("deeplabv3_mobilenet_v3_large")).aux_classifier is None
    assert specs.build(specs.find("deeplabv3_mobilenet_v3_large"), train=True).aux_classifier is not None
    model = specs.build(specs.find("lraspp_mobilenet_v3_large"))

    noise = to_pil_image(reference.image(5, 3, 70, 90))
    with torch.inference_mode():
        scores = model(WEIGHTS.transforms()(noise)[None])["out"]
    (result,) = run(task(), model, noise)
    at_once = F.interpolate(scores, size=(70, 90), mode="bilinear", align_corners=False)[0].argmax(dim=0)
    assert (result.mask.long() != at_once).float().mean() < 1e-3  # the engine folds normalisation
