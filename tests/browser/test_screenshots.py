"""The pictures of README.md and docs/dashboard.md (`make screenshots` retakes them): it ..."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

from tests.browser.conftest import MakeTab, Site
from tests.browser.tab import PHONE, RETAKES
from tests.conftest import eventually
from tests.web import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

IMAGES = ROOT / "docs" / "images"
DESKTOP = {"width": 1280, "height": 800}
PICTURES = {
    "dashboard-overview": ("/ui", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-job": ("/ui/jobs/{failed_permanent}", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-phone": ("/ui", {"color_scheme": "dark", "viewport": PHONE}),
}
# What a page calls things; what it says of them, and of which, is different at each time.
CALLED = "h1, h2, h3, thead th, dt, label, nav a, main button, main summary:not(#more-notices summary)"
# Where the picture itself keeps what the page called things when it was taken.
KEY = "Called"


@pytest.mark.parametrize("name", PICTURES)
def test_shows_the_page_as_it_is_now(filled: Site, make_tab: MakeTab, name: str) -> None:
    path, look = PICTURES[name]
    tab, file = make_tab(**look), IMAGES / f"{name}.png"
    tab.enter(filled.url, filled.cookies)
    tab.page.goto(f"{filled.url}{path.format(**filled.jobs)}")

    picture = taken(tab.page)
    # The docs' picture becomes this one if it is missing or retaken.
    if RETAKES or not file.exists():
        file.write_bytes(picture)

    assert len(picture) > 20_000
    assert file.stat().st_size <= 150_000
    with Image.open(file) as image:
        image.load()
    assert image.size == Image.open(io.BytesIO(picture)).size
    # If it shows another page: `make screenshots`.
    eventually(lambda: called(tab.page) == image.info[KEY] or tab.page.reload())


def called(page: Page) -> str:
    """Return what the page calls things, once each, with 0 for every number."""
    texts = page.locator(CALLED).all_inner_texts()
    names = {re.sub(r"[\d.,:]*\d", "0", " ".join(text.split())) for text in texts}
    # The counts of the menu come and go.
    names = {re.sub(r" 0\+? (running|failed in the last hour|late|alive)$", "", name) for name in names}
    return "\n".join(sorted(names - {""}))


def taken(page: Page) -> bytes:
    told, out = PngInfo(), io.BytesIO()
    told.add_itxt(KEY, called(page))
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as image:
        image.save(out, "PNG", optimize=True, pnginfo=told)
    return out.getvalue()
