"""The pictures of the docs, compared with a page by what it calls things; `make screenshots` retakes them."""

from __future__ import annotations

import io
import re

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

from tests.browser.tab import RETAKES
from tests.conftest import eventually
from tests.web import ROOT

IMAGES = ROOT / "docs" / "images"
# What a page calls things; what it says of them, and of which, is different at each time.
CALLED = "h1, h2, h3, thead th, dt, label, nav a, main button, main summary:not(#more-notices summary)"
# Where the picture itself keeps what the page called things when it was taken.
KEY = "Called"


def check_picture(page: Page, name: str, *, also: str = "", most_bytes: int = 200_000) -> None:
    """Compare the page with its picture, by what both call things; `also` selects what else is compared.

    The docs' picture becomes the page's if it is missing or retaken.
    """
    file, names = IMAGES / f"{name}.png", ", ".join(filter(None, (CALLED, also)))
    picture = _taken(page, names)
    if RETAKES or not file.exists():
        file.write_bytes(picture)

    assert len(picture) > 20_000
    assert file.stat().st_size <= most_bytes
    with Image.open(file) as image:
        image.load()
    assert image.size == Image.open(io.BytesIO(picture)).size
    # If it shows another page: `make screenshots`.
    eventually(lambda: _called(page, names) == image.info[KEY] or page.reload())


def _called(page: Page, names: str) -> str:
    """Return what the page calls things, once each, with 0 for every number."""
    texts = page.locator(names).all_inner_texts()
    called = {re.sub(r"[\d.,:]*\d", "0", " ".join(text.split())) for text in texts}
    # The counts of the menu come and go.
    called = {re.sub(r" 0\+? (running|failed in the last hour|late|alive)$", "", name) for name in called}
    return "\n".join(sorted(called - {""}))


def _taken(page: Page, names: str) -> bytes:
    told, out = PngInfo(), io.BytesIO()
    told.add_itxt(KEY, _called(page, names))
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as image:
        image.save(out, "PNG", optimize=True, pnginfo=told)
    return out.getvalue()
