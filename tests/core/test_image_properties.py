"""What holds for all images: reading what was written, drawing, arranging and resizing."""

import io
import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from zoo_core.drawing import (
    draw_bounding_boxes,
    draw_keypoints,
    draw_segmentation_masks,
    flow_to_image,
    make_grid,
)
from zoo_core.images import (
    convert_mode,
    decode_image,
    decode_jpeg,
    decode_png,
    encode_jpeg,
    encode_png,
    open_image,
    pil_to_tensor,
    to_pil_image,
)
from zoo_core.presets import ImageClassification, SemanticSegmentation

_ANY = st.integers(1, 4)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def images(draw: st.DrawFn, channels: st.SearchStrategy[int] = _ANY) -> Tensor:
    """uint8 Tensor[C, H, W] of noise, or of one level."""
    shape = (draw(channels), *draw(sizes))
    if draw(st.booleans()):
        return torch.full(shape, draw(st.integers(0, 255)), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


color_images = images(st.just(3))
colors = st.tuples(*[st.integers(0, 255)] * 3)


# Files ---------------------------------------------------------------------------------------------------------------


@given(images(), st.integers(0, 9))
def test_png_gives_back_what_was_written(image: Tensor, level: int) -> None:
    assert torch.equal(decode_png(encode_png(image, level)), image)


@given(images(), st.sampled_from(["PNG", "TIFF", "WEBP"]))
def test_lossless_formats_give_back_what_was_written(image: Tensor, format: str) -> None:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"lossless": True, "exact": True} if format == "WEBP" else {}
    to_pil_image(image).save(buffer, format, **options)
    output = decode_image(buffer.getvalue())
    if format == "WEBP":  # has RGB and RGBA only
        image = torch.cat([image[:1].expand(3, -1, -1), image[1:]]) if image.shape[0] < 3 else image
    if output.shape[0] == 3 and image.shape[0] == 4:  # the alpha of an opaque image may be left out
        assert (image[3] == 255).all()
        image = image[:3]
    assert torch.equal(output, image)


@given(images(st.sampled_from([1, 3])), st.integers(1, 100))
def test_jpeg_keeps_shape_and_decodes_the_same_each_time(image: Tensor, quality: int) -> None:
    file = encode_jpeg(image, quality)
    assert isinstance(file, Tensor)
    output = decode_jpeg(file)
    assert isinstance(output, Tensor)
    assert output.shape == image.shape
    assert torch.equal(output, pil_to_tensor(open_image(bytes(file.tolist()), "L" if len(image) == 1 else "RGB")))
    if (image == image[:, :1, :1]).all() and image.shape[0] == 1 and quality == 100:
        assert (output.int() - image.int()).abs().max() <= 1


@given(images(), st.sampled_from(["L", "LA", "RGB", "RGBA"]))
def test_a_tensor_of_another_mode_is_that_of_the_converted_image(image: Tensor, mode: str) -> None:
    buffer = io.BytesIO()
    to_pil_image(image).save(buffer, "PNG")
    names = {"L": "GRAY", "LA": "GRAY_ALPHA", "RGB": "RGB", "RGBA": "RGBA"}
    expected = pil_to_tensor(convert_mode(to_pil_image(image), mode))
    assert torch.equal(decode_image(buffer.getvalue(), names[mode]), expected)


# Whatever the strips in which Pillow's bands become a tensor, it is that of the image as a whole.
@given(st.sampled_from(["L", "RGB", "RGBA", "I;16", "I", "F", "1"]), st.integers(1, 3), st.integers(60000, 140000))
def test_images_of_several_strips(mode: str, width: int, height: int) -> None:
    column = Image.frombytes("L", (1, 256), bytes(range(256)))
    image = Image.new("L", (width, height))
    for top in range(0, height, 256):
        image.paste(column.resize((width, 256)), (0, top))
    tensor = pil_to_tensor(
        image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode, dither=Image.Dither.NONE)
    )
    rows = torch.arange(height) % 256
    expected = rows > 127 if mode == "1" else rows.clamp(max=255)
    found = tensor[0, :, -1]
    if mode == "1":
        assert torch.equal(found, expected)
    else:
        assert torch.equal(found.double(), expected.double())
    assert tensor.shape[1:] == (height, width)


# Drawing -------------------------------------------------------------------------------------------------------------

coordinates = st.integers(-50, 90)


@given(color_images, st.data())
def test_boxes_change_only_what_they_cover(image: Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    corners = [sorted(data.draw(st.tuples(coordinates, coordinates))) for _ in range(2 * count)]
    pairs = zip(corners[::2], corners[1::2], strict=True)
    boxes = torch.tensor([[left, top, right, bottom] for (left, right), (top, bottom) in pairs])
    width = data.draw(st.integers(1, 5))
    before = image.clone()
    output = draw_bounding_boxes(image, boxes, colors=data.draw(colors), width=width, fill=data.draw(st.booleans()))
    assert torch.equal(image, before)
    assert (output.shape, output.dtype) == (image.shape, image.dtype)
    y, x = torch.meshgrid(*map(torch.arange, image.shape[1:]), indexing="ij")
    covered = torch.zeros(image.shape[1:], dtype=torch.bool)
    for x1, y1, x2, y2 in boxes.tolist():
        # Of boxes that have no room for them, the lines stick out.
        slack = width if min(x2 - x1, y2 - y1) < 2 * width else 0
        covered |= (x1 - slack <= x) & (x <= x2 + slack) & (y1 - slack <= y) & (y <= y2 + slack)
    assert torch.equal(output[:, ~covered], image[:, ~covered])


@given(color_images, st.data())
def test_an_outline_is_of_its_colour(image: Tensor, data: st.DataObject) -> None:
    height, width = image.shape[1:]
    x1, x2 = sorted(data.draw(st.tuples(st.integers(0, width - 1), st.integers(0, width - 1))))
    y1, y2 = sorted(data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, height - 1))))
    color = data.draw(colors)
    output = draw_bounding_boxes(image, torch.tensor([[x1, y1, x2, y2]]), colors=color)
    rows, columns = slice(y1, y2 + 1), slice(x1, x2 + 1)
    for edge in (output[:, y1, columns], output[:, y2, columns], output[:, rows, x1], output[:, rows, x2]):
        assert (edge == torch.tensor(color)[:, None]).all()
    assert torch.equal(output[:, y1 + 1 : y2, x1 + 1 : x2], image[:, y1 + 1 : y2, x1 + 1 : x2])


@given(color_images, st.data(), st.floats(0, 1))
def test_masks_mix_colour_and_image(image: Tensor, data: st.DataObject, alpha: float) -> None:
    count = data.draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    masks = torch.rand(count, *image.shape[1:], generator=generator) < 0.4
    palette = data.draw(st.lists(colors, min_size=count, max_size=count))
    output = draw_segmentation_masks(image, masks, alpha=alpha, colors=palette)
    assert (output.shape, output.dtype) == (image.shape, image.dtype)
    layers = masks.sum(dim=0)
    for mask, color in zip(masks, palette, strict=True):
        alone = mask & (layers == 1)
        expected = image[:, alone].double() * (1 - alpha) + torch.tensor(color).double()[:, None] * alpha
        assert ((output[:, alone].double() - expected).abs() <= 1.01).all()
    untouched = layers == 0
    assert ((output[:, untouched].int() - image[:, untouched].int()).abs() <= 1.01).all()
    assert ((output[:, layers > 1].double() - image[:, layers > 1].double() * (1 - alpha)).abs() <= 1.01).all()


@given(color_images, st.data())
def test_keypoints_change_only_their_surroundings(image: Tensor, data: st.DataObject) -> None:
    x, y = data.draw(coordinates), data.draw(coordinates)
    radius = data.draw(st.integers(1, 6))
    output = draw_keypoints(image, torch.tensor([[[x, y]]]), colors=data.draw(colors), radius=radius)
    rows, columns = torch.meshgrid(*map(torch.arange, image.shape[1:]), indexing="ij")
    far = ((columns - x).abs() > radius) | ((rows - y).abs() > radius)
    assert torch.equal(output[:, far], image[:, far])
    hidden = draw_keypoints(image, torch.tensor([[[x, y]]]), radius=radius, visibility=torch.tensor([[False]]))
    assert torch.equal(hidden, image)


@given(sizes, st.floats(0.01, 100), st.integers(0, 1000))
def test_flow_colours_do_not_depend_on_the_unit(size: tuple[int, int], scale: float, seed: int) -> None:
    flow = torch.randn(2, *size, generator=torch.Generator().manual_seed(seed))
    image = flow_to_image(flow)
    assert (image.shape, image.dtype) == ((3, *size), torch.uint8)
    assert ((flow_to_image(flow * scale).int() - image.int()).abs() <= 1.01).all()
    assert (flow_to_image(torch.zeros(2, *size)) == 255).all()


@given(st.integers(1, 12), sizes, st.integers(1, 8), st.integers(0, 4), st.floats(0, 1))
def test_every_image_is_in_the_grid(
    count: int, size: tuple[int, int], columns: int, padding: int, background: float
) -> None:
    batch = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))
    grid = make_grid(batch, nrow=columns, padding=padding, pad_value=background)
    if count == 1:
        assert torch.equal(grid, batch[0])
        return
    height, width = size[0] + padding, size[1] + padding
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    assert grid.shape == (3, rows * height + padding, columns * width + padding)
    for index, image in enumerate(batch):
        top, left = index // columns * height + padding, index % columns * width + padding
        assert torch.equal(grid[:, top : top + size[0], left : left + size[1]], image)
        grid[:, top : top + size[0], left : left + size[1]] = background
    assert (grid == background).all()


# Resizing ------------------------------------------------------------------------------------------------------------

_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@given(color_images, st.integers(1, 50), st.sampled_from(["bilinear", "bicubic", "nearest"]))
def test_the_shorter_side_gets_the_size_and_levels_stay_in_range(image: Tensor, size: int, interpolation: str) -> None:
    for source in (image, to_pil_image(image)):
        output = SemanticSegmentation(resize_size=size, interpolation=interpolation, **_PLAIN)(source)
        height, width = image.shape[1:]
        assert min(output.shape[1:]) == size
        longer = int(size * max(height, width) / min(height, width))
        assert max(output.shape[1:]) == longer
        assert ((output >= 0) & (output <= 1)).all()


@given(sizes, colors, st.integers(1, 50), st.sampled_from(["bilinear", "bicubic", "nearest"]), st.booleans())
def test_an_image_of_one_colour_keeps_it(
    size: tuple[int, int], color: tuple[int, int, int], length: int, interpolation: str, antialias: bool
) -> None:
    image = torch.tensor(color, dtype=torch.uint8)[:, None, None].expand(3, *size).contiguous()
    preset = SemanticSegmentation(resize_size=length, interpolation=interpolation, antialias=antialias, **_PLAIN)
    for source in (image, to_pil_image(image)):
        expected = (torch.tensor(color) / 255)[:, None, None].expand(preset(source).shape)
        torch.testing.assert_close(preset(source), expected, rtol=0, atol=1e-6)


@given(color_images, st.integers(1, 40), st.integers(1, 40))
def test_a_crop_is_the_middle_of_what_is_resized(image: Tensor, crop: int, size: int) -> None:
    crop = min(crop, size)
    resized = SemanticSegmentation(resize_size=size, **_PLAIN)(image)
    output = ImageClassification(crop_size=crop, resize_size=size, **_PLAIN)(image)
    top, left = (round((length - crop) / 2.0) for length in resized.shape[1:])
    torch.testing.assert_close(output, resized[:, top : top + crop, left : left + crop], rtol=0, atol=1e-5)


@given(color_images, st.integers(1, 40))
def test_mirrored_images_give_mirrored_tensors(image: Tensor, size: int) -> None:
    preset = SemanticSegmentation(resize_size=size, **_PLAIN)
    torch.testing.assert_close(preset(image.flip(2)), preset(image).flip(2), rtol=0, atol=1.01 / 255)
