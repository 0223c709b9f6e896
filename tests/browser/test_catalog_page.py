"""The catalogue page in a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from zoo_core import catalog, catalog_page

WIDTHS = (360, 768, 1280)


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "models.html"
    catalog_page.write(path)
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The page as it opens, offline. Whatever the console has to complain of fails the test."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    opened.on("console", listen)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(file.as_uri())
    yield opened
    context.close()
    assert not complaints


def names(page: Page) -> list[str]:
    return page.locator("tbody .open").all_inner_texts()


def test_every_task_has_its_models(page: Page) -> None:
    models = catalog.models().values()
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        task = tab.get_attribute("data-task")
        assert set(names(page)) == {model.name for model in models if model.task == task}
        assert page.locator("#plot circle.point").count() > 0


def test_rows_are_sorted_by_a_click_on_their_heads(page: Page) -> None:
    head = page.get_by_role("columnheader", name="params (M)")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    place = head.evaluate("head => head.cellIndex")
    cells = page.locator(f"tbody tr td:nth-child({place + 1})").all_inner_texts()
    values = [float(cell.replace(",", "")) for cell in cells]
    assert values == sorted(values)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert names(page)[0] == "regnet_y_128gf"
    # What has no latency of its own comes last, in both orders.
    head = page.get_by_role("columnheader", name="ms (CPU)")
    for _ in range(2):
        head.get_by_role("button").click()
        place = head.evaluate("head => head.cellIndex")
        assert page.locator(f"tbody tr:last-child td:nth-child({place + 1})").inner_text() == ""


def test_words_filter_rows_and_points(page: Page) -> None:
    page.get_by_label("Filter").fill("resnet50 v2")
    assert set(names(page)) == {"resnet50", "wide_resnet50_2"}
    assert page.locator("#plot circle.point").count() == 2
    of_task = sum(len(model.checkpoints) for model in catalog.models().values() if model.task == "classification")
    expect(page.locator("#count")).to_have_text(f"2 of {of_task} weights")
    page.get_by_label("Filter").fill("no such model")
    expect(page.locator("tbody")).to_contain_text("No model of this task")
    page.get_by_label("Filter").fill("")
    page.get_by_label("default weights only").check()
    assert len(names(page)) == sum(model.task == "classification" for model in catalog.models().values())


def test_points_and_rows_find_each_other(page: Page) -> None:
    point = page.locator("#plot circle.point[data-key='vit_b_32.IMAGENET1K_V1']")
    row = page.locator("tr[data-key='vit_b_32.IMAGENET1K_V1']")
    point.hover()
    expect(row).to_have_class("found")
    inside = """row => {
        const [row_box, table] = [row.getBoundingClientRect(), row.closest(".table").getBoundingClientRect()];
        return row_box.top >= table.top && row_box.bottom <= table.bottom + 1;
    }"""
    assert row.evaluate(inside)
    assert page.evaluate("window.scrollY") == 0  # the plot stays under the pointer
    page.locator("h1").hover()
    expect(row).not_to_have_class("found")
    row.scroll_into_view_if_needed()
    row.hover()
    assert "found" in (point.get_attribute("class") or "")


def test_the_line_joins_what_nothing_beats(page: Page) -> None:
    """Computed here from the page's own points, in another way."""
    points = page.evaluate(
        """() => JSON.parse(document.getElementById("content").textContent).rows
             .filter(row => row.task === "classification" && row.gflops && row.metrics["ImageNet-1K acc@1"] != null)
             .map(row => [row.gflops, row.metrics["ImageNet-1K acc@1"]])"""
    )
    best = [p for p in points if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)]
    line = page.locator("#plot [aria-label='line'] path").get_attribute("d")
    assert line is not None
    # A step goes across, then up.
    assert line.count("V") + line.count("H") + line.count("L") >= len({tuple(p) for p in best}) - 1
    page.get_by_label("Across").select_option(label="milliseconds of one input, processor")
    expect(page.locator("#machine")).to_contain_text("Xeon")


def test_a_click_shows_the_weights_and_copies_a_command(page: Page) -> None:
    page.get_by_label("Filter").fill("vit_b_16 swag_e2e")
    page.locator("tbody .open").click()
    dialog = page.get_by_role("dialog")
    for text in ("85.304", "86,859,496", "CC BY-NC 4.0", "IG-3.6B", "crop_size=384"):
        expect(dialog).to_contain_text(text)
    dialog.get_by_role("button", name="Copy").first.click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == ("pip install zoo-classification\nzoo predict vit_b_16 photo.jpg --weights IMAGENET1K_SWAG_E2E_V1")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_commands_in_python_run(page: Page) -> None:
    page.get_by_role("tab", name="Int8").click()
    page.get_by_label("Filter").fill("quantized_shufflenet_v2_x0_5 fashion")
    page.locator("tbody .open").click()
    code = page.get_by_role("dialog").locator("pre").last.inner_text()
    found: dict[str, object] = {}
    exec(code, found)
    assert type(found["model"]).__name__ == "QuantizableShuffleNetV2"


def test_everything_is_done_with_the_keyboard(page: Page) -> None:
    page.get_by_role("tab", name="Image classification", exact=True).focus()
    page.keyboard.press("ArrowRight")
    tab = page.get_by_role("tab", selected=True)
    expect(tab).to_be_focused()
    assert tab.get_attribute("data-task") != "classification"
    page.keyboard.press("ArrowLeft")
    point = page.locator("#plot circle.point").first
    point.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("tbody .open").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut(page: Page, width: int, scheme: Literal["light", "dark"], tmp_path: Path) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for box in (page.locator("#plot svg").first.bounding_box(), page.locator("table").bounding_box()):
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width + 1
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    levels = [sum(int(part) for part in text[4:-1].split(",")) for text in (ink, paper)]
    assert (levels[0] < levels[1]) == (scheme == "light")
    page.screenshot(path=Path(os.environ.get("ZOO_SCREENSHOTS", tmp_path)) / f"catalog-{width}-{scheme}.png")
