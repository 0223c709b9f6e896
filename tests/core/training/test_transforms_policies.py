"""Policies: what is drawn, how often, and how strong; operations against their definitions."""

import random
from collections import Counter

import pytest
import torch
from PIL import Image

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.transforms import AugMix, AutoAugment, RandAugment, Sample, TrivialAugmentWide
from zoo_core.training.transforms.policies import Mixture, Operation, apply_operation
from zoo_core.training.transforms.policy_tables import POLICIES

NOISE = to_pil_image(torch.randint(0, 256, (3, 20, 30), generator=torch.Generator().manual_seed(1), dtype=torch.uint8))
NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR


def pixels(image: Image.Image) -> torch.Tensor:
    return pil_to_tensor(image)


@pytest.mark.parametrize("fill", [0, (1, 2, 3)])
@pytest.mark.parametrize("resample", [NEAREST, BILINEAR])
def test_translation_moves_pixels_to_the_right_and_down(resample: Image.Resampling, fill: object) -> None:
    level = torch.tensor(fill if isinstance(fill, tuple) else (fill,) * 3, dtype=torch.uint8).view(3, 1, 1)
    right = pixels(apply_operation(NOISE, Operation("TranslateX", 4.9), resample, fill))
    assert torch.equal(right[..., 4:], pixels(NOISE)[..., :-4])
    assert (right[..., :4] == level).all()
    up = pixels(apply_operation(NOISE, Operation("TranslateY", -3), resample, fill))
    assert torch.equal(up[:, :-3], pixels(NOISE)[:, 3:])
    assert (up[:, -3:] == level).all()


def test_shear_moves_rows_by_their_number() -> None:
    sheared = pixels(apply_operation(NOISE, Operation("ShearX", 1.0)))
    for row in range(20):  # pixel (x, y) comes from (x + y, y)
        assert torch.equal(sheared[:, row, : 29 - row], pixels(NOISE)[:, row, row + 1 :][..., : 29 - row])


def test_rotation_is_counter_clockwise() -> None:
    square = NOISE.crop((0, 0, 20, 20))
    assert apply_operation(square, Operation("Rotate", 90)) == square.transpose(Image.Transpose.ROTATE_90)


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(ValueError, match="there is no operation 'Twist'"):
        apply_operation(NOISE, Operation("Twist"))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5)])
@pytest.mark.parametrize(
    "policy",
    [
        AutoAugment("imagenet"),
        AutoAugment("cifar10"),
        AutoAugment("svhn"),
        RandAugment(),
        TrivialAugmentWide(),
        AugMix(),
    ],
    ids=repr,
)
def test_every_policy_takes_images_of_every_size(policy: object, size: tuple[int, int], mode: str) -> None:
    image = Image.new("RGB", size, (200, 30, 90)).convert(mode)
    for seed in range(60):
        changed = policy(Sample(image, label=3), random.Random(seed))
        assert changed.image.size == size
        assert changed.image.mode == mode
        assert changed.label == 3


def test_trivial_augment_draws_every_operation_strength_and_sign_alike() -> None:
    rng, policy, sample = random.Random(0), TrivialAugmentWide(), Sample(NOISE)
    drawn = [policy.draw(sample, rng)[0] for _ in range(14_000)]
    names = Counter(operation.name for operation in drawn)
    assert len(names) == 14
    assert all(850 < count < 1150 for count in names.values())
    degrees = Counter(round(operation.magnitude, 3) for operation in drawn if operation.name == "Rotate")
    assert len(degrees) == 61  # 30 each way, and none
    assert max(degrees) == 135
    assert {operation.magnitude for operation in drawn if operation.name == "Posterize"} == {2, 3, 4, 5, 6, 7, 8}
    assert max(operation.magnitude for operation in drawn if operation.name == "TranslateX") == 32


def test_rand_augment_has_one_strength() -> None:
    rng, policy, sample = random.Random(0), RandAugment(num_ops=3, magnitude=15), Sample(NOISE)
    drawn = [policy.draw(sample, rng) for _ in range(2000)]
    assert {len(one) for one in drawn} == {3}
    found = {
        name: {round(abs(o.magnitude), 4) for one in drawn for o in one if o.name == name}
        for name in ("Rotate", "ShearX", "Color", "Solarize", "Posterize")
    }
    assert found == {"Rotate": {15.0}, "ShearX": {0.15}, "Color": {0.45}, "Solarize": {127.5}, "Posterize": {6.0}}
    assert (
        0.47
        < sum(o.magnitude > 0 for one in drawn for o in one if o.name == "Rotate")
        / sum(o.name == "Rotate" for one in drawn for o in one)
        < 0.53
    )


@pytest.mark.parametrize("name", POLICIES)
def test_auto_augment_takes_pairs_with_their_probabilities(name: str) -> None:
    assert len(POLICIES[name]) == 25
    rng, policy, sample = random.Random(0), AutoAugment(name), Sample(NOISE)
    drawn = [policy.draw(sample, rng) for _ in range(20_000)]
    counts = Counter(operation.name for one in drawn for operation in one)
    expected: Counter[str] = Counter()
    for pair in POLICIES[name]:
        for operation, p, _ in pair:
            expected[operation] += p / 25
    assert set(counts) == {operation for operation in expected if expected[operation]}
    for operation, count in counts.items():
        assert abs(count / len(drawn) - expected[operation]) < 0.02


def test_augmix_weighs_chains_that_add_up() -> None:
    rng, sample = random.Random(0), Sample(NOISE)
    policy = AugMix(severity=10, mixture_width=4)
    drawn = [policy.draw(sample, rng) for _ in range(1500)]
    for mixture in drawn:
        assert mixture.original + sum(weight for weight, _ in mixture.chains) == pytest.approx(1)
    assert abs(sum(mixture.original for mixture in drawn) / len(drawn) - 0.5) < 0.03
    depths = Counter(len(operations) for mixture in drawn for _, operations in mixture.chains)
    assert set(depths) == {1, 2, 3}
    assert all(1800 < count < 2200 for count in depths.values())
    assert {len(operations) for _ in range(20) for _, operations in AugMix(chain_depth=5).draw(sample, rng).chains} == {
        5
    }
    names = {o.name for _ in range(200) for _, chain in AugMix(all_ops=False).draw(sample, rng).chains for o in chain}
    assert names == {
        *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
        *("Posterize", "Solarize", "AutoContrast", "Equalize"),
    }


def test_augmix_is_the_weighted_sum() -> None:
    chains = ((0.5, (Operation("Invert"), Operation("TranslateX", 5))), (0.2, (Operation("Solarize", 100),)))
    found = AugMix().apply(Sample(NOISE), Mixture(0.3, chains)).image
    parts = [0.3 * pixels(NOISE).double()]
    for weight, operations in chains:
        image = NOISE
        for operation in operations:
            image = apply_operation(image, operation, BILINEAR)
        parts.append(weight * pixels(image).double())
    assert (pixels(found).double() - sum(parts)).abs().max() <= 0.501
    same = AugMix().apply(Sample(NOISE), Mixture(0.25, ((0.35, ()), (0.4, (Operation("Identity"),)))))
    assert same.image == NOISE


def test_policies_refuse_what_they_cannot_move() -> None:
    boxes = Sample(NOISE, boxes=torch.tensor([[1.0, 2, 3, 4]]), labels=torch.tensor([1]))
    with pytest.raises(ValueError, match="TrivialAugmentWide moves pixels, but not the boxes"):
        TrivialAugmentWide()(boxes, random.Random(0))
    with pytest.raises(TypeError, match="put it before ToTensor"):
        AugMix()(Sample(pixels(NOISE).float()), random.Random(0))
    with pytest.raises(ValueError, match="no policy 'imagnet': expected one of imagenet, cifar10, svhn"):
        AutoAugment("imagnet")
    with pytest.raises(ValueError, match=r"magnitude must lie in 0\.\.30, got 31"):
        RandAugment(magnitude=31)
    with pytest.raises(ValueError, match=r"severity must lie in 1\.\.10, got 0"):
        AugMix(severity=0)
