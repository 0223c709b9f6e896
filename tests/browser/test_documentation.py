"""The documentation in a real browser, as `nox -s docs` has made it in build/docs: what fits, and what search finds."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

SITE = Path(__file__).resolve().parents[2] / "build" / "docs"
WIDTHS = (360, 768, 1280)

# What somebody may look for, and the page that tells it, as its address ends.
QUERIES = {
    "fine-tune resnet": "jobs/zoo-core-fine-tune.html",
    "export onnx": "jobs/zoo-core-export.html",
    "nms": "api/zoo_detection/zoo_detection.ops.html",
    "own checkpoint": "jobs/zoo-core-own-checkpoint.html",
    "csv": "jobs/zoo-core-classify-folder.html",
    "offline": "jobs/zoo-core-offline.html",
    "mask": "jobs/zoo-core-segment.html",
    "timm": "jobs/zoo-core-from-timm.html",
    "quantize": "jobs/zoo-core-quantize.html",
    "slurm": "jobs/zoo-core-clusters.html",
    "video": "jobs/zoo-core-detect-video.html",
    "similar images": "jobs/zoo-core-search.html",
}
SHOWN = 6
"""How many results are on the first screen."""

# What reaches beyond the right edge and cannot be scrolled to in a box of its own. Drawers that are moved out of the
# window on purpose have a fixed place.
CUT_OFF = """() => {
    const edge = document.documentElement.clientWidth + 1;
    const scrolls = (element) => {
        for (let parent = element.parentElement; parent && parent !== document.body; parent = parent.parentElement) {
            const style = getComputedStyle(parent);
            if (["auto", "scroll"].includes(style.overflowX)) return true;
            if (["fixed", "sticky"].includes(style.position)) return true;
        }
        return ["fixed", "sticky"].includes(getComputedStyle(element).position);
    };
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        const box = element.getBoundingClientRect();
        if (box.width && box.height && box.right > edge && !scrolls(element))
            found.push(`${element.tagName} ${element.className} to ${box.right}: ${element.textContent.slice(0, 60)}`);
    }
    const width = document.documentElement.scrollWidth;
    if (width > edge) found.push(`the page is ${width} wide`);
    return found;
}"""


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    assert (SITE / "index.html").is_file(), "nox -s docs makes the pages, and nox -s browser calls it"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A tab that gets nothing but these pages."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def decide(route: Route) -> None:
        if route.request.url.startswith(address):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    elsewhere: list[str] = []
    context.route("**", decide)
    yield context.new_page()
    context.close()
    assert not elsewhere, "pages are whole without a network"


@pytest.mark.parametrize("query", QUERIES)
def test_search_finds_the_page_that_tells_it(page: Page, address: str, query: str) -> None:
    page.goto(f"{address}search.html?q={query.replace(' ', '+')}")
    # It says how many it found when it is done.
    page.locator("#search-results .search-summary").get_by_text("found").wait_for()
    found = page.locator("ul.search > li > a").evaluate_all("links => links.map(link => link.href.split(/[?#]/)[0])")
    pages = list(dict.fromkeys(link.removeprefix(address) for link in found))
    assert QUERIES[query] in pages[:SHOWN], pages[:SHOWN]


def html_pages() -> list[str]:
    return sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if path.name != "models.html")


def test_nothing_is_cut_off(page: Page, address: str) -> None:
    faults = []
    for name in html_pages():
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        page.goto(address + name, wait_until="load")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            faults += [f"{name} at {width}: {fault}" for fault in page.evaluate(CUT_OFF)[:3]]
    page.set_viewport_size({"width": 1280, "height": 900})
    assert not faults, "\n".join(faults)


def test_pictures_load_and_the_landing_page_leads_to_all_jobs(page: Page, address: str) -> None:
    for name in html_pages():
        if not name.startswith(("jobs/", "index")):
            continue
        page.goto(address + name)
        broken = page.locator("img").evaluate_all(
            "images => images.filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
        )
        assert not broken, name
    page.goto(address)
    links = page.locator("article a").evaluate_all("links => links.map(link => link.href.split('#')[0])")
    jobs = {address + name for name in html_pages() if name.startswith("jobs/")}
    assert jobs <= set(links)
    assert address + "models.html" in links
