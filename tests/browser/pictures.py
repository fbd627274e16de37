"""The pictures of the dashboard: taken if missing or by `make screenshots`, and else compared with the page."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

# What a page calls things; what it says of them, and of which, is different at each time.
CALLED = "h1, h2, h3, thead th, dt, label, nav a, main button, main summary:not(#more-notices summary)"
RETAKES = os.environ.get("SCREENSHOTS") == "retake"
# Where the picture itself keeps what the page called things when it was taken.
KEY = "Called"


def called(page: Page) -> str:
    """Return what the page calls things, once each, with 0 for every number."""
    texts = page.locator(CALLED).all_inner_texts()
    names = {re.sub(r"[\d.,:]*\d", "0", " ".join(text.split())) for text in texts}
    return "\n".join(sorted(names - {""}))


def taken(page: Page) -> bytes:
    """Return a picture of the page."""
    told, out = PngInfo(), io.BytesIO()
    told.add_itxt(KEY, called(page))
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as image:
        image.save(out, "PNG", optimize=True, pnginfo=told)
    return out.getvalue()


def kept(file: Path, picture: bytes) -> Image.Image:
    """Return the picture of the docs, which this one becomes if it is missing or taken anew."""
    if RETAKES or not file.exists():
        file.write_bytes(picture)
    with Image.open(file) as image:
        image.load()
        return image


def names_in(image: Image.Image) -> list[str]:
    """Return what the page called things when this was taken."""
    return str(image.info[KEY]).splitlines()
