"""resize_image: one image from a URL, the storage, or the payload itself; scaled; kept under the job's id.

Only the plain formats are opened (never EPS, which starts Ghostscript), and never more pixels than the limit: the
size is read from the header, before a byte is decoded.
"""

from __future__ import annotations

import base64
import io
import math
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from marshmallow import fields, validate

from app.config import Config
from app.domain.job import Json
from app.kinds.context import JobContext
from app.kinds.deadline import Deadline
from app.kinds.files import read_inside
from app.kinds.outbound import download, exchange, expect_success
from app.kinds.payload import Pattern, PayloadSchema, Whole, http_url
from app.kinds.registry import kind
from app.kinds.signals import Fail
from app.kinds.storage import check_storage, storage_root, store, without_secrets

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS = 60.0
MAX_SOURCE = 30 * 1024 * 1024
# Holds what a telephone of 2026 takes (50 megapixels); decoded, it is 200 MB.
MAX_PIXELS = 51_000_000
BIG_PIXELS = 12_000_000
MAX_SIDE = 7_000
# A progressive JPEG has about ten. Each walks the whole picture however few bytes it is: 75 of them can cost 0.04 s.
MAX_SCANS = 100
# WebP's limit; the other formats write more, but nothing shows it.
MAX_WRITTEN_SIDE = 16_383
ORIENTATION = 0x0112
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
FORMATS = ("jpeg", "png", "webp")
SOURCE = (
    r"^([Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f-\xa0\\/?#]+([/?#][^\x00-\x20\x7f-\xa0\\]*)?"
    r"|file:[^\x00-\x1f\x7f?#]+|data:[^\x00-\x20\x7f-\xa0,]*,[^\x00-\x20\x7f-\xa0]+)$"
)

# The beginning of a scan, whose length follows from how many components it has; compressed data never looks like it.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

# Big images take turns, or eight threads would need 1.6 GB at once.
_big_image = threading.Lock()


class ResizeImage(PayloadSchema):
    """The payload of resize_image."""

    source = fields.String(
        required=True,
        validate=Pattern(SOURCE, "Must be an http(s):, file: or data: URL without spaces."),
        metadata={
            "description": "The image: an http(s) URL, a file: URL inside STORAGE_URL, or a data: URL.",
            "examples": ["https://example.com/cat.jpg"],
        },
    )
    width = Whole(1, MAX_SIDE, "Pixels. Absent: follows from height, or stays.", example=640)
    height = Whole(1, MAX_SIDE, "Pixels. Absent: follows from width, or stays.", example=480)
    fit = fields.String(
        load_default="contain",
        validate=validate.OneOf(("contain", "cover", "stretch")),
        metadata={
            "description": "Given both sides: contain fits the whole image inside them, cover fills them and cuts off "
            "what is beyond, stretch ignores the proportions."
        },
    )
    format = fields.String(
        validate=validate.OneOf(FORMATS),
        metadata={"description": "Absent: the source's, or png where the source is none of these."},
    )
    quality = Whole(1, 100, "Of jpeg and webp; png has none.", load_default=85)
    target = http_url("A presigned URL to PUT the image to, instead of keeping it in STORAGE_URL.")


def check_settings(config: Config) -> str | None:
    """Return a warning where STORAGE_URL is not set: it is needed unless a job has a target. Raises: ConfigError."""
    if not config.storage_url:
        return "STORAGE_URL not set: every resize_image job without a target will fail"
    check_storage(config.storage_url)
    return None


@kind("resize_image", schema=ResizeImage, timeout=180, check=check_settings)
def resize_image(context: JobContext, payload: dict[str, Json]) -> Json:
    """Fetch, scale and keep the image; what is not an image, or too big, is final."""
    if not payload.get("target") and not context.settings.storage_url:
        raise Fail("resize_image needs STORAGE_URL, which is not set, or a target")
    source = _fetch(context, payload["source"])
    sides = (payload.get("width"), payload.get("height"))
    with _opened(source) as image, _turn(context, image, _size(image, sides, payload["fit"])):
        context.raise_if_cancelled()
        name = payload.get("format") or _format_of(image)
        scaled = _scale(image, sides, payload["fit"])
        context.raise_if_cancelled()
        content = _encode(scaled, name, payload["quality"])
    context.raise_if_cancelled()

    location = _keep(context, payload.get("target"), name, content)
    width, height = scaled.size
    return {"location": location, "width": width, "height": height, "format": name, "bytes": len(content)}


def _fetch(context: JobContext, source: str) -> bytes:
    scheme = source.partition(":")[0].lower()
    if scheme == "data":
        return _from_data_url(source)
    if scheme == "file":
        root = storage_root(context.settings.storage_url or "")
        if root is None:
            raise Fail("source: file: needs a STORAGE_URL that is a file: URL, too")
        return read_inside(root, source, MAX_SOURCE)
    with Deadline(context, SECONDS, "fetching the source") as deadline:
        return download(deadline, source, MAX_SOURCE)


def _from_data_url(source: str) -> bytes:
    header, _, content = source.partition(",")
    plain = unquote_to_bytes(content)
    if not header.endswith(";base64"):
        return plain
    try:
        return base64.b64decode(plain, validate=True)
    except ValueError:
        raise Fail("source: the data: URL is not base64") from None


@contextmanager
def _opened(source: bytes) -> Iterator[Image]:
    """Give the image with its size checked and its pixels not yet decoded. Raises: Fail."""
    from PIL import Image

    with _unreadable():
        image = Image.open(io.BytesIO(source), formats=READABLE)
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise Fail(f"source: {image.width} x {image.height} pixels; the limit is {MAX_PIXELS} pixels")
        if image.format in ("JPEG", "MPO") and len(_SCAN.findall(source)) > MAX_SCANS:
            raise Fail(f"source: a JPEG of more than {MAX_SCANS} scans")
        yield image


@contextmanager
def _turn(context: JobContext, image: Image, size: tuple[int, int]) -> Iterator[None]:
    # What comes out counts as well as what goes in: one pixel can be asked to fill 49 million.
    if max(image.width * image.height, size[0] * size[1]) <= BIG_PIXELS:
        yield
        return
    while not _big_image.acquire(timeout=0.1):
        context.raise_if_cancelled()
    try:
        yield
    finally:
        _big_image.release()


@contextmanager
def _unreadable() -> Iterator[None]:
    """Turn what Pillow raises over a broken or hostile file into Fail."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Fail(f"source: the limit is {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise Fail(f"source: not an image of a known format ({', '.join(READABLE)})") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise Fail(f"source: the image is broken: {str(error)[:200]}") from error


def _scale(image: Image, sides: tuple[int | None, int | None], fit: str) -> Image:
    """Return the image upright, in a mode that can be scaled and written, in its final size, without its metadata."""
    from PIL import Image as pillow
    from PIL import ImageOps

    size = _size(image, sides, fit)
    with _unreadable():
        turned = _is_turned(image)
        # A JPEG can be decoded to a half, quarter or eighth of its size: less memory, and twice the size is enough.
        image.draft(None, (2 * size[turned], 2 * size[not turned]))
        image.load()
        profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P", "L", "LA") else None
        plain = _plain(ImageOps.exif_transpose(image))
    if fit == "cover" and None not in sides:
        plain = ImageOps.fit(plain, size, pillow.Resampling.LANCZOS)
    elif plain.size != size:
        plain = plain.resize(size, pillow.Resampling.LANCZOS)
    # Where and with what a picture was taken is nobody's business; its colours are.
    plain.info = {"icc_profile": profile} if profile else {}
    return plain


def _is_turned(image: Image) -> bool:
    return image.getexif().get(ORIENTATION) in (5, 6, 7, 8)


def _size(image: Image, sides: tuple[int | None, int | None], fit: str) -> tuple[int, int]:
    """Return the size that the image will have. Raises: Fail where that is too big, or the image is broken."""
    with _unreadable():
        return _final_size(image.size[::-1] if _is_turned(image) else image.size, sides, fit)


def _final_size(source: tuple[int, int], sides: tuple[int | None, int | None], fit: str) -> tuple[int, int]:
    (from_width, from_height), (width, height) = source, sides
    if width is None and height is None:
        return source
    if width is None or height is None or fit == "contain":
        scale = min(width / from_width if width else math.inf, height / from_height if height else math.inf)
        width, height = max(1, round(from_width * scale)), max(1, round(from_height * scale))
    if width * height > MAX_PIXELS or max(width, height) > MAX_WRITTEN_SIDE:
        raise Fail(f"the image would have {width} x {height} pixels: give width and height")
    return width, height


def _plain(image: Image) -> Image:
    """Return the image as grey or RGB, with or without alpha."""
    if image.mode in ("PA", "RGBa", "La") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode.startswith("I;16"):
        # Pillow's own conversion cuts 16 bits off at 255 instead of scaling them.
        return image.convert("I").point(lambda value: value / 257).convert("L")
    if image.mode in ("RGB", "RGBA", "L", "LA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _format_of(image: Image) -> str:
    # Telephones wrap several JPEGs in one file, MPO, whose first image is the picture.
    name = (image.format or "").lower().replace("mpo", "jpeg")
    return name if name in FORMATS else "png"


def _encode(image: Image, name: str, quality: int) -> bytes:
    from PIL import Image as pillow

    if name == "jpeg" and image.mode in ("RGBA", "LA"):
        ground = pillow.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground.convert("RGB")
    written = io.BytesIO()
    options = {"png": {}, "jpeg": {"quality": quality, "optimize": True}, "webp": {"quality": quality}}[name]
    image.save(written, name, icc_profile=image.info.get("icc_profile"), **options)
    return written.getvalue()


def _keep(context: JobContext, target: str | None, name: str, content: bytes) -> str:
    if target is None:
        file = f"{context.job.id}.{'jpg' if name == 'jpeg' else name}"
        return store(context.settings.storage_url or "", file, content)
    with (
        Deadline(context, SECONDS, "the upload to target") as deadline,
        exchange(deadline, "PUT", target, headers={"content-type": f"image/{name}"}, body=content) as answer,
    ):
        expect_success(answer)
        answer.discard()
    return without_secrets(target)
