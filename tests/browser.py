"""A Chromium that looks at pages: it keeps pictures of them, and what was wrong with each."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="pages need a browser")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe looks at pages")
CHROMIUM = shutil.which("chromium")
SECONDS = 180
GRAVE = ("serious", "critical")


class Looker:
    """A page, and what was seen on it.

    Args:
        page: Of Playwright.
        pictures: Folder that pictures are kept in.
    """

    def __init__(self, page, pictures):
        self.page, self._pictures, self.problems = page, pictures, []
        page.set_default_timeout(1000 * SECONDS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"{self.page.url}: {message.text}")

    def look(self, name):
        """Keep a picture of the page in two sizes and colours, and ask axe what is wrong."""
        for width, scheme in ((1280, "light"), (390, "dark")):
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.wait_for_timeout(200)
            self.page.screenshot(path=self._pictures / f"{name}-{width}.png")
            wide = self.page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                self.problems.append(f"{name}: is {wide} px wide in a window of {width}")
            found = axe.Axe().run(self.page).response["violations"]
            self.problems += [
                f"{name}-{width}: {each['help']}: {each['nodes'][0]['html'][:200]}"
                for each in found
                if each["impact"] in GRAVE
            ]
        self.page.set_viewport_size({"width": 1280, "height": 900})


@contextmanager
def looking(name):
    """A page of a new browser; at the end nothing may have been wrong with what it showed."""
    if CHROMIUM is None:
        pytest.skip("pages need Chromium")
    pictures = Path(os.environ.get("OWDFA_PICTURES", "runs/pictures")) / name
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        looker = Looker(browser.new_page(), pictures)
        yield looker
        browser.close()
    assert looker.problems == []
