"""Objects, classes of pixels and motion, as they are drawn for people to look at."""

import base64
import io
import itertools
import re

import pytest
import torch
from PIL import Image

from zoo_core.drawing import (
    Section,
    class_color,
    contact_page,
    contact_sheet,
    draw_flow,
    draw_objects,
    enlarged,
    flow_to_image,
    overlay_labels,
    paint_classes,
)
from zoo_core.drawing.colors import ink
from zoo_core.images import pil_to_tensor, to_pil_image

GREY = (128, 128, 128)


def grey(width, height):
    return Image.new("RGB", (width, height), GREY)


def pixels(image, color):
    """Where an image has a colour, bool Tensor[H, W]."""
    return (pil_to_tensor(image) == torch.tensor(color)[:, None, None]).all(0)


def colors_of(image, least=20):
    """The colours that many pixels have."""
    return {color for count, color in image.getcolors(maxcolors=2**24) if count >= least}


# Colours -------------------------------------------------------------------------------------------------------------


def test_colours_of_classes_are_distinct_and_readable():
    colors = torch.tensor([class_color(index) for index in range(91)], dtype=torch.float32)
    distances = torch.cdist(colors, colors) + 1000 * torch.eye(91)
    assert distances[:12, :12].min() > 40
    assert distances.min() > 4
    assert colors.min() >= 0
    assert colors.max() <= 255
    for index, variant in itertools.product(range(91), range(5)):
        background = class_color(index, variant)
        lights = sorted(
            sum(
                weight * (((level / 255 + 0.055) / 1.055) ** 2.4)
                for weight, level in zip((0.2126, 0.7152, 0.0722), color, strict=True)
            )
            for color in (background, ink(background))
        )
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, "the contrast that WCAG asks for text"


def test_shades_of_a_class():
    shades = [class_color(3, variant) for variant in range(5)]
    assert len(set(shades)) == 5
    assert shades[0] == class_color(3)
    assert class_color(3, 5) == class_color(3)


# Boxes ---------------------------------------------------------------------------------------------------------------


def crowd():
    """60 objects of 4 classes."""
    places = [(60 + 110 * column, 50 + 90 * row) for row in range(6) for column in range(10)]
    boxes = torch.tensor([[x, y, x + 50, y + 45] for x, y in places], dtype=torch.float32)
    return boxes, [index % 4 for index in range(60)]


def test_sixty_objects_of_four_classes_have_four_colours():
    boxes, classes = crowd()
    image = draw_objects(grey(1200, 640), boxes, classes, [""] * 60)
    assert colors_of(image) - {GREY} - {(73, 73, 73)} >= {class_color(index) for index in range(4)}
    bright = {color for color in colors_of(image) if max(color) - min(color) > 40}
    assert bright == {class_color(index) for index in range(4)}


def test_each_box_is_where_it_belongs():
    image = draw_objects(grey(200, 100), torch.tensor([[20.0, 30.0, 120.0, 80.0]]), [5], [""])
    line = pixels(image, class_color(5))
    expected = torch.zeros(100, 200, dtype=torch.bool)
    expected[30:81, 20:121] = True
    expected[32:79, 22:119] = False
    assert torch.equal(line, expected)


def test_the_best_is_on_top():
    boxes = torch.tensor([[20.0, 20.0, 80.0, 80.0], [20.0, 20.0, 80.0, 80.0]])
    image = draw_objects(grey(100, 100), boxes, [0, 1], ["", ""])
    assert pixels(image, class_color(0)).any()
    assert not pixels(image, class_color(1)).any()
    # And its label, where there is room for none.
    label = draw_objects(grey(30, 14), boxes[:, :] * 0 + torch.tensor([0.0, 0.0, 29.0, 13.0]), [0, 1], ["aaaa", "bbbb"])
    assert pixels(label, class_color(0)).sum() > pixels(label, class_color(1)).sum()


def test_labels_are_whole_at_every_edge():
    """The text takes as many pixels at an edge as in the middle."""

    def letters(box):
        image = draw_objects(grey(400, 300), torch.tensor([box]), [5], ["potted plant 71%"])
        return int(pixels(image, ink(class_color(5))).sum())

    middle = letters((150.0, 100.0, 250.0, 200.0))
    assert middle > 50
    for x, y in ((-50, -50), (350, -50), (350, 250), (-50, 250), (300, 100), (150, 0), (0, 0)):
        assert letters((float(x), float(y), x + 100.0, y + 100.0)) == middle


def test_a_label_that_finds_no_room_beside_its_box_has_a_line_to_it():
    """Thirty objects in one place: not all labels find room around it."""
    boxes = torch.tensor([[400.0, 330.0, 460.0, 370.0]]).expand(30, 4)
    image = draw_objects(grey(900, 700), boxes, [3] * 30, ["dog"] * 30)
    rows = pixels(image, GREY).logical_not().any(1).nonzero().flatten()
    assert rows[0] < 330 - 3 * 17
    assert rows[-1] > 370 + 3 * 17
    assert (rows[1:] - rows[:-1] == 1).all(), "no label is alone"


def test_a_label_that_is_wider_than_the_image():
    image = draw_objects(grey(60, 60), torch.tensor([[5.0, 20.0, 50.0, 50.0]]), [5], ["a very long label indeed 71%"])
    assert pixels(image, class_color(5))[:20].any()


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (40, 30)])
def test_any_size(size):
    boxes = torch.tensor(
        [[0.0, 0.0, size[0], size[1]], [-1e9, -5.0, 1e9, 5.0], [2.0, 2.0, 2.0, 2.0], [9e9, 9e9, 9e9, 9e9]]
    )
    masks = torch.ones(4, size[1], size[0], dtype=torch.bool)
    points = torch.tensor([[[0.0, 0.0], [1e9, -1e9], [float("nan"), 1.0]]]).expand(4, -1, -1)
    names = ["left_a", "right_b", "c"]
    image = draw_objects(
        grey(*size),
        boxes,
        [0, 1, 2, 3],
        ["a", "猫", "", "x" * 500],
        masks=masks,
        keypoints=points,
        keypoint_names=names,
        skeleton=[(0, 1), (1, 2)],
    )
    assert image.size == size
    assert image.mode == "RGB"


def test_nothing_is_drawn_of_nothing():
    image = grey(30, 20)
    drawn = draw_objects(image, torch.zeros(0, 4), [], [])
    assert drawn.tobytes() == image.tobytes()
    assert drawn is not image
    draw_objects(image, torch.tensor([[2.0, 2.0, 9.0, 9.0]]), [0], ["x"])
    assert image.tobytes() == grey(30, 20).tobytes(), "the input is left alone"


def test_lines_and_letters_grow_with_the_image_and_shrink_with_the_objects():
    def thickness(size, box):
        image = draw_objects(grey(*size), torch.tensor([box]), [0], [""])
        x1, y1, _, y2 = map(int, box)
        return int(pixels(image, class_color(0))[(y1 + y2) // 2, x1 : x1 + 40].sum())

    small = thickness((400, 300), (100.0, 100.0, 300.0, 200.0))
    large = thickness((4000, 3000), (1000.0, 1000.0, 3000.0, 2000.0))
    tiny = thickness((4000, 3000), (1000.0, 1000.0, 1050.0, 1040.0))
    assert small < tiny < large


# Masks ---------------------------------------------------------------------------------------------------------------


def squares():
    masks = torch.zeros(3, 200, 300, dtype=torch.bool)
    masks[0, 50:150, 20:120] = True
    masks[1, 60:140, 100:200] = True
    masks[2, 50:150, 220:290] = True
    boxes = torch.tensor([[20, 50, 119, 149], [100, 60, 199, 139], [220, 50, 289, 149]], dtype=torch.float32)
    return boxes, masks


def blend(color):
    return torch.tensor([128 + (level - 128) * 115 / 255 for level in color])


def test_masks_have_shades_of_their_class_and_do_not_mix():
    boxes, masks = squares()
    image = pil_to_tensor(draw_objects(grey(300, 200), boxes, [0, 0, 7], [""] * 3, masks=masks)).float()
    for (x, y), color in {
        (50, 100): class_color(0, 0),
        (110, 100): class_color(0, 0),  # both masks, and the first is the best
        (160, 100): class_color(0, 1),
        (250, 100): class_color(7, 0),
    }.items():
        assert (image[:, y, x] - blend(color)).abs().max() <= 1.5
    assert (image[:, 20, 160] == 128).all()


def test_shades_do_not_depend_on_the_scores():
    """From frame to frame, the order by score changes."""
    boxes, masks = squares()
    first = draw_objects(grey(300, 200), boxes[1:], [0, 0], ["", ""], masks=masks[1:])
    second = draw_objects(grey(300, 200), boxes[1:].flip(0), [0, 0], ["", ""], masks=masks[1:].flip(0))
    assert first.tobytes() == second.tobytes()


def test_masks_have_an_outline():
    boxes, masks = squares()
    line = pixels(draw_objects(grey(300, 200), boxes[2:] * 0, [7], [""], masks=masks[2:]), class_color(7))
    assert line[50, 240:280].all()
    assert line[100, 220]
    assert line[100, 289]
    assert not line[100, 240:270].any()


# Skeletons -----------------------------------------------------------------------------------------------------------


def test_a_skeleton_shows_its_sides_and_hides_what_is_unlikely():
    names = ["nose", "left_hand", "right_hand", "left_foot"]
    points = torch.tensor([[[150.0, 50.0], [250.0, 100.0], [50.0, 100.0], [250.0, 180.0]]])
    visible = torch.tensor([[True, True, True, False]])
    image = draw_objects(
        grey(300, 200),
        torch.tensor([[10.0, 10.0, 290.0, 190.0]]),
        [0],
        [""],
        keypoints=points,
        visible=visible,
        keypoint_names=names,
        skeleton=[(0, 1), (0, 2), (1, 3)],
    )
    assert image.getpixel((200, 75)) != GREY, "a limb"
    assert image.getpixel((250, 140)) == GREY, "none to a hidden joint"
    for x, y in ((150, 50), (250, 100), (50, 100)):
        assert image.getpixel((x, y)) == (255, 255, 255), "a joint"
    assert image.getpixel((250, 180)) == GREY
    left, right = (image.getpixel((x, 100)) for x in (253, 47))
    assert left[0] > left[2]
    assert right[2] > right[0]
    assert image.getpixel((120, 150)) == GREY


# Classes of pixels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_classes_are_painted(dtype):
    classes = torch.zeros(80, 100, dtype=dtype)
    classes[:, 50:] = 200
    classes[40:, :50] = 3
    image = paint_classes(grey(100, 80), classes, {200: (255, 0, 0), 3: (0, 0, 255)}, 0.25)
    assert image.getpixel((20, 20)) == GREY
    assert all(abs(a - b) <= 1 for a, b in zip(image.getpixel((80, 20)), (160, 96, 96), strict=True))
    assert all(abs(a - b) <= 1 for a, b in zip(image.getpixel((20, 60)), (96, 96, 160), strict=True))
    assert min(image.getpixel((50, 20))) > 128, "a light line between them"
    plain = paint_classes(grey(100, 80), classes, {200: (255, 0, 0)}, 0.25, edges=False)
    assert plain.getpixel((50, 20)) == image.getpixel((80, 20))
    assert paint_classes(grey(100, 80), classes, {}).tobytes() == grey(100, 80).tobytes()


def test_wrong_classes():
    with pytest.raises(ValueError, match=r"shape \[80, 100\], got \[100, 80\]"):
        paint_classes(grey(100, 80), torch.zeros(100, 80, dtype=torch.uint8), {1: (1, 2, 3)})
    with pytest.raises(ValueError, match="254 classes"):
        paint_classes(grey(1, 1), torch.zeros(1, 1, dtype=torch.int32), dict.fromkeys(range(255), (1, 2, 3)))


# Labels on an image --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), (170, 176, 186)])
def test_labels_on_an_image_are_readable_on_any_ground(ground):
    image = overlay_labels(Image.new("RGB", (320, 240), ground), [("cat", 0.7), "dog"], colors=["red", "lime"])
    assert image.size == (320, 240)
    assert image.getpixel((310, 10)) == ground
    panel = pil_to_tensor(image)[:, 200:, :20].float().mean(0)
    assert (panel < 110).float().mean() > 0.3
    assert pixels(image, (255, 0, 0)).any()
    assert pixels(image, (0, 255, 0)).any()
    assert pixels(image, (240, 242, 245)).any(), "the ink of the first line"


def test_labels_that_find_no_room():
    image = overlay_labels(grey(40, 24), ["a very long label"] * 9)
    assert image.size == (40, 24)
    assert overlay_labels(grey(40, 24), []).tobytes() == grey(40, 24).tobytes()


# Motion --------------------------------------------------------------------------------------------------------------


def test_the_key_has_the_colours_of_the_flow():
    """Where the wheel lies in the direction of a vector of full length, it has that vector's colour."""
    for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        flow = 7.3 * torch.tensor([float(x), float(y)])[:, None, None].expand(2, 300, 400).contiguous()
        sheet = draw_flow(grey(400, 300), flow)
        assert sheet.getpixel((420, 20)) == tuple(flow_to_image(flow)[:, 0, 0].tolist())
        # The wheel has a fifth of the height and lies over a line of text of 13 pixels; its middle is 36 pixels from
        # the right and 50 from below.
        near = sheet.getpixel((803 - 36 + 27 * x, 300 - 50 + 27 * y))
        expected = flow_to_image(flow)[:, 0, 0].tolist()
        assert all(abs(a - b) < 40 for a, b in zip(near, expected, strict=True))


def test_no_motion_and_what_is_no_flow():
    sheet = draw_flow(grey(400, 300), torch.zeros(2, 300, 400))
    assert sheet.getpixel((420, 20)) == (255, 255, 255)
    with pytest.raises(ValueError, match=r"shape \[2, 300, 400\]"):
        draw_flow(grey(400, 300), torch.zeros(2, 400, 300))
    with pytest.raises(ValueError, match="finite"):
        draw_flow(grey(400, 300), torch.full((2, 300, 400), torch.nan))


def test_enlarged():
    assert enlarged(grey(321, 100)).size == (321, 100)
    assert enlarged(grey(160, 100)).size == (320, 200)
    assert enlarged(grey(28, 28)).size == (308, 308)
    icon = to_pil_image(torch.tensor([[[0, 255]]], dtype=torch.uint8).expand(3, 1, 2))
    assert set(enlarged(icon).getcolors()) == {(160 * 160, (0, 0, 0)), (160 * 160, (255, 255, 255))}


# Contact sheets ------------------------------------------------------------------------------------------------------


def test_a_contact_sheet_shows_all_images():
    colors = [(200, 10, 10), (10, 200, 10), (10, 10, 200), (200, 200, 10), (10, 200, 200), (200, 10, 200)]
    sizes = [(300, 200), (100, 400), (3000, 2000), (5000, 100), (1, 1), (640, 480)]
    images = [("a.png", Image.new("RGB", size, color)) for size, color in zip(sizes, colors, strict=True)]
    sheet = contact_sheet([Section("Objects", "a model", images[:3]), Section("Others", "猫", images[3:])], width=900)
    assert sheet.width == 900
    tops = []
    for (width, height), color in zip(sizes, colors, strict=True):
        where = pixels(sheet, color).nonzero()
        rows, columns = where.amax(0) - where.amin(0) + 1
        assert len(where) == rows * columns, "a whole rectangle"
        assert abs(columns / rows - width / height) <= 0.03 * width / height + 1 / rows
        assert where[:, 1].min() >= 24
        assert where[:, 1].max() < 900 - 24
        tops.append(int(where[:, 0].min()))
    assert tops == sorted(tops)


def test_a_page_has_everything_in_itself():
    noise = to_pil_image(torch.randint(0, 256, (3, 1200, 900), dtype=torch.uint8))
    page = contact_page("<Zoo>", [Section("Objects & more", "a model", [("<b>.png", grey(30, 20)), ("noise", noise)])])
    assert "<h1>&lt;Zoo&gt;</h1>" in page
    assert "<h2>Objects &amp; more</h2>" in page
    assert "&lt;b&gt;.png" in page
    found = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', page)
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for _, data in found]
    assert [(kind, image.format, image.size) for (kind, _), image in zip(found, images, strict=True)] == [
        ("png", "PNG", (30, 20)),
        ("jpeg", "JPEG", (675, 900)),
    ]
    assert not re.search(r'(src|href)="(?!data:)', page)
