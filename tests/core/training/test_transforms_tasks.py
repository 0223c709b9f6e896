"""Copy-paste, pairs and clips, and what recipes name for each task."""

import pickle
import random
from collections import Counter

import pytest
import torch
from PIL import Image

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.randomness import generator
from zoo_core.training.transforms import (
    AsymmetricColorJitter,
    CopyPaste,
    EraseSecond,
    FlowResizeCrop,
    Sample,
    TemporalSampling,
    boxes_of_masks,
    draw_frames,
    evenly_spaced,
)
from zoo_core.training.transforms.crops import Window
from zoo_core.training.transforms.pipelines import DATA_AUGMENTATIONS, detection, flow, segmentation, video


def plain(
    color: tuple[int, int, int], boxes: list[tuple[int, int, int, int]], height: int = 12, width: int = 16
) -> Sample:
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    return Sample(
        Image.new("RGB", (width, height), color),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)) + 1,
        masks=masks,
        keypoints=torch.tensor([[[x1, y1, 2]] for x1, y1, _, _ in boxes], dtype=torch.float32).reshape(-1, 1, 3),
        crowd=torch.zeros(len(boxes), dtype=torch.bool),
    )


# Copy-paste -----------------------------------------------------------------------------------------------------------


def test_pasted_objects_cover_what_is_below() -> None:
    below = plain((255, 0, 0), [(0, 0, 4, 4), (4, 4, 10, 10), (12, 0, 16, 12)])
    above = plain((0, 0, 255), [(0, 0, 5, 5), (1, 1, 2, 2), (4, 6, 16, 9)])
    found = CopyPaste().apply(below, above, torch.tensor([0, 2]))
    # The first is covered, the second loses rows and keeps columns, of the third a part in the middle.
    assert found.labels.tolist() == [2, 3, 1, 3]
    assert found.boxes.tolist() == [[4, 4, 10, 10], [12, 0, 16, 12], [0, 0, 5, 5], [4, 6, 16, 9]]
    assert torch.equal(boxes_of_masks(found.masks), found.boxes)
    assert not (found.masks.sum(0) > 1).any()
    blue = pil_to_tensor(found.image)[2] == 255
    assert torch.equal(blue, found.masks[2:].bool().any(0))
    assert found.keypoints[:, 0, 2].tolist() == [1, 2, 2, 2]  # that at (4, 4) is covered
    assert below.masks[0].sum() == 16


def test_boxes_follow_the_masks_that_change() -> None:
    below = plain((0, 0, 0), [(2, 2, 10, 10), (11, 1, 15, 3)])
    below = below.replace(boxes=below.boxes + torch.tensor([0, 0, 0.5, 0.5]))
    found = CopyPaste().apply(below, plain((9, 9, 9), [(0, 0, 6, 12)]), torch.tensor([0]))
    assert found.boxes.tolist() == [[6, 2, 10, 10], [11, 1, 15.5, 3.5], [0, 0, 6, 12]]


def test_each_object_is_drawn_with_even_chance_but_crowds() -> None:
    source = plain((0, 0, 0), [(0, 0, 4, 4), (4, 4, 8, 8), (8, 8, 9, 9)])
    source = source.replace(crowd=torch.tensor([False, True, False]))
    paste, rng = CopyPaste(p=0.5), random.Random(0)
    drawn = [paste.draw(source, source, rng) for _ in range(4000)]
    counts = Counter(tuple(which.tolist()) if which is not None else None for which in drawn)
    assert set(counts) == {None, (0,), (2,), (0, 2)}
    assert 2400 < counts[None] < 2600  # a half, and an eighth
    assert all(440 < counts[which] < 560 for which in ((0,), (2,), (0, 2)))


def test_nothing_to_paste_changes_nothing() -> None:
    below, empty = plain((1, 2, 3), [(0, 0, 4, 4)]), plain((9, 9, 9), [])
    assert CopyPaste()(below, empty, random.Random(0)) is below
    found = CopyPaste().apply(empty, below, torch.tensor([0]))
    assert found.labels.tolist() == [1]
    assert found.crowd.tolist() == [False]
    with pytest.raises(ValueError, match="needs boxes and masks"):
        CopyPaste().apply(below.replace(masks=None), below, torch.tensor([0]))
    with pytest.raises(ValueError, match="both samples must have keypoints, or neither"):
        CopyPaste().apply(below, below.replace(keypoints=None), torch.tensor([0]))


def test_a_source_of_another_size_is_resized() -> None:
    below, above = plain((0, 0, 0), []), plain((255, 255, 255), [(3, 4, 6, 8)], 24, 32)
    found = CopyPaste().apply(below, above, torch.tensor([0]))
    assert found.boxes.tolist() == [[1.5, 2, 3, 4]]
    assert found.masks.shape == (1, 12, 16)


@pytest.mark.parametrize("blend", [0.0, 1.5])
def test_tensors_are_pasted_as_images_are(blend: float) -> None:
    below, above = plain((10, 200, 30), [(0, 0, 4, 4)]), plain((250, 0, 90), [(5, 3, 12, 9)])
    which, paste = torch.tensor([0]), CopyPaste(blend=blend)
    image = pil_to_tensor(paste.apply(below, above, which).image) / 255
    tensors = [one.replace(image=pil_to_tensor(one.image) / 255) for one in (below, above)]
    found = paste.apply(*tensors, which)
    torch.testing.assert_close(found.image, image, atol=1.01 / 255, rtol=0)
    if blend:  # edges are mixed, the middle is not
        assert 30 < float(found.image[2, 3, 5] * 255) < 90
        assert found.image[1, 5, 8] < 0.2
    with pytest.raises(TypeError, match="both of the same kind"):
        paste.apply(below, tensors[1], which)


def test_a_batch_takes_from_the_one_before() -> None:
    batch = [plain((level, 0, 0), [(level, 0, level + 2, 3)]) for level in (1, 4, 8)]
    found = CopyPaste().on_batch(batch, random.Random(2))
    for number, sample in enumerate(found):
        pasted = sample.boxes.tolist()[1:]
        assert pasted in ([], batch[number - 1].boxes.tolist())
    assert any(len(sample.boxes) == 2 for sample in found)


def test_boxes_of_masks() -> None:
    masks = torch.zeros(3, 5, 7)
    masks[0, 2, 3] = 1
    masks[2, :, 6] = 1
    assert boxes_of_masks(masks).tolist() == [[3, 2, 4, 3], [0, 0, 0, 0], [6, 0, 7, 5]]
    assert boxes_of_masks(masks[:0]).shape == (0, 4)


# Pairs ----------------------------------------------------------------------------------------------------------------


def pair(height: int = 40, width: int = 60) -> Sample:
    levels = torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return Sample(to_pil_image(levels[0]), second=to_pil_image(levels[1]), flow=torch.randn(2, height, width))


def test_both_images_have_the_same_colours_or_their_own() -> None:
    jitter, rng = AsymmetricColorJitter(0.4, 0.4, 0.4, 0.1, p=0.2), random.Random(0)
    drawn = [jitter.draw(pair(), rng) for _ in range(1000)]
    assert 0.16 < sum(first != second for first, second in drawn) / 1000 < 0.24
    same = Sample(pair().image, second=pair().image)
    found = AsymmetricColorJitter(0.4, p=0.0)(same, rng)
    assert found.image == found.second
    assert found.image != same.image
    with pytest.raises(ValueError, match="takes pairs"):
        jitter(Sample(pair().image), rng)


def test_rectangles_of_the_second_image_get_its_mean() -> None:
    sample = pair()
    found = EraseSecond().apply(sample, (Window(5, 7, 10, 20), Window(35, 50, 100, 100)))
    assert found.image is sample.image
    assert found.flow is sample.flow
    inside = torch.zeros(40, 60, dtype=torch.bool)
    inside[5:15, 7:27] = True
    inside[35:, 50:] = True
    before, after = pil_to_tensor(sample.second), pil_to_tensor(found.second)
    assert torch.equal(after[:, ~inside], before[:, ~inside])
    mean = before.float().mean((1, 2)).round().to(torch.uint8)
    assert (after[:, inside] == mean[:, None]).all()
    rng, erase = random.Random(0), EraseSecond(0.5, (10, 20), most=3)
    drawn = [erase.draw(sample, rng) for _ in range(3000)]
    assert 0.47 < drawn.count(None) / 3000 < 0.53
    assert {len(one) for one in drawn if one} == {1, 2, 3}
    assert {window.height for one in drawn if one for window in one} == set(range(10, 21))


def test_pairs_are_resized_and_cut_with_their_flow() -> None:
    crop, rng = FlowResizeCrop((32, 48), -0.2, 0.5), random.Random(0)
    sizes = []
    for _ in range(400):
        drawn = crop.draw(pair(), rng)
        (height, width), (top, left, h, w) = drawn
        assert (h, w) == (32, 48)
        assert 0 <= top <= height - 32
        assert 0 <= left <= width - 48
        sizes.append((height, width))
    assert max(height for height, _ in sizes) > 40 * 2**0.5  # stretched beyond the scale
    assert 60 < sizes.count((40, 60)) < 110  # a fifth is not resized
    found = crop(pair(), rng)
    assert found.size == (32, 48)
    assert found.flow.shape == (2, 32, 48)
    small = crop(pair(10, 100), rng)
    assert small.size == (32, 48)


# Clips ----------------------------------------------------------------------------------------------------------------


def test_frames_are_drawn_from_anywhere() -> None:
    rng = random.Random(0)
    firsts = Counter(draw_frames(20, 4, 3, rng)[0] for _ in range(2200))
    assert set(firsts) == set(range(11))
    assert all(150 < count < 250 for count in firsts.values())
    assert draw_frames(10, 4, 3, rng) == [0, 3, 6, 9]
    assert draw_frames(5, 4, 3, rng) == [0, 3, 4, 4]
    assert draw_frames(1, 3, 1, rng) == [0, 0, 0]
    assert evenly_spaced(10, 4) == [0, 3, 6, 9]
    assert evenly_spaced(3, 5) == [0, 0, 1, 1, 2]
    with pytest.raises(ValueError, match="must be positive, got 0, 3 and 1"):
        draw_frames(0, 3, 1, rng)


def test_a_clip_is_taken_from_a_longer_one() -> None:
    clip = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 2, 2)
    found = TemporalSampling(3, 2)(Sample(clip), random.Random(0)).image
    assert found.shape == (3, 3, 2, 2)
    assert found[:, 0, 0, 0].diff().tolist() == [2, 2]
    even = TemporalSampling(4, 0)(Sample(clip), random.Random(0)).image
    assert even[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    with pytest.raises(TypeError, match="takes clips"):
        TemporalSampling(3)(pair(), random.Random(0))


# What recipes name ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA_AUGMENTATIONS)
def test_detection(name: str) -> None:
    augment = pickle.loads(
        pickle.dumps(detection(data_augmentation=name, train_size=64, min_size=(20, 30), max_size=50))
    )
    sample = plain((10, 20, 30), [(0, 0, 4, 4), (4, 4, 10, 10), (12, 0, 16, 12)])
    for index in range(12):
        found = augment(sample, generator(0, "sample", 0, index))
        assert found.image.dtype == torch.float32
        assert found.image.shape[0] == 3
        assert 0 <= found.image.min() <= found.image.max() <= 1
        if name == "lsj":
            assert found.size == (64, 64)
        if name == "multiscale":
            assert min(found.size) in (20, 30)
        assert len(found.boxes) == len(found.masks) == len(found.labels)
        again = augment(sample, generator(0, "sample", 0, index))
        assert torch.equal(found.image, again.image)
        assert torch.equal(found.boxes, again.boxes)
    empty = augment(plain((1, 2, 3), []), generator(0, "sample", 0, 0))
    assert empty.boxes.shape == (0, 4)
    assert empty.masks.shape == (0, *empty.size)


def test_segmentation() -> None:
    augment = segmentation(base_size=30, crop_size=24, color_jitter=0.2)
    labels = torch.arange(12 * 16, dtype=torch.uint8).view(12, 16) % 21
    padded = 0
    for index in range(30):
        found = augment(Sample(plain((255, 255, 255), []).image, label_map=labels), generator(0, "sample", 0, index))
        assert found.image.shape == (3, 24, 24)
        assert found.label_map.shape == (24, 24)
        assert set(found.label_map.unique().tolist()) <= {*range(21), 255}
        padded += bool((found.label_map == 255).any())
    assert 0 < padded < 30


def test_video() -> None:
    augment = video(train_resize_size=(20, 26), train_crop_size=16, color_jitter=(0.2, 0.2))
    still = torch.randint(0, 256, (1, 3, 30, 40), dtype=torch.uint8).expand(5, 3, 30, 40)
    found = augment(Sample(still, label=2), generator(0, "sample", 0, 0))
    assert found.image.shape == (3, 5, 16, 16)
    assert found.label == 2
    for frame in range(1, 5):  # all frames alike
        assert torch.equal(found.image[:, frame], found.image[:, 0])


@pytest.mark.parametrize("auto_augment", ["ra", "ta_wide", "augmix", "imagenet"])
def test_policies_change_all_frames_of_a_clip_alike(auto_augment: str) -> None:
    augment = video(train_crop_size=16, scale=(0.3, 1.0), auto_augment=auto_augment, random_erase=1.0)
    still = torch.randint(0, 256, (1, 3, 30, 40), dtype=torch.uint8).expand(4, 3, 30, 40)
    seen = set()
    for index in range(6):
        found = augment(Sample(still), generator(0, "sample", 0, index)).image
        assert found.shape == (3, 4, 16, 16)
        assert torch.equal(found, found[:, :1].expand_as(found))
        seen.add(float(found.sum()))
    assert len(seen) == 6


def test_flow() -> None:
    augment = flow(crop_size=(32, 40))
    sparse = pair().flow.masked_fill(torch.rand(40, 60) < 0.7, torch.nan)
    for sample in (pair(), pair().replace(flow=sparse)):
        found = augment(sample, generator(0, "sample", 0, 1))
        assert found.image.shape == found.second.shape == (3, 32, 40)
        assert found.image.min() >= -1
        assert found.image.max() <= 1
        assert bool(found.flow.isnan().any()) == bool(sample.flow.isnan().any())


def test_an_unknown_augmentation_is_named() -> None:
    with pytest.raises(ValueError, match="no 'flip': expected one of hflip, lsj, multiscale, ssd, ssdlite"):
        detection(data_augmentation="flip")
