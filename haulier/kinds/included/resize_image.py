"""resize_image: fetches one image from a URL, the storage, or the payload; scales it; stores it under the job's id.

Only the plain formats are opened (never EPS, which starts Ghostscript), and never more pixels than the limit: the
size is read from the header before a byte is decoded, and the parts before the pixels are judged by their lengths.
Jobs run in a child process: whatever a hostile file does to the libraries, the worker continues.
"""

from __future__ import annotations

import base64
import io
import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from marshmallow import fields, validate

from haulier.config import Config
from haulier.domain.job import Json
from haulier.kinds.included import image_parts
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.included.outbound.files import read_inside
from haulier.kinds.included.outbound.http_client import download, exchange, expect_success
from haulier.kinds.included.outbound.storage import check_storage, storage_root, store, without_secrets
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail
from haulier.kinds.sdk.payload import Pattern, PayloadSchema, Whole, http_url
from haulier.kinds.sdk.registry import kind
from haulier.kinds.sdk.turns import turn

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS = 60.0
MAX_SOURCE = 30 * 1024 * 1024
# Enough for a photo of a telephone of 2026 (50 megapixels); decoded, such a photo takes 200 MB.
MAX_PIXELS = 51_000_000
# Jobs with more pixels than this take turns; otherwise all child processes could need their whole limit at once.
BIG_PIXELS = 6_000_000
MAX_SIDE = 7_000
# A progressive JPEG has about ten scans. A scan of a few bytes still walks the whole picture: 75 can cost 0.04 s.
MAX_SCANS = 100
# WebP's limit, here for every image that is read or written. Other formats allow more, but no screen shows it, and a
# row or column of millions of pixels costs the libraries a hundred times what its file suggests.
LONGEST_SIDE = 16_383
ORIENTATION = 0x0112
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
FORMATS = ("jpeg", "png", "webp")
SOURCE = (
    r"^([Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f-\xa0\\/?#]+([/?#][^\x00-\x20\x7f-\xa0\\]*)?"
    r"|file:[^\x00-\x1f\x7f?#]+|data:[^\x00-\x20\x7f-\xa0,]*,[^\x00-\x20\x7f-\xa0]+)$"
)

# The start of a scan. Its length follows from its number of components; compressed data never looks like this.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

log = logging.getLogger(__name__)
# At DEBUG Pillow logs a line for each part of a PNG.
logging.getLogger("PIL").setLevel(logging.INFO)


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
    width = Whole(1, MAX_SIDE, "Pixels. Absent: follows from height, or stays unchanged.", example=640)
    height = Whole(1, MAX_SIDE, "Pixels. Absent: follows from width, or stays unchanged.", example=480)
    fit = fields.String(
        load_default="contain",
        validate=validate.OneOf(("contain", "cover", "stretch")),
        metadata={
            "description": "With both width and height: contain fits the whole image inside, cover fills the area"
            " and crops the rest, stretch ignores the proportions."
        },
    )
    format = fields.String(
        validate=validate.OneOf(FORMATS),
        metadata={"description": "Absent: the format of the source, or png if the source has another format."},
    )
    quality = Whole(1, 100, "Only for jpeg and webp.", load_default=85)
    target = http_url("A presigned URL to PUT the image to, instead of storing it in STORAGE_URL.")


def check_settings(config: Config) -> str | None:
    """Return a warning if STORAGE_URL is not set: it is needed unless a job has a target. Raises: ConfigError."""
    if not config.storage_url:
        return "STORAGE_URL not set: every resize_image job without a target will fail"
    check_storage(config.storage_url)
    return None


# Everything from which an fsspec package reads its keys.
READS = ("storage_url", "AWS_*", "AZURE_*", "FSSPEC_*", "GCSFS_*", "GOOGLE_*")


@kind("resize_image", schema=ResizeImage, timeout=180, check=check_settings, isolated=True, reads=READS)
def resize_image(context: JobContext, payload: dict[str, Json]) -> Json:
    """Fetch, scale and store the image; a source that is not an image or is too big fails the job permanently."""
    if not payload.get("target") and not context.settings.storage_url:
        raise Fail("resize_image needs a target, or STORAGE_URL, which is not set")
    source = _fetch(context, payload["source"])
    context.raise_if_cancelled()
    with _counted_warnings():
        name, size, content = _resized(context, source, payload)
    context.raise_if_cancelled()

    location = _keep(context, payload.get("target"), name, content)
    return {"location": location, "width": size[0], "height": size[1], "format": name, "bytes": len(content)}


def _resized(context: JobContext, source: bytes, payload: dict[str, Json]) -> tuple[str, tuple[int, int], bytes]:
    """Return the new image: its format, its size, its bytes. Raises: Fail, JobCancelled."""
    sides = (payload.get("width"), payload.get("height"))
    with _opened(source) as image, _unreadable():
        name = payload.get("format") or _format_of(image)
        turned = _is_turned(image)
        size = _final_size(image.size[::-1] if turned else image.size, sides, payload["fit"])
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, for less memory; twice the final size is enough.
        image.draft(None, (2 * size[turned], 2 * size[not turned]))
        with _turn(context, image, size):
            context.raise_if_cancelled()
            scaled = _scale(image, size, cut=payload["fit"] == "cover" and None not in sides)
            context.raise_if_cancelled()
            return name, scaled.size, _encode(scaled, name, payload["quality"])


def _fetch(context: JobContext, source: str) -> bytes:
    scheme = source.partition(":")[0].lower()
    if scheme == "data":
        return _from_data_url(source)
    if scheme == "file":
        root = storage_root(context.settings.storage_url or "")
        if root is None:
            raise Fail("source: a file: URL needs STORAGE_URL to be a file: URL, too")
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
def _counted_warnings() -> Iterator[None]:
    """Log all of Pillow's warnings in one line: a small file can make it warn thousands of times."""
    texts: list[str] = []

    def count(message: Warning | str, *_: object, **__: object) -> None:
        texts.append(str(message)[:200] if not texts else "")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = count
        try:
            yield
        finally:
            if texts:
                log.warning("%d warnings about the image, the first: %s", len(texts), texts[0])


@contextmanager
def _opened(source: bytes) -> Iterator[Image]:
    """Yield the image, its size checked and its pixels not yet decoded. Raises: Fail."""
    from PIL import Image

    if (refused := image_parts.refusal(source)) is not None:
        raise Fail(f"source: {refused}")
    if (canvas := image_parts.webp_canvas(source)) is not None:
        _check_size(canvas)
    with _unreadable():
        image = Image.open(io.BytesIO(source), formats=READABLE)
    with image:
        _check_size(image.size)
        if image.format in ("JPEG", "MPO") and len(_SCAN.findall(source)) > MAX_SCANS:
            raise Fail(f"source: a JPEG of more than {MAX_SCANS} scans")
        yield image


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise Fail(f"source: {width} x {height} pixels; the limit is {MAX_PIXELS} pixels")
    if max(width, height) > LONGEST_SIDE:
        raise Fail(f"source: {width} x {height} pixels; the limit is {LONGEST_SIDE} pixels a side")


@contextmanager
def _turn(context: JobContext, image: Image, size: tuple[int, int]) -> Iterator[None]:
    # The result counts as well as the source: a job can scale one pixel up to 49 million.
    if max(image.width * image.height, size[0] * size[1]) <= BIG_PIXELS:
        yield
        return
    with turn(context):
        yield


@contextmanager
def _unreadable() -> Iterator[None]:
    """Turn whatever Pillow raises for a broken or hostile file into Fail: another attempt would not mend the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    # MemoryError: the child process decides whether the job or earlier jobs used up the memory.
    except (Fail, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Fail(f"source: the limit is {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise Fail(f"source: not an image of a known format ({', '.join(READABLE)})") from None
    # Any Exception: no list of types is complete, since a broken file has even raised TypeError.
    except Exception as error:
        raise Fail(f"source: the image is broken: {str(error)[:200] or type(error).__name__}") from error


def _scale(image: Image, size: tuple[int, int], *, cut: bool) -> Image:
    """Return the image upright, in a mode that can be scaled and written, in its final size, without its metadata."""
    from PIL import Image as pillow
    from PIL import ImageOps

    image.load()
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P", "L", "LA") else None
    plain = _plain(_upright(image))
    if cut:
        plain = ImageOps.fit(plain, size, pillow.Resampling.LANCZOS)
    elif plain.size != size:
        plain = plain.resize(size, pillow.Resampling.LANCZOS)
    # Drop the metadata, which says where and with which camera a picture was taken; keep the colour profile.
    plain.info = {"icc_profile": profile} if profile else {}
    return plain


def _is_turned(image: Image) -> bool:
    return image.getexif().get(ORIENTATION) in (5, 6, 7, 8)


def _upright(image: Image) -> Image:
    """Return the image upright; if that is a new image, the given one is closed."""
    from PIL.Image import Transpose

    # Not Pillow's exif_transpose: it rewrites the camera's other notes, and fails if one of them is odd.
    method = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(image.getexif().get(ORIENTATION, 1))
    if method is None:
        return image
    turned = image.transpose(method)
    # The two together may take 400 MB.
    image.close()
    return turned


def _final_size(source: tuple[int, int], sides: tuple[int | None, int | None], fit: str) -> tuple[int, int]:
    (from_width, from_height), (width, height) = source, sides
    if width is None and height is None:
        width, height = source
    elif width is None or height is None or fit == "contain":
        scale = min(width / from_width if width else math.inf, height / from_height if height else math.inf)
        width, height = max(1, round(from_width * scale)), max(1, round(from_height * scale))
    if width * height > MAX_PIXELS or max(width, height) > LONGEST_SIDE:
        raise Fail(f"the image would have {width} x {height} pixels: give width and height")
    return width, height


def _plain(image: Image) -> Image:
    """Return the image as grey or RGB, with or without alpha."""
    if image.mode in ("PA", "RGBa", "La") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
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
        ground = pillow.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    written = io.BytesIO()
    # To optimise a JPEG's code tables, the library keeps the whole picture two more times.
    is_small = image.width * image.height <= BIG_PIXELS
    options = {"png": {}, "jpeg": {"quality": quality, "optimize": is_small}, "webp": {"quality": quality}}[name]
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
