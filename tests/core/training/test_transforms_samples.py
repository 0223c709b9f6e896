"""Samples, and transforms put together."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from zoo_core.images import to_pil_image
from zoo_core.training import transforms
from zoo_core.training.randomness import generator
from zoo_core.training.transforms import (
    Compose,
    RandomApply,
    RandomChoice,
    RandomGrayscale,
    RandomHorizontalFlip,
    Resize,
    Sample,
)
from zoo_core.training.transforms.pipelines import AUTO_AUGMENTS, classification

NOISE = to_pil_image(torch.randint(0, 256, (3, 40, 50), generator=torch.Generator().manual_seed(1), dtype=torch.uint8))


@pytest.mark.parametrize("mode", ["P", "1", "LA", "RGBA", "CMYK", "I;16"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = Image.new(mode, (4, 3)) if mode == "I;16" else NOISE.convert(mode)
    assert Sample(image).image.mode == "RGB"
    assert Sample(Image.new("L", (4, 3))).image.mode == "L"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"masks": torch.zeros(2, 9, 50), "boxes": torch.zeros(2, 4)}, "masks: of 50 x 9 pixels, .* has 50 x 40"),
        ({"label_map": torch.zeros(50, 40)}, "label_map: of 40 x 50 pixels"),
        ({"flow": torch.zeros(2, 1, 1)}, "flow: of 1 x 1 pixels"),
        ({"boxes": torch.zeros(2, 4), "labels": torch.zeros(3)}, "different numbers of instances: .*'labels': 3"),
        ({"second": Image.new("RGB", (4, 4))}, "two images must have one size"),
    ],
)
def test_truth_that_does_not_fit_is_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sample(NOISE, **values)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a PIL image or a tensor, got str"):
        Sample("photo.jpg")
    with pytest.raises(ValueError, match="the image is empty: 0 x 3"):
        Sample(Image.new("RGB", (0, 3)))
    with pytest.raises(ValueError, match="no defined range"):
        Sample(Image.new("F", (2, 2)))


def test_transforms_are_put_together() -> None:
    rng = random.Random(0)
    chain = Compose([Resize((8, 9)), RandomApply(RandomGrayscale(1.0), 0.5), RandomHorizontalFlip(0.0)])
    grey = sum(
        chain(Sample(NOISE), rng).image.getextrema()
        == RandomGrayscale(1.0)(Resize((8, 9))(Sample(NOISE), rng), rng).image.getextrema()
        for _ in range(400)
    )
    assert 160 < grey < 240
    sizes = [RandomChoice([Resize((1, 1)), Resize((2, 2))], (1, 3))(Sample(NOISE), rng).size for _ in range(400)]
    assert 60 < sizes.count((1, 1)) < 140
    assert "Resize(" in repr(chain)
    assert "p=0.5" in repr(chain)
    for wrong in ([], [Resize(3)]):
        with pytest.raises(ValueError, match="expected transforms, and a weight for each"):
            RandomChoice(wrong, (1.0, 2.0))
    with pytest.raises(ValueError, match=r"probability in \[0, 1\], got 1.5"):
        RandomHorizontalFlip(1.5)


@pytest.mark.parametrize("auto_augment", [None, *AUTO_AUGMENTS])
def test_classification_is_a_function_of_seed_epoch_and_sample(auto_augment: str | None) -> None:
    augment = classification(
        train_crop_size=24, auto_augment=auto_augment, random_erase=0.5, color_jitter=(0.4, 0.4, 0.4, 0.1), vflip=0.1
    )
    augment = pickle.loads(pickle.dumps(augment))
    random.seed(1)
    torch.manual_seed(1)
    first = [augment(Sample(NOISE, label=4), generator(0, "sample", 0, index)) for index in range(8)]
    torch.manual_seed(2)
    random.seed(2)
    before = random.getstate(), torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        again = list(
            pool.map(lambda index: augment(Sample(NOISE, label=4), generator(0, "sample", 0, index)), range(8))
        )
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    for one, other in zip(first, again, strict=True):
        assert one.image.shape == (3, 24, 24)
        assert one.image.dtype == torch.float32
        assert one.label == 4
        assert torch.equal(one.image, other.image)
    assert not torch.equal(first[0].image, augment(Sample(NOISE), generator(0, "sample", 1, 0)).image)


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="no policy 'tawide': expected one of ta_wide, ra, augmix, imagenet"):
        classification(auto_augment="tawide")


def test_the_package_offers_what_its_modules_do() -> None:
    assert all(hasattr(transforms, name) for name in transforms.__all__)
