"""The embedding map in a browser, under the policy of the page: what is seen, chosen and picked."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the map needs a browser")
BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="the map needs Chromium")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PAGE = """<!doctype html><html lang="en"><title>map</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="map.css"><link rel="stylesheet" href="page.css">
<div id="map"></div><script type="module" src="page.js"></script>"""
STYLE = """:root { --sheet: #fff; --ink: #000; --soft: #555; --rule: #ccc; --veil: #fffc; }
#map { height: 500px; }"""
SCRIPT = """import { createMap } from "./map.js";
// Two groups of 100 points, left and right; one point is no number.
const points = Float32Array.from({ length: 400 }, (_, k) => {
  const i = k >> 1;
  return k & 1 ? Math.floor((i % 100) / 10) : (i < 100 ? 0 : 20) + (i % 10);
});
points[0] = NaN;
const categories = Int16Array.from({ length: 200 }, (_, i) => (i < 100 ? 0 : 1));
window.picked = [];
window.chosen = [];
window.map = createMap(document.getElementById("map"), {
  points, categories, names: ["<b>left", "right"], label: (index) => `image ${index}`,
  onSelect: (indices) => (window.chosen = [...indices]),
  onPick: (index) => window.picked.push(index),
});
"""


class Handler(SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for path in (files("owdfa") / "serve" / "static").iterdir():
        if path.name.startswith("map"):
            (folder / path.name).write_bytes(path.read_bytes())
    for name, text in (("index.html", PAGE), ("page.css", STYLE), ("page.js", SCRIPT)):
        (folder / name).write_text(text)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser, address):
    """The page, with a map on it; what the console said must be nothing."""
    said = []
    opened = browser.new_page(viewport={"width": 1000, "height": 700})
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(address)
    opened.wait_for_function("window.map && map.radius")
    yield opened
    opened.close()
    assert said == []


def lasso(page, corners, key=None):
    """Drag along corners, as shares of the map's width and height."""
    box = page.locator(".map-surface").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    if key:
        page.keyboard.down(key)
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
    if key:
        page.keyboard.up(key)


LEFT = ((0.01, 0.01), (0.5, 0.01), (0.5, 0.99), (0.01, 0.99))
ALL = ((0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99))


def test_a_lasso_selects_what_is_inside_and_a_point_that_is_no_number_never_is(page):
    page.get_by_role("button", name="Lasso").click()
    lasso(page, LEFT)
    assert page.evaluate("chosen") == list(range(1, 100))
    assert page.locator(".map-count").inner_text() == "99 of 200 selected"
    lasso(page, ALL, "Alt")
    assert page.evaluate("chosen") == []


def test_outside_lasso_mode_shift_adds_and_a_drag_moves_the_map(page):
    page.evaluate("map.select([150])")
    lasso(page, LEFT, "Shift")
    assert page.evaluate("chosen") == [*range(1, 100), 150]
    before = page.evaluate("map.view.offsetX")
    lasso(page, ((0.5, 0.5), (0.6, 0.5)))
    assert page.evaluate("map.view.offsetX") > before
    assert len(page.evaluate("chosen")) == 100


def test_keys_alone_move_open_select_and_clear(page):
    page.locator(".map-surface").focus()
    for key in ("0", "ArrowLeft", "+", "Enter", "Space", "g"):
        page.keyboard.press(key)
    (picked,) = page.evaluate("picked")
    group = range(1, 100) if picked < 100 else range(100, 200)
    assert [each for each in page.evaluate("chosen") if each] == list(group)
    assert f"image {picked}" in page.locator(".map-told").inner_text()
    page.keyboard.press("0")
    page.keyboard.press("v")
    assert page.evaluate("chosen") == list(range(1, 200))
    page.keyboard.press("Escape")
    assert page.evaluate("chosen") == []


def test_a_click_picks_the_nearest_point_and_the_tip_names_it(page):
    x, y = page.evaluate("map.view.place(20, 0)")
    box = page.locator(".map-surface").bounding_box()
    page.mouse.move(box["x"] + x + 2, box["y"] + y)
    assert page.locator(".map-tip").inner_text() == "image 100"
    page.mouse.click(box["x"] + x + 2, box["y"] + y)
    assert page.evaluate("picked") == [100]


def colour_at(page, x, y):
    """The pixel of the lower canvas where a point of the data is."""
    script = """async ([x, y]) => {
      for (let k = 0; k < 2; k++) await new Promise((drawn) => requestAnimationFrame(drawn));
      const at = map.view.place(x, y).map(Math.floor);
      return [...map.parts.canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
    }"""
    return page.evaluate(script, [x, y])


def test_groups_have_their_colours_and_what_is_not_chosen_is_dimmed(page):
    assert colour_at(page, 5, 5) == [0x31, 0x76, 0xBB]  # --map-1 of map.css
    page.evaluate("map.recolour(map.categories, map.names, ['rgb(10 20 30)', 'blue'])")
    assert colour_at(page, 5, 5) == [10, 20, 30]
    page.get_by_role("button", name="right").click()
    assert min(colour_at(page, 5, 5)) > 180
    assert colour_at(page, 25, 5) == [0, 0, 255]
    assert "<b>left" in page.locator(".map-legend").inner_text()
