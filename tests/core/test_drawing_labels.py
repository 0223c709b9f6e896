"""Labels below an image: the image stays as it is, and the text is readable whatever the size, mode and text."""

import math
from typing import Any

import pytest
import torch
from PIL import Image

from support.reference import noise
from zoo_core.drawing import draw_labels
from zoo_core.drawing import labels as panel
from zoo_core.images import pil_to_tensor, to_pil_image

SCORES = [("Ankle boot", 0.75), ("Sneaker", 0.25), ("Bag", 0.0)]


def test_tiny_pictures_are_enlarged_pixel_by_pixel() -> None:
    tiny = noise(0, 1, 28, 28)
    output = pil_to_tensor(draw_labels(tiny, SCORES))
    factor = 11  # 28 * 11 = 308, nearest to 320
    left = (320 - 28 * factor) // 2
    assert output.shape[2] == 320
    enlarged = tiny.repeat_interleave(factor, 1).repeat_interleave(factor, 2).expand(3, -1, -1)
    assert torch.equal(output[:, : 28 * factor, left : left + 28 * factor], enlarged)


def test_the_picture_stays_unobstructed() -> None:
    picture = noise(0, 3, 400, 500)
    output = pil_to_tensor(draw_labels(to_pil_image(picture), SCORES))
    assert torch.equal(output[:, :400, :500], picture)
    assert output.shape[1] > 400 + 3 * 14


def test_bars_are_as_long_as_the_scores() -> None:
    output = pil_to_tensor(draw_labels(torch.zeros(3, 400, 500), SCORES)).permute(1, 2, 0)
    bar = (output == torch.tensor(panel._BAR)).all(dim=-1)
    ground = (output == torch.tensor(panel._BAR_GROUND)).all(dim=-1)
    rows = [row for row in range(400, output.shape[0]) if (bar[row] | ground[row]).sum() > 300]
    lengths = {round((bar[row].sum() / (bar[row] | ground[row]).sum()).item(), 2) for row in rows}
    assert lengths == {0.75, 0.25, 0.0}


def test_the_text_grows_with_the_picture() -> None:
    heights = [draw_labels(Image.new("RGB", (size, size)), SCORES).height - size for size in (320, 640, 1280, 2560)]
    assert heights == sorted(heights)
    assert heights[3] > 3 * heights[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (28, 28), (319, 200), (1, 320)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16"])
def test_every_size_and_mode_gets_readable_text(size: tuple[int, int], mode: str) -> None:
    output = draw_labels(Image.new(mode, size), [*SCORES, "text alone"])
    assert output.mode == "RGB"
    assert output.width >= 320
    panel = pil_to_tensor(output)[:, -4 * 26 :]
    assert (panel > 180).all(0).sum() > 30


def test_long_labels_are_cut_before_the_score() -> None:
    long = draw_labels(Image.new("RGB", (320, 320)), [("a very long label indeed " * 20, 0.5)])
    assert long.width == 320
    panel = pil_to_tensor(long)[0, 320:].float()
    columns = (panel > 200).any(dim=0)
    gap = columns[200:].logical_not().long()
    assert gap.sum() >= 14  # between the label and the number


@pytest.mark.parametrize(
    "line",
    ["", "two\nlines", ("nan", math.nan), ("beyond", 1.7), ("below", -0.2), ("猫 Käfer", 0.5), ("x" * 10_000, 1.0)],
)
def test_strange_lines(line: Any) -> None:
    output = draw_labels(Image.new("RGB", (320, 240)), [line])
    assert output.width == 320
    assert 240 + 14 < output.height < 300


def test_a_legend_marks_lines_with_colours() -> None:
    colors = [(200, 10, 20), "blue", "#00ff7f"]
    output = pil_to_tensor(draw_labels(torch.zeros(3, 400, 500), SCORES, colors=colors)).permute(1, 2, 0)
    rows, columns = [], []
    for color in ((200, 10, 20), (0, 0, 255), (0, 255, 127)):
        mark = (output == torch.tensor(color)).all(dim=-1).nonzero()
        assert len(mark) > 50
        rows.append(mark[:, 0].float().mean().item())
        columns.append(mark[:, 1].max().item())
    assert rows == sorted(rows)
    text = (output[400:] == torch.tensor(panel._INK)).all(dim=-1).nonzero()[:, 1]
    assert text.min() > max(columns)
    cut = draw_labels(Image.new("RGB", (320, 320)), [("x" * 200, 0.5)], colors="red")
    assert cut.width == 320
    with pytest.raises(ValueError, match="3 objects, got 2"):
        draw_labels(torch.zeros(3, 400, 500), SCORES, colors=["red", "blue"])


def test_no_lines_and_wrong_pictures() -> None:
    picture = Image.new("RGB", (400, 300), "red")
    output = draw_labels(picture, [])
    assert (output.size, output is picture) == ((400, 300), False)
    with pytest.raises(ValueError, match="empty"):
        draw_labels(Image.new("RGB", (0, 5)), SCORES)
    with pytest.raises(ValueError, match="shape"):
        draw_labels(noise(0, 2, 3, 8, 8), SCORES)
    with pytest.raises(TypeError, match="got str"):
        draw_labels("picture.png", SCORES)  # type: ignore[arg-type]
