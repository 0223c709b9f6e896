"""RoIAlign against loops in Python and against values worked out by hand."""

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from zoo_detection.ops import MultiScaleRoIAlign, RoIAlign, _fallback, _library, roi_align

pytestmark = pytest.mark.usefixtures("implementation")


def bilinear(plane: list[list[float]], y: float, x: float) -> float:
    height, width = len(plane), len(plane[0])
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy = y - top if top < height - 1 else 0.0
    dx = x - left if left < width - 1 else 0.0
    return (
        plane[top][left] * (1 - dy) * (1 - dx)
        + plane[top][right] * (1 - dy) * dx
        + plane[bottom][left] * dy * (1 - dx)
        + plane[bottom][right] * dy * dx
    )


def reference(input: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    """Sample by sample, in double precision."""
    result = torch.zeros(len(rois), input.shape[1], *size, dtype=torch.float64)
    planes = input.double().tolist()
    for k, (image, *sides) in enumerate(rois.double().tolist()):
        x1, y1, x2, y2 = (side * scale - (0.5 if aligned else 0.0) for side in sides)
        roi_h, roi_w = y2 - y1, x2 - x1
        if not aligned:
            roi_h, roi_w = max(roi_h, 1.0), max(roi_w, 1.0)
        bin_h, bin_w = roi_h / size[0], roi_w / size[1]
        grid_h = ratio if ratio > 0 else math.ceil(bin_h)
        grid_w = ratio if ratio > 0 else math.ceil(bin_w)
        if grid_h <= 0 or grid_w <= 0:
            continue
        for c, p, q in itertools.product(range(input.shape[1]), range(size[0]), range(size[1])):
            total = 0.0
            for i, j in itertools.product(range(grid_h), range(grid_w)):
                y = y1 + p * bin_h + (i + 0.5) * bin_h / grid_h
                x = x1 + q * bin_w + (j + 0.5) * bin_w / grid_w
                total += bilinear(planes[int(image)][c], y, x)
            result[k, c, p, q] = total / (grid_h * grid_w)
    return result


def random_rois(
    count: int, batch: int, height: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Also beyond the image, empty, and inverted. Multiples of 1/8, which scale exactly."""
    g = torch.Generator().manual_seed(seed)
    extent = torch.tensor([width, height])
    corner = torch.rand(count, 2, generator=g) * extent * 1.4 - 0.2 * extent
    size = torch.rand(count, 2, generator=g) * extent * 0.8 - 0.1 * extent
    sides = (torch.cat((corner, corner + size), 1) * 8).round() / 8
    sides[0, 2:] = sides[0, :2]
    return torch.cat((torch.randint(0, batch, (count, 1), generator=g), sides), 1).to(dtype)


def random_input(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def test_constant_and_linear_features() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    input = torch.stack((torch.full_like(y, 7), y, x))[None]
    # A region from (2, 3) to (10, 9), in two by four bins of 3 x 2 pixels, far from the border: bilinear interpolation
    # of a linear function is exact, so each bin has the value at its centre.
    pooled = roi_align(input, [torch.tensor([[2.0, 3, 10, 9]])], (2, 4), 1.0, 3)
    assert pooled.shape == (1, 3, 2, 4)
    torch.testing.assert_close(pooled[0, 0], torch.full((2, 4), 7.0))
    torch.testing.assert_close(pooled[0, 1], torch.tensor([4.5, 7.5])[:, None].expand(2, 4))
    torch.testing.assert_close(pooled[0, 2], torch.tensor([3.0, 5, 7, 9]).expand(2, 4))
    # With aligned pixel centres lie at half-integer coordinates.
    pooled = roi_align(input, [torch.tensor([[2.0, 3, 10, 9]])], (2, 4), 1.0, 3, aligned=True)
    torch.testing.assert_close(pooled[0, 1], torch.tensor([4.0, 7.0])[:, None].expand(2, 4))
    torch.testing.assert_close(pooled[0, 2], torch.tensor([2.5, 4.5, 6.5, 8.5]).expand(2, 4))


@pytest.mark.parametrize(("aligned", "expected"), [(False, [1.0, 3.0]), (True, [0.5, 2.5])])
def test_two_bins_by_hand(aligned: bool, expected: list[float]) -> None:
    """The example in the documentation of roi_align."""
    x = torch.arange(4.0).expand(1, 1, 2, 4)
    found = roi_align(x, torch.tensor([[0.0, 0, 0, 4, 2]]), (1, 2), sampling_ratio=1, aligned=aligned)
    assert found.flatten().tolist() == expected


def test_one_sample_by_hand() -> None:
    input = torch.tensor([[1.0, 2.0], [3.0, 5.0]])[None, None]
    # The sample is the region's centre (0.25, 0.5).
    pooled = roi_align(input, torch.tensor([[0.0, -0.25, 0.0, 0.75, 1.0]]), 1, 1.0, 1)
    assert pooled.item() == pytest.approx(0.5 * (0.75 * 1 + 0.25 * 2) + 0.5 * (0.75 * 3 + 0.25 * 5))
    # One pixel outside counts as the border, farther out as nothing.
    for x, expected in ((-1.0, 2.0), (-1.001, 0.0), (2.0, 3.5), (2.001, 0.0)):
        box = torch.tensor([[0, x - 0.5, 0, x + 0.5, 1]], dtype=torch.float64)
        pooled = roi_align(input.double(), box, 1, 1.0, 1)
        assert pooled.item() == pytest.approx(expected), x


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(
    ("shape", "count", "size"),
    [((2, 3, 9, 11), 12, (7, 7)), ((1, 17, 13, 8), 4, (2, 3)), ((3, 2, 5, 5), 30, (1, 1)), ((1, 1, 1, 1), 5, (2, 2))],
)
def test_random(
    shape: tuple[int, int, int, int], count: int, size: tuple[int, int], dtype: torch.dtype, ratio: int, aligned: bool
) -> None:
    input = random_input(*shape, dtype=dtype)
    rois = random_rois(count, shape[0], shape[2] * 4, shape[3] * 4)
    # Where a region's size in bins is a whole number, rounding would decide about the number of samples.
    rois[:, 3:] += 1 / 64
    if dtype in (torch.float32, torch.float64):
        rois = rois.to(dtype)
    expected = reference(input, rois, size, 0.25, ratio, aligned)
    pooled = roi_align(input, rois, size, 0.25, ratio, aligned)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.double(), expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 63, 64, 65, 100, 130])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "expanded"])
def test_channels_and_layouts(channels: int, layout: str) -> None:
    """Blocks of 64 and of 16 channels and what is left over; few regions and many, so that windows or all is packed."""
    base = random_input(2, channels, 12, 10)
    input = {
        "contiguous": base,
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "strided": torch.stack((base, base), -1).flatten(3)[..., ::2],
        "expanded": base[:, :1].expand(-1, channels, -1, -1),
    }[layout]
    for count in (1, 40):
        rois = random_rois(count, 2, 48, 40)
        expected = roi_align(input.contiguous().double(), rois.double(), 3, 0.25, 2).float()
        pooled = roi_align(input, rois, 3, 0.25, 2)
        torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-5)
        channels_last = layout == "channels_last" and channels > 1
        assert pooled.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        alone = [roi_align(input[:, c : c + 1], rois, 3, 0.25, 2) for c in (0, channels // 2, channels - 1)]
        torch.testing.assert_close(pooled[:, [0, channels // 2, channels - 1]], torch.cat(alone, 1), rtol=0, atol=1e-5)


def test_rois_of_any_strides_and_as_a_list() -> None:
    input = random_input(3, 4, 10, 10)
    rois = random_rois(9, 3, 40, 40)
    rois = rois[rois[:, 0].argsort(stable=True)]
    expected = roi_align(input, rois, (2, 3), 0.25, 2)
    assert torch.equal(roi_align(input, rois.t().contiguous().t(), (2, 3), 0.25, 2), expected)
    boxes = [rois[rois[:, 0] == i, 1:] for i in range(3)]
    assert torch.equal(roi_align(input, boxes, (2, 3), 0.25, 2), expected)
    assert torch.equal(RoIAlign((2, 3), 0.25, 2)(input, boxes), expected)
    assert repr(RoIAlign(7, 0.25, 2)) == "RoIAlign(output_size=7, spatial_scale=0.25, sampling_ratio=2, aligned=False)"


def test_nothing_to_pool() -> None:
    input = random_input(2, 5, 8, 8).requires_grad_()
    pooled = roi_align(input, [torch.zeros(0, 4), torch.zeros(0, 4)], 7)
    assert pooled.shape == (0, 5, 7, 7)
    pooled.sum().backward()
    assert torch.equal(input.grad, torch.zeros(2, 5, 8, 8))  # type: ignore[arg-type]
    assert roi_align(torch.zeros(2, 0, 8, 8), torch.zeros(3, 5), 7).shape == (3, 0, 7, 7)
    assert roi_align(torch.zeros(0, 4, 8, 8), [], 7).shape == (0, 4, 7, 7)


@pytest.mark.parametrize("ratio", [0, 2])
def test_regions_outside_degenerate_and_not_finite(ratio: int) -> None:
    input = random_input(1, 3, 6, 6) + 10
    inf, nan = math.inf, math.nan
    outside = torch.tensor([[100.0, 100, 120, 120], [-50, -50, -20, -20], [0, -1e30, 6, -1e29]])
    bad = torch.tensor([[nan, 0, 5, 5], [0, 0, inf, 5], [0, -inf, 5, 5], [-inf, -inf, inf, inf], [0, 0, 5, nan]])
    for boxes in (outside, bad):
        for aligned in (False, True):
            pooled = roi_align(input, [boxes], 2, 1.0, ratio, aligned)
            assert torch.equal(pooled, torch.zeros(len(boxes), 3, 2, 2))
    # Aligned regions may be empty; others are a pixel large at least.
    empty = torch.tensor([[2.0, 2, 2, 2], [4, 4, 2, 2]])
    assert roi_align(input, [empty], 2, 1.0, 0).abs().min() > 5
    assert torch.equal(roi_align(input, [empty], 2, 1.0, 0, aligned=True), torch.zeros(2, 3, 2, 2))


def test_a_region_far_larger_than_the_map() -> None:
    # Adaptive sampling takes a million samples per bin, of which a few lie in the map.
    input = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    box = torch.tensor([[-1e6, -1e6, 1e6, 1e6]], dtype=torch.float64)
    pooled = roi_align(input, [box], 1, 1.0, 0)
    # Those in [-1, 4] along each axis: 5 or 6 of 2e6 (samples lie 1 apart).
    assert 25 <= pooled.item() * 4e12 <= 36.001
    huge = torch.tensor([[-1e30, -1e30, 1e30, 1e30]])
    assert roi_align(torch.ones(1, 1, 4, 4), [huge], 2, 1.0, 0).isfinite().all()


def test_infinite_features_spread_only_to_where_they_are_read() -> None:
    input = torch.ones(1, 20, 10, 10)
    input[:, :, 0, 0] = math.inf
    boxes = torch.tensor([[0.0, 0, 2, 2], [5, 5, 9, 9]])
    pooled = roi_align(input, [boxes], 2, 1.0, 2)
    assert pooled[0].isinf().any()
    assert torch.equal(pooled[1], torch.ones(20, 2, 2))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradient(aligned: bool, ratio: int, channels_last: bool) -> None:
    input = random_input(2, 3, 5, 6, dtype=torch.float64)
    if channels_last:
        input = input.contiguous(memory_format=torch.channels_last)
    rois = random_rois(5, 2, 20, 24, dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        return roi_align(x, rois, (2, 3), 0.25, ratio, aligned)

    assert torch.autograd.gradcheck(function, input.requires_grad_())
    assert torch.autograd.gradgradcheck(function, input, fast_mode=True)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("channels", [3, 80])
def test_gradient_is_the_transpose(dtype: torch.dtype, channels: int) -> None:
    """<grad, pool(x)> = <pool'(grad), x>, for any strides of the gradient."""
    rois = random_rois(30, 2, 80, 96)
    if dtype in (torch.float32, torch.float64):
        rois = rois.to(dtype)
    x = random_input(2, channels, 20, 24, dtype=dtype).requires_grad_()
    pooled = roi_align(x, rois, 3, 0.25, 2)
    base = random_input(*pooled.shape, seed=1, dtype=dtype)
    for grad in (base, base.contiguous(memory_format=torch.channels_last), base[:1, :1].expand_as(base)):
        (got,) = torch.autograd.grad(pooled, x, grad, retain_graph=True)
        assert got.dtype == dtype
        wide = x.detach().double().requires_grad_()
        (expected,) = torch.autograd.grad(roi_align(wide, rois.double(), 3, 0.25, 2), wide, grad.double())
        scale = expected.abs().max().item()
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE[dtype] * max(1.0, scale))


@pytest.mark.parametrize("deterministic", [False, True])
def test_kernels_that_add_in_any_order_give_way_to_deterministic_algorithms(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    """As on CUDA, but on the CPU."""
    called = []

    def recorded(name: str) -> Callable[..., object]:
        def call(*args: object) -> object:
            called.append(name)
            return getattr(_fallback, name)(*args)

        return call

    names = ["roi_align_backward", "multiscale_roi_align_backward"]
    monkeypatch.setattr(_library, "_fallback", SimpleNamespace(**{name: recorded(name) for name in names}))
    monkeypatch.setattr(_library, "_DEVICES_ADDING_IN_ANY_ORDER", ("cpu",))
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    boxes = [torch.tensor([[0.0, 0, 7, 5], [2, 1, 6, 8]])] * 2
    pool = MultiScaleRoIAlign(["0", "1"], 2, 2)
    (expected,) = torch.autograd.grad(roi_align(x, boxes, 2).sum(), x)
    (both,) = torch.autograd.grad(pool({"0": x, "1": x[:, :, ::2, ::2]}, boxes, [(8, 8)] * 2).sum(), x)
    assert called == []
    torch.use_deterministic_algorithms(deterministic)
    try:
        (got,) = torch.autograd.grad(roi_align(x, boxes, 2).sum(), x)
        (got_both,) = torch.autograd.grad(pool({"0": x, "1": x[:, :, ::2, ::2]}, boxes, [(8, 8)] * 2).sum(), x)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(got_both, both)
    assert called == (names if deterministic else [])


def test_backward_is_deterministic_whatever_the_threads(implementation: str) -> None:
    rois = random_rois(300, 2, 200, 200)
    x = random_input(2, 90, 50, 50).requires_grad_()
    pooled = roi_align(x, rois, 7, 0.25, 2)
    grad = random_input(*pooled.shape, seed=1)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3, 4, 1):
            torch.set_num_threads(count)
            results.append(torch.autograd.grad(pooled, x, grad, retain_graph=True)[0])
    finally:
        torch.set_num_threads(threads)
    if implementation == "cuda":  # adds gradients in any order
        assert not all(torch.equal(results[0], result) for result in results)
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)
    else:
        assert all(torch.equal(results[0], result) for result in results)


@pytest.mark.parametrize(
    ("input", "boxes", "size", "error", "message"),
    [
        (torch.zeros(3, 4, 4), torch.zeros(1, 5), 2, ValueError, r"input must have shape \(N, C, H, W\).*\(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4).long(), torch.zeros(1, 5), 2, TypeError, "input must be floating point.*int64"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 4), 2, ValueError, r"must have shape \(K, 5\).*\(1, 4\)"),
        (torch.zeros(1, 1, 4, 4), [torch.zeros(1, 5)], 2, ValueError, r"boxes\[0\] must have shape \(L, 4\)"),
        (torch.zeros(2, 1, 4, 4), [torch.zeros(1, 4)], 2, ValueError, "1 for 2 images"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 5).double(), 2, TypeError, "dtype of the features.*float64"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 5).long(), 2, TypeError, "boxes must be floating point"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 5, device="meta"), 2, ValueError, "same device"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), 0, ValueError, "output_size must be positive"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), (3, -1), ValueError, "output_size must be positive"),
    ],
)
def test_wrong_arguments(
    input: Tensor, boxes: Tensor | list[Tensor], size: int | tuple[int, int], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        roi_align(input, boxes, size)


@pytest.mark.parametrize("image", [2.0, -1.0, math.nan])
def test_an_image_that_is_not_in_the_batch(image: float, implementation: str) -> None:
    input, rois = torch.ones(2, 1, 4, 4), torch.tensor([[1.0, 0, 0, 1, 1], [image, 0, 0, 1, 1]])
    if implementation == "cuda":  # to tell would take a wait for the GPU
        pooled = roi_align(input, rois, 2)
        assert pooled[0].eq(1).all()
        assert pooled[1].isnan().all()
    else:
        with pytest.raises(RuntimeError, match=rf"rois\[1\] names image {image:g}"):
            roi_align(input, rois, 2)


SAMPLES = [(16, torch.contiguous_format), (3, torch.contiguous_format), (16, torch.channels_last)]


@pytest.mark.parametrize(("channels", "memory_format"), SAMPLES)
def test_opcheck(channels: int, memory_format: torch.memory_format) -> None:
    x = random_input(2, channels, 9, 8).contiguous(memory_format=memory_format).requires_grad_()
    rois = random_rois(6, 2, 36, 32)
    grad = random_input(6, channels, 3, 2).contiguous(memory_format=memory_format)
    torch.library.opcheck(torch.ops.zoo.roi_align.default, (x, rois, 0.25, 3, 2, 2, False))
    torch.library.opcheck(torch.ops.zoo.roi_align.default, (x, rois[:0], 0.25, 3, 2, 0, True))
    torch.library.opcheck(
        torch.ops.zoo.roi_align_backward.default,
        (grad.clone().requires_grad_(), rois, 0.25, 3, 2, 2, channels, 9, 8, 2, False),
    )
    y = random_input(2, channels, 5, 4).contiguous(memory_format=memory_format).requires_grad_()
    levels = torch.tensor([0, 1, 1, 0, 1, 0])
    torch.library.opcheck(
        torch.ops.zoo.multiscale_roi_align.default, ([x, y], rois, levels, [0.25, 0.125], 3, 2, 2, False)
    )
    torch.library.opcheck(
        torch.ops.zoo.multiscale_roi_align_backward.default,
        (grad, rois, levels, [0.25, 0.125], 3, 2, 2, channels, [9, 5], [8, 4], 2, False),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_the_features_dtype_and_the_regions_precision(dtype: torch.dtype) -> None:
    x = random_input(2, 4, 30, 30, dtype=dtype)
    rois = random_rois(6, 2, 1000, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = roi_align(x, rois, 3, 1 / 32, 2)
        assert torch.equal(roi_align(x, rois.double(), 3, 1 / 32, 2), pooled)
        assert roi_align(x.float(), rois.to(dtype), 3, 1 / 32, 2).dtype == torch.float32
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), roi_align(x.float(), rois, 3, 1 / 32, 2), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend: str) -> None:
    torch._dynamo.reset()

    def function(x: Tensor, rois: Tensor) -> Tensor:
        return roi_align(x * 2, rois, (3, 2), 0.25, 2).relu().square()

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
    for count, size in ((5, 12), (9, 16)):
        x = random_input(2, 20, size, size + 3).requires_grad_()
        rois = random_rois(count, 2, 4 * size, 4 * size)
        expected = function(x, rois)
        got = compiled(x, rois)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), x)[0], torch.autograd.grad(expected.sum(), x)[0], rtol=1e-4, atol=1e-4
        )


LIMITS = [
    ({"sampling_ratio": 2**31 - 1}, "sampling_ratio must be at most 256"),
    ({"sampling_ratio": 257}, "sampling_ratio must be at most 256"),
    ({"output_size": (2**15 + 1, 1)}, "output"),
    ({"output_size": (2**12, 2**11)}, "output"),
    ({"spatial_scale": math.inf}, "spatial_scale must be a finite"),
    ({"spatial_scale": -1e300}, "spatial_scale must be a finite"),
    ({"spatial_scale": math.nan}, "spatial_scale must be a finite"),
]


@pytest.mark.parametrize(("wrong", "message"), LIMITS)
def test_options_beyond_what_can_be_computed(wrong: dict[str, object], message: str) -> None:
    """By the function, by each operator called as such, and by what only knows shapes."""
    options = {"output_size": (2, 2), "spatial_scale": 1.0, "sampling_ratio": 2} | wrong
    x, rois, levels = torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]), torch.tensor([0])
    with pytest.raises(ValueError, match=message):
        roi_align(x, rois, **options)  # type: ignore[arg-type]
    size, scale, ratio = options["output_size"], options["spatial_scale"], options["sampling_ratio"]
    for device in ("cpu", "meta"):
        a, b, c = x.to(device), rois.to(device), levels.to(device)
        grad = a.new_zeros(1, 1, 2, 2)
        with pytest.raises(RuntimeError, match=message):
            torch.ops.zoo.roi_align(a, b, scale, *size, ratio, False)
        with pytest.raises(RuntimeError, match=message):
            torch.ops.zoo.multiscale_roi_align([a], b, c, [scale], *size, ratio, False)
        with pytest.raises(RuntimeError, match=message):
            torch.ops.zoo.roi_align_backward(grad, b, scale, *size, 1, 1, 4, 4, ratio, False)
        with pytest.raises(RuntimeError, match=message):
            torch.ops.zoo.multiscale_roi_align_backward(grad, b, c, [scale], *size, 1, 1, [4], [4], ratio, False)


def test_the_largest_options() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    input = torch.stack((y, x))[None].requires_grad_()
    # Of a linear function the mean of many samples is the value at the centre.
    pooled = roi_align(input, [torch.tensor([[1.0, 1, 5, 3]])], (1, 2), 1.0, 256)
    torch.testing.assert_close(pooled[0, :, 0], torch.tensor([[2.0, 2], [2, 4]]), rtol=1e-4, atol=1e-4)
    pooled.sum().backward()
    assert input.grad is not None
    assert input.grad.sum().item() == pytest.approx(4, rel=1e-4)
    long = roi_align(input.detach(), [torch.tensor([[0.0, 0, 5, 5]])], (1, 2**15), 1.0, 1)
    assert long.shape == (1, 2, 1, 2**15)
    assert (long[0, 1, 0].diff() >= 0).all()


@pytest.mark.parametrize("extent", [1e6, 1e30])
def test_a_huge_region_in_many_bins_over_a_long_map(extent: float) -> None:
    """Each bin could see the whole map, which all of them together cannot."""
    input = torch.ones(1, 1, 1, 20_000)
    boxes = torch.tensor([[-extent, 0, extent, 1], [0, 0, 20_000, 1], [-5.0, -5, 30_000, 5]])
    pooled = roi_align(input, [boxes], (1, 4096), 1.0, 0)
    assert pooled.isfinite().all()
    # Of the second region all is inside.
    torch.testing.assert_close(pooled[1], torch.ones(1, 1, 4096))


@pytest.mark.filterwarnings("ignore:.*quantized:UserWarning", "ignore:.*quantize_per:UserWarning")
@pytest.mark.parametrize("dtype", [torch.quint8, torch.qint8, torch.qint32])
@pytest.mark.parametrize("aligned", [False, True])
def test_quantized(dtype: torch.dtype, aligned: bool) -> None:
    """The rounded result for the values that the integers stand for, sample by sample."""
    input = torch.quantize_per_tensor(random_input(1, 2, 8, 9) * 10, 0.25, 8, dtype)
    boxes = torch.quantize_per_tensor(torch.tensor([[0.0, 0, 6, 7], [2, 1, 5, 5]]), 0.5, 0, dtype)
    rois = torch.cat((torch.zeros(2, 1), boxes.dequantize()), 1)
    expected = reference(input.dequantize(), rois, (3, 2), 1.0, 2, aligned)
    for regions in ([boxes], [boxes.dequantize()], rois):
        pooled = roi_align(input, regions, (3, 2), 1.0, 2, aligned)
        assert pooled.dtype == dtype
        assert (pooled.q_scale(), pooled.q_zero_point()) == (0.25, 8)
        assert (pooled.dequantize() - expected).abs().max() <= 0.125 + 1e-5
    options = {"scales": torch.ones(2), "zero_points": torch.zeros(2).long(), "axis": 1, "dtype": dtype}
    per_channel = torch._empty_per_channel_affine_quantized((1, 2, 4, 4), **options)
    with pytest.raises(TypeError, match="quantized per tensor"):
        roi_align(per_channel, rois, 2)


def test_forms_of_arguments() -> None:
    x = random_input(2, 3, 10, 10)
    boxes = [torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([[1.0, 1, 9, 9], [2, 2, 4, 4]])]
    expected = roi_align(x, boxes, (2, 2), 0.5, 2)
    assert torch.equal(roi_align(x, tuple(boxes), [2, 2], 0.5, 2), expected)  # type: ignore[arg-type]
    assert torch.equal(roi_align(x, boxes, torch.Size((2, 2)), 0.5, 2), expected)
    assert torch.equal(roi_align(x, boxes, 2, 0.5, sampling_ratio=2, aligned=False), expected)
    with pytest.raises(ValueError, match=r"output_size must be one number or a height and a width, but it is \(2,\)"):
        roi_align(x, boxes, (2,))
