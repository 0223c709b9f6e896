"""RoIAlign over the levels of a pyramid: each region is pooled from the level that its size asks for."""

import math

import pytest
import torch
from torch import Tensor

from zoo_detection.ops import MultiScaleRoIAlign, RoIAlign, roi_align

pytestmark = pytest.mark.usefixtures("implementation")


def random_input(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_symbolic_traces_are_equal_and_keep_the_operators_whole() -> None:
    class Pools(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = RoIAlign((3, 2), 0.5, 2)
            self.several = MultiScaleRoIAlign(["a", "b"], (3, 2), 2, canonical_scale=14)

        def forward(
            self, x: Tensor, boxes: list[Tensor], image_shapes: list[tuple[int, int]]
        ) -> tuple[Tensor, Tensor, Tensor]:
            y = x.relu()
            several = self.several({"a": y, "b": y[:, :, ::2, ::2]}, boxes, image_shapes)
            return self.one(y, boxes), several, roi_align(y, boxes, 2, spatial_scale=0.25)

    model = Pools()
    traced = torch.fx.symbolic_trace(model)
    x, boxes = random_input(2, 3, 16, 20), [torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([[2.0, 2, 20, 20]] * 2)]
    for size in ((64, 80), (32, 40)):
        for found, expected in zip(traced(x, boxes, [size] * 2), model(x, boxes, [size] * 2), strict=True):
            assert torch.equal(found, expected)
    alone = torch.fx.symbolic_trace(model.several)
    maps = {"a": x, "b": x[:, :, ::2, ::2]}
    assert torch.equal(alone(maps, boxes, [(64, 80)] * 2), model.several(maps, boxes, [(64, 80)] * 2))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_calls_find_the_scales_of_their_own_images(dynamic: bool) -> None:
    """Whatever an eager call found before."""
    pool = MultiScaleRoIAlign(["0", "1"], 2, 2, canonical_scale=28)

    def run(maps: dict[str, Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        return pool(maps, [boxes], [image.shape[-2:]])

    maps = {"0": random_input(1, 2, 32, 40), "1": random_input(1, 2, 16, 20)}
    boxes = torch.tensor([[1.0, 2, 30, 25], [3, 3, 9, 9], [0, 0, 100, 90]])
    run(maps, boxes, torch.empty(128, 160))
    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, dynamic=dynamic, backend="eager")
    for height, width in ((64, 80), (128, 160), (256, 320)):
        image = torch.empty(height, width)
        torch.testing.assert_close(compiled(maps, boxes, image), run(maps, boxes, image))


def pyramid(batch: int = 2, channels: int = 6, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    sizes = {"0": (64, 80), "1": (32, 40), "2": (16, 20), "3": (8, 10)}
    maps = {
        name: random_input(batch, channels, *size, dtype=dtype, seed=i) for i, (name, size) in enumerate(sizes.items())
    }
    return {**maps, "pool": torch.full((batch, channels, 4, 5), math.nan)}


IMAGE_SHAPES = [(256, 300), (250, 320)]


def boxes_of_every_size() -> list[Tensor]:
    """For canonical scale 56 and level 4: on level 2 below 28 pixels, 3 below 56, 4 below 112, 5 from there."""
    small = [[10.0, 20, 20, 30], [0, 0, 27, 28], [3, 3, 3, 3]]
    return [
        torch.tensor([[0.0, 0, 28, 28], [100, 100, 200, 220], *small]),
        torch.tensor([[0.0, 0, 56, 56], [0, 0, 55.9, 55.9], [10, 5, 300, 240], [0, 0, 112, 112]]),
    ]


EXPECTED_LEVELS = [1, 2, 0, 0, 0, 2, 1, 3, 3]


def test_each_region_comes_from_its_level() -> None:
    features = pyramid()
    boxes = boxes_of_every_size()
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], (3, 2), 2, canonical_scale=56)
    pooled = pool(features, boxes, IMAGE_SHAPES)
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    rois = torch.cat([torch.cat((torch.full((len(b), 1), float(i)), b), 1) for i, b in enumerate(boxes)])
    for i, level in enumerate(EXPECTED_LEVELS):
        expected = roi_align(features[str(level)], rois[i : i + 1], (3, 2), 0.25 / 2**level, 2)
        torch.testing.assert_close(pooled[i], expected[0])


def test_multiscale_gradient(implementation: str) -> None:
    features = {k: v.requires_grad_() for k, v in pyramid(channels=2, dtype=torch.float64).items() if k != "pool"}
    boxes = [b.double() for b in boxes_of_every_size()]
    pool = MultiScaleRoIAlign(list(features), 2, 2, canonical_scale=56)

    def function(*maps: Tensor) -> Tensor:
        return pool(dict(zip(features, maps, strict=True)), boxes, IMAGE_SHAPES)

    in_any_order = 1e-12 if implementation == "cuda" else 0.0
    assert torch.autograd.gradcheck(function, tuple(features.values()), fast_mode=True, nondet_tol=in_any_order)
    assert torch.autograd.gradgradcheck(function, tuple(features.values()), fast_mode=True, nondet_tol=in_any_order)


def test_one_level_and_missing_levels() -> None:
    features = pyramid()
    boxes = boxes_of_every_size()
    pooled = MultiScaleRoIAlign(["1", "not there"], 2, 2)(features, boxes, IMAGE_SHAPES)
    assert torch.equal(pooled, roi_align(features["1"], boxes, 2, 1 / 8, 2))
    with pytest.raises(ValueError, match=r"none of the feature maps \['a'\]"):
        MultiScaleRoIAlign(["a"], 2, 2)(features, boxes, IMAGE_SHAPES)
    with pytest.raises(ValueError, match="does not have one scale"):
        MultiScaleRoIAlign(["0"], 2, 2)(features, boxes, [(256, 700)])
    # Convolutions without padding, as Inception's, leave less than a fourth of 96 pixels: the nearest scale serves.
    small, box = torch.rand(1, 3, 20, 20), [torch.tensor([[8.0, 12.0, 60.0, 72.0]])]
    pooled = MultiScaleRoIAlign(["0"], 2, 2)({"0": small}, box, [(96, 96)])
    assert torch.equal(pooled, roi_align(small, box, 2, 1 / 4, 2))
    with pytest.raises(ValueError, match="image_shapes is empty"):
        MultiScaleRoIAlign(["0"], 2, 2)(features, boxes, [])
    assert MultiScaleRoIAlign(["0", "1"], 2, 2)(features, [torch.zeros(0, 4)] * 2, IMAGE_SHAPES).shape == (0, 6, 2, 2)


@pytest.mark.parametrize("turned", [False, True])
def test_scales_of_long_thin_images(turned: bool) -> None:
    """Padding to 32 pixels makes the short side of the map far more than a quarter of the image's."""
    height, width = 66, 1333
    x = torch.randn(1, 1, 96 // 4, 1344 // 4)
    box = torch.tensor([[400.0, 10, 900, 60]])
    expected = roi_align(x, [box], 2, 0.25, 2)
    if turned:
        height, width, x, box, expected = width, height, x.mT, box[:, [1, 0, 3, 2]], expected.mT
    pool = MultiScaleRoIAlign(["0"], 2, 2)
    torch.testing.assert_close(pool({"0": x}, [box], [(height, width)]), expected)
    assert pool.scales == [0.25]


def test_multiscale_wrong_levels(implementation: str) -> None:
    arguments = [torch.zeros(1, 1, 4, 4)], torch.zeros(1, 5), torch.tensor([1]), [1.0], 2, 2, 2, False
    if implementation == "cuda":
        assert torch.ops.zoo.multiscale_roi_align(*arguments).isnan().all()
    else:
        with pytest.raises(RuntimeError, match="level"):
            torch.ops.zoo.multiscale_roi_align(*arguments)


def test_multiscale_export_and_compile() -> None:
    features = pyramid()
    boxes = boxes_of_every_size()
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], (3, 2), 2, canonical_scale=56)

    class Model(torch.nn.Module):
        def forward(self, features: dict[str, Tensor], boxes: list[Tensor]) -> Tensor:
            return pool(features, boxes, IMAGE_SHAPES)

    model = Model()
    expected = model(features, boxes)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, boxes), expected)
    count = torch.export.Dim("count", min=1, max=1000)
    other = torch.export.Dim("other", min=1, max=1000)
    program = torch.export.export(
        model, (features, boxes), dynamic_shapes=(dict.fromkeys(features), [{0: count}, {0: other}])
    )
    torch.testing.assert_close(program.module()(features, boxes), expected)
    more = [torch.cat((boxes[0], boxes[1])), boxes[1][:2]]
    torch.testing.assert_close(program.module()(features, more), model(features, more))
