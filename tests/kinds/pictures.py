"""Images of plain colours to resize, and looking at what became of them."""

from __future__ import annotations

import base64
import io
from typing import Any
from urllib.parse import unquote, urlsplit

from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(width: int, height: int, mode: str = "RGB", name: str = "PNG", **options: Any) -> bytes:
    """Give a file: its left half red, its right half blue, but for other modes of one colour."""
    image = Image.new(mode, (width, height), RED if mode == "RGB" else None)
    if mode == "RGB":
        image.paste(BLUE, (width // 2, 0, width, height))
    return saved(image, name, **options)


def saved(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, name, **options)
    return written.getvalue()


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def opened(location: str) -> Image.Image:
    image = Image.open(unquote(urlsplit(location).path))
    image.load()
    return image


def near(one: Any, other: Any) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(one, other, strict=True))
