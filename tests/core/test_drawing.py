"""Drawing: the reference's pixels, cases worked out by hand, and inputs that detectors produce on bad days."""

import inspect
import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from support.reference import ASSETS, noise, signatures
from zoo_core import drawing
from zoo_core.drawing import (
    color_palette,
    draw_bounding_boxes,
    draw_keypoints,
    draw_segmentation_masks,
    flow_to_image,
    make_grid,
)

GOLDEN = json.loads((ASSETS / "golden" / "presets_and_drawing.json").read_text())["drawing"]
RED = (255, 0, 0)


BASE = noise(8, 3, 48, 64)
BOXES = torch.tensor([[4, 5, 30, 40], [20, 10, 60, 44]])
KEYPOINTS = torch.tensor([[[10, 12], [30, 30], [50, 8]]])
BLACK = torch.zeros(3, 20, 30, dtype=torch.uint8)


def rectangles() -> Tensor:
    masks = torch.zeros(2, 48, 64, dtype=torch.bool)
    masks[0, 5:20, 6:30] = True
    masks[1, 15:40, 20:60] = True
    return masks


def flow() -> Tensor:
    return 10 * torch.rand((2, 24, 32), generator=torch.Generator().manual_seed(9)) - 5


CASES: dict[str, Callable[[], Tensor]] = {
    "draw_bounding_boxes(colors='red', width=2)": lambda: draw_bounding_boxes(BASE, BOXES, colors="red", width=2),
    "draw_bounding_boxes(colors=['blue', (0, 255, 0)], fill=True, width=1)": lambda: draw_bounding_boxes(
        BASE, BOXES, colors=["blue", (0, 255, 0)], fill=True, width=1
    ),
    "draw_segmentation_masks(alpha=0.6, colors=['red', 'blue'])": lambda: draw_segmentation_masks(
        BASE, rectangles(), alpha=0.6, colors=["red", "blue"]
    ),
    "draw_keypoints(connectivity=[(0, 1), (1, 2)], colors='yellow', radius=2, width=2)": lambda: draw_keypoints(
        BASE, KEYPOINTS, connectivity=[(0, 1), (1, 2)], colors="yellow", radius=2, width=2
    ),
    "flow_to_image": lambda: flow_to_image(flow()),
    "make_grid(nrow=2, padding=2) of 3 noise pictures, seeds 10, 11, 12, (3, 8, 9), as float/255": lambda: make_grid(
        [noise(seed, 3, 8, 9) / 255 for seed in (10, 11, 12)], nrow=2, padding=2
    ),
}


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "setting"])
def test_equals_the_reference(name: str) -> None:
    output, expected = CASES[name](), GOLDEN[name]
    assert list(output.shape) == expected["shape"]
    assert str(output.dtype) == f"torch.{expected['dtype']}"
    sampled = output.flatten()[torch.tensor(expected["index"])].double()
    torch.testing.assert_close(sampled, torch.tensor(expected["value"], dtype=torch.float64), rtol=0, atol=1e-6)
    if "crc32_of_bytes" in expected:
        assert zlib.crc32(bytes(output.flatten().tolist())) == expected["crc32_of_bytes"]


@pytest.mark.parametrize("name", signatures("utils"))
def test_parameters_are_those_of_the_reference(name: str) -> None:
    parameters = inspect.signature(getattr(drawing, name)).parameters.values()
    ours = [(p.name, p.kind.name, "<required>" if p.default is p.empty else p.default) for p in parameters]
    assert ours == [tuple(parameter) for parameter in signatures("utils")[name]]


# Boxes ---------------------------------------------------------------------------------------------------------------


def outline(x1: int, y1: int, x2: int, y2: int, height: int = 20, width: int = 30) -> Tensor:
    """The pixels of a line one pixel wide, both corners included."""
    pixels = torch.zeros(height, width, dtype=torch.bool)
    pixels[y1 : y2 + 1, x1 : x2 + 1] = True
    pixels[y1 + 1 : y2, x1 + 1 : x2] = False
    return pixels


def test_a_box_covers_its_corners() -> None:
    output = draw_bounding_boxes(BLACK, torch.tensor([[3.0, 4.0, 10.9, 12.2]]), colors=(10, 200, 30))
    expected = outline(3, 4, 10, 12)
    for channel, level in enumerate((10, 200, 30)):
        assert torch.equal(output[channel], expected * torch.tensor(level, dtype=torch.uint8))
    assert BLACK.sum() == 0  # the input is left alone


def test_width_grows_inwards() -> None:
    output = draw_bounding_boxes(BLACK, torch.tensor([[3, 4, 20, 15]]), colors="white", width=2)
    assert torch.equal(output[0] > 0, outline(3, 4, 20, 15) | outline(4, 5, 19, 14))


@pytest.mark.parametrize(
    "name", ["uint8", "int8", "int16", "uint16", "int32", "int64", "float16", "bfloat16", "float64"]
)
def test_coordinates_of_any_dtype(name: str) -> None:
    image, boxes = torch.zeros(3, 24, 30, dtype=torch.uint8), torch.tensor([[1, 2, 10, 12]])
    points, dtype = torch.tensor([[[3, 4], [20, 11]]]), getattr(torch, name)
    drawn = draw_bounding_boxes(image, boxes.to(dtype), colors="red")
    assert torch.equal(drawn, draw_bounding_boxes(image, boxes.float(), colors="red"))
    drawn = draw_keypoints(image, points.to(dtype), connectivity=[(0, 1)])
    assert torch.equal(drawn, draw_keypoints(image, points.float(), connectivity=[(0, 1)]))


def test_filling_is_transparent() -> None:
    white = torch.full((3, 20, 30), 255, dtype=torch.uint8)
    output = draw_bounding_boxes(white, torch.tensor([[3, 4, 20, 15]]), colors="red", fill=True)
    assert output[:, 4, 3].tolist() == [255, 0, 0]
    inside = output[:, 10, 10].tolist()
    assert inside[0] == 255
    assert inside[1] == inside[2] == round(255 * (1 - 100 / 255))
    assert output[:, 0, 0].tolist() == [255, 255, 255]


def test_later_boxes_lie_on_top() -> None:
    output = draw_bounding_boxes(BLACK, torch.tensor([[3, 4, 20, 15], [3, 4, 20, 15]]), colors=["red", "blue"])
    assert output[:, 4, 3].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    "box", [[-50, -50, 500, 500], [100, 100, 200, 200], [-1e12, -1e12, 1e12, 1e12], [-9, -9, -1, -1]]
)
def test_boxes_beyond_the_border_are_not_seen(box: list[float]) -> None:
    assert torch.equal(draw_bounding_boxes(BLACK, torch.tensor([box]), colors="white", width=3), BLACK)


def test_boxes_at_the_border_and_of_no_size() -> None:
    output = draw_bounding_boxes(BLACK, torch.tensor([[0, 0, 29, 19]]), colors="white")
    assert torch.equal(output[0] > 0, outline(0, 0, 29, 19))
    output = draw_bounding_boxes(BLACK, torch.tensor([[5, 6, 5, 6]]), colors="white")
    assert output[0, 6, 5] == 255
    assert (output[0] > 0).sum() <= 2


def test_a_picture_of_one_pixel() -> None:
    dot = torch.zeros(3, 1, 1, dtype=torch.uint8)
    assert draw_bounding_boxes(dot, torch.tensor([[0, 0, 0, 0]]), labels=["x"], colors="red").tolist() == [
        [[255]],
        [[0]],
        [[0]],
    ]
    assert draw_segmentation_masks(dot, torch.ones(1, 1, dtype=torch.bool), 1.0, "red")[0].item() == 255
    assert draw_keypoints(dot, torch.tensor([[[0, 0]]]), colors="red")[0].item() == 255


def test_grey_pictures_become_rgb() -> None:
    output = draw_bounding_boxes(noise(0, 1, 20, 30), torch.tensor([[3, 4, 10, 12]]), colors="red")
    assert output.shape == (3, 20, 30)
    assert torch.equal(output[:, 0], noise(0, 1, 20, 30).expand(3, -1, -1)[:, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_float_pictures_keep_their_dtype(dtype: torch.dtype) -> None:
    picture = (BASE / 255).to(dtype)
    for draw in (
        lambda image: draw_bounding_boxes(image, BOXES, colors="red"),
        lambda image: draw_segmentation_masks(image, rectangles(), colors="red"),
        lambda image: draw_keypoints(image, KEYPOINTS, colors="red"),
    ):
        output = draw(picture)
        assert output.dtype == dtype
        tolerance = 0.01 if dtype in (torch.float16, torch.bfloat16) else 1.01 / 255
        torch.testing.assert_close(output.float(), draw(BASE).float() / 255, rtol=0, atol=tolerance)


def test_rotated_boxes() -> None:
    corners = torch.tensor([[5, 2, 25, 2, 25, 17, 5, 17]])
    assert torch.equal(draw_bounding_boxes(BLACK, corners, colors="white")[0] > 0, outline(5, 2, 25, 17))
    diamond = torch.tensor([[15, 2, 22, 9, 15, 16, 8, 9]])
    output = draw_bounding_boxes(BLACK, diamond, colors="white", fill=True)[0]
    assert output[2, 15] == output[9, 22] == output[16, 15] == output[9, 8] == 255
    assert 0 < output[9, 15] < 255
    assert output[3, 9] == 0


def test_labels_are_written_inside_the_corner_in_their_colour() -> None:
    picture = torch.zeros(3, 60, 100, dtype=torch.uint8)
    box = torch.tensor([[10, 10, 90, 50]])
    plain = draw_bounding_boxes(picture, box, colors="red")
    labelled = draw_bounding_boxes(picture, box, labels=["cat"], colors="red", label_colors="lime")
    changed = (plain != labelled).any(0)
    assert changed.any()
    assert not changed[:12].any()  # below the line and the margin
    assert not changed[:, :12].any()
    assert labelled[1].max() > 200  # nearly pure green somewhere in the text
    assert torch.equal(draw_bounding_boxes(picture, box, labels=[None], colors="red"), plain)
    larger = draw_bounding_boxes(picture, box, labels=["cat"], colors="red", font_size=30)
    assert (larger != plain).any(0).sum() > 2 * changed.sum()


def test_label_backgrounds() -> None:
    picture = torch.full((3, 60, 100), 128, dtype=torch.uint8)
    box = torch.tensor([[10, 10, 90, 50]])
    for color, ink in (((250, 250, 0), 0), ((0, 0, 90), 255)):
        output = draw_bounding_boxes(picture, box, labels=["cat"], colors=color, fill_labels=True)
        inside = output[:, 12:25, 12:30].flatten(1)
        background = (inside == torch.tensor(color)[:, None]).all(0).float().mean()
        assert background > 0.4
        # black text on light colours, white text on dark ones
        assert ((inside.int() - ink).abs() < 60).all(0).any()
    other = draw_bounding_boxes(
        picture, box, labels=["cat"], colors="red", fill_labels=True, label_background_colors="blue", label_colors="red"
    )
    assert (other[:, 12:25, 12:30].flatten(1) == torch.tensor([0, 0, 255])[:, None]).all(0).any()


def test_labels_beyond_ascii_and_over_several_lines() -> None:
    picture = torch.zeros(3, 60, 100, dtype=torch.uint8)
    for label in ("Käfer", "猫", "two\nlines", ""):
        output = draw_bounding_boxes(picture, torch.tensor([[5, 5, 95, 55]]), labels=[label], fill_labels=True)
        assert output.shape == picture.shape


def test_a_font_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"no TrueType font 'no-such-font\.ttf'"):
        draw_bounding_boxes(BLACK, torch.tensor([[1, 1, 9, 9]]), labels=["a"], font="no-such-font.ttf")


@pytest.mark.parametrize("boxes", [torch.empty(0, 4), torch.empty(0), torch.empty(0, 8, dtype=torch.int64)])
def test_no_boxes(boxes: Tensor) -> None:
    with pytest.warns(UserWarning, match="No box was drawn"):
        assert torch.equal(draw_bounding_boxes(BASE, boxes, labels=[]), BASE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image": "picture"}, TypeError, "image as a tensor, got str"),
        ({"image": BASE[None]}, ValueError, r"one image of shape \[C, H, W\]"),
        ({"image": BASE.int()}, ValueError, "uint8.*int32"),
        ({"image": noise(0, 4, 8, 8)}, ValueError, "1 or 3 channels"),
        ({"image": BASE[:, :0]}, ValueError, "empty"),
        ({"boxes": [[1, 2, 3, 4]]}, TypeError, "boxes as a tensor, got list"),
        ({"boxes": torch.tensor([1, 2, 3, 4])}, ValueError, r"\[N, 4\] or \[N, 8\], got \[4\]"),
        ({"boxes": torch.ones(2, 5)}, ValueError, r"got \[2, 5\]"),
        ({"boxes": torch.tensor([[10, 2, 3, 4]])}, ValueError, "x1 <= x2"),
        ({"boxes": torch.tensor([[1, 20, 3, 4]])}, ValueError, "y1 <= y2"),
        ({"boxes": torch.tensor([[math.nan, 2, 3, 4]])}, ValueError, "NaN"),
        ({"boxes": torch.tensor([[1, 2, math.inf, 4]])}, ValueError, "infinity"),
        ({"labels": ["a"]}, ValueError, "each of the 2 boxes, got 1"),
        ({"colors": ["red"]}, ValueError, "each of the 2 objects, got 1"),
        ({"colors": "no colour"}, ValueError, "no colour"),
        ({"colors": [(1, 2), (3, 4)]}, TypeError, r"three numbers in 0\.\.255, got \(1, 2\)"),
        ({"colors": (256, 0, 0)}, TypeError, "got 256"),
        ({"colors": 7}, TypeError, "list of colours, got int"),
    ],
)
def test_wrong_boxes(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw_bounding_boxes(**{"image": BASE, "boxes": BOXES, **arguments})


# Colours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colors", ["red", "#ff0000", "#F00", RED, list(RED), [RED], ["red", "blue"], ("red",)])
def test_spellings_of_a_colour(colors: Any) -> None:
    output = draw_bounding_boxes(BLACK, torch.tensor([[3, 4, 10, 12]]), colors=colors)
    assert output[:, 4, 3].tolist() == [255, 0, 0]


def test_the_palette_is_stable_and_distinct() -> None:
    palette = torch.tensor(color_palette(40), dtype=torch.float32)
    assert color_palette(3) == color_palette(40)[:3]
    assert color_palette(0) == []
    assert palette.min() >= 0
    assert palette.max() <= 255
    distances = torch.cdist(palette, palette) + 1000 * torch.eye(40)
    assert distances[:12, :12].min() > 60
    assert distances.min() > 15


# Masks ---------------------------------------------------------------------------------------------------------------


def test_masks_blend_with_alpha() -> None:
    picture = torch.full((3, 2, 4), 100, dtype=torch.uint8)
    masks = torch.tensor([[[1, 1, 0, 0]] * 2, [[0, 1, 1, 0]] * 2]).bool()
    output = draw_segmentation_masks(picture, masks, alpha=0.6, colors=["red", (0, 51, 0)])
    assert output[:, 0, 0].tolist() == [193, 40, 40]  # 0.4 * 100 + 0.6 * 255
    assert output[:, 0, 1].tolist() == [40, 40, 40]  # two masks: black paint
    assert output[:, 0, 2].tolist() == [40, 70, 40]
    assert output[:, 0, 3].tolist() == [100, 100, 100]
    assert (picture == 100).all()


def test_alpha_at_its_ends() -> None:
    mask = torch.ones(48, 64, dtype=torch.bool)
    assert torch.equal(draw_segmentation_masks(BASE, mask, alpha=0), BASE)
    assert (draw_segmentation_masks(BASE, mask, alpha=1, colors=(1, 2, 3)).flatten(1).unique(dim=1).T).tolist() == [
        [1, 2, 3]
    ]


def test_masks_of_any_layout_and_empty_masks() -> None:
    masks = rectangles()
    strided = masks.transpose(1, 2).contiguous().transpose(1, 2)
    noncontiguous = BASE.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(draw_segmentation_masks(noncontiguous, strided), draw_segmentation_masks(BASE, masks))
    assert torch.equal(draw_segmentation_masks(BASE, torch.zeros_like(masks)), BASE)
    with pytest.warns(UserWarning, match="No mask was drawn"):
        assert torch.equal(draw_segmentation_masks(BASE, masks[:0]), BASE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"masks": rectangles().float()}, ValueError, "dtype bool, got torch.float32"),
        ({"masks": rectangles()[:, :20]}, ValueError, r"height and width \[48, 64\], got \[20, 64\]"),
        ({"masks": rectangles()[None]}, ValueError, r"\[N, H, W\] or \[H, W\]"),
        ({"masks": None}, TypeError, "masks as a tensor"),
        ({"image": BASE[:1]}, ValueError, "3 channels"),
        ({"alpha": 1.5}, ValueError, "alpha must be between 0 and 1"),
        ({"colors": ["red"]}, ValueError, "2 objects"),
    ],
)
def test_wrong_masks(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw_segmentation_masks(**{"image": BASE, "masks": rectangles(), **arguments})


# Keypoints -----------------------------------------------------------------------------------------------------------


def test_keypoints_are_discs_around_their_centre() -> None:
    output = draw_keypoints(BLACK, torch.tensor([[[10, 8]], [[20.9, 12.2]]]), colors="red", radius=1)
    expected = torch.zeros(20, 30, dtype=torch.bool)
    for x, y in ((10, 8), (20, 12)):
        expected[y, x - 1 : x + 2] = True
        expected[y - 1 : y + 2, x] = True
    drawn = output[0] > 0
    assert (drawn & expected).sum() == expected.sum()
    assert not drawn[:, :9].any()
    assert drawn.sum() <= 18
    assert output[1:].sum() == 0


def test_invisible_keypoints_take_their_lines_along() -> None:
    points = torch.tensor([[[4, 4], [14, 4], [24, 4]]])
    connectivity = [(0, 1), (1, 2)]
    visibility = torch.tensor([[1, 1, 0]])
    for shown in (visibility, visibility.bool(), visibility[..., None]):
        output = draw_keypoints(BLACK, points, connectivity, colors="red", radius=1, width=1, visibility=shown)
        assert output[:, 4, 9].tolist() == [255, 255, 255]  # the line is white
        assert output[:, :, 16:].sum() == 0
    hidden = torch.tensor([[[4, 4], [14, 4], [math.nan, math.inf]]])
    assert torch.equal(draw_keypoints(BLACK, hidden, connectivity, "red", 1, 1, visibility), output)


def test_without_keypoints_the_picture_is_unchanged() -> None:
    for points in (torch.empty(0, 17, 2), torch.empty(3, 0, 2)):
        assert torch.equal(draw_keypoints(BASE, points, colors="red"), BASE)
    outside = torch.tensor([[[-1e9, 5.0], [1e9, 5.0]]])
    assert torch.equal(draw_keypoints(BASE, outside, colors="red"), BASE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keypoints": KEYPOINTS[0]}, r"\[N, K, 2\], got \[3, 2\]"),
        ({"keypoints": torch.ones(1, 3, 3)}, r"\[N, K, 2\], got \[1, 3, 3\]"),
        ({"keypoints": torch.full((1, 3, 2), math.nan)}, "NaN.*visibility"),
        ({"visibility": torch.ones(2, 3)}, r"visibility of shape \[1, 3\], got \[2, 3\]"),
        ({"connectivity": [(0, 3)]}, r"keypoints \(0, 3\), but there are only 3"),
        ({"connectivity": [(-1, 0)]}, "there are only 3"),
        ({"image": BASE[:1]}, "3 channels"),
    ],
)
def test_wrong_keypoints(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_keypoints(**{"image": BASE, "keypoints": KEYPOINTS, **arguments})


# Flow ----------------------------------------------------------------------------------------------------------------


def test_flow_directions_have_the_colours_of_the_wheel() -> None:
    """Right is red, left is cyan, and no motion is white."""
    vectors = torch.tensor([[0.0, 0.0], [8.0, 0.0], [-8.0, 1e-6], [4.0, 0.0]]).T[:, None]
    colors = flow_to_image(vectors)[:, 0].T.tolist()
    assert colors[0] == [255, 255, 255]
    assert colors[1] in ([255, 0, 0], [255, 0, 43], [255, 0, 42])
    assert colors[2][0] == 0
    assert colors[2][2] == 255
    assert colors[3][0] == 255
    assert colors[3][1] == 127  # half the length, half the saturation


def test_flow_in_batches_shares_one_scale() -> None:
    small = flow()
    batch = torch.stack([small, 2 * small])
    images = flow_to_image(batch)
    assert images.shape == (2, 3, 24, 32)
    assert torch.equal(images[1], flow_to_image(small))
    assert images[0].float().mean() > images[1].float().mean()  # paler
    assert flow_to_image(batch[:0]).shape == (0, 3, 24, 32)
    assert (flow_to_image(torch.zeros(2, 4, 5)) == 255).all()


@pytest.mark.parametrize(
    ("input", "error", "message"),
    [
        (torch.zeros(3, 4, 4), ValueError, r"\[2, H, W\], got \[3, 4, 4\]"),
        (torch.zeros(4, 4), ValueError, r"got \[4, 4\]"),
        (torch.zeros(2, 4, 4, dtype=torch.float64), ValueError, r"float32, got torch\.float64"),
        (torch.full((2, 4, 4), math.nan), ValueError, "NaN"),
        (None, TypeError, "flow as a tensor"),
    ],
)
def test_wrong_flow(input: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        flow_to_image(input)
