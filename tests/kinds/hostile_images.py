"""Image files made to cost much: small, and of a form that no program would write."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

from PIL import Image

from tests.kinds.pictures import saved

PNG = b"\x89PNG\r\n\x1a\n"


def picture(name: str, width: int = 20, height: int = 10, mode: str = "RGB", **options: Any) -> bytes:
    """Give a plain file of this format."""
    return saved(Image.new(mode, (width, height), (200, 100, 50, 255)[: len(mode)]), name, **options)


def noise(side: int, name: str = "PNG") -> bytes:
    """Give a square of noise, always the same."""
    pixels = random.Random(side).randbytes(side * side * 3)
    return saved(Image.frombytes("RGB", (side, side), pixels), name)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width: int, height: int) -> bytes:
    """Give a black grey-scale PNG of this size, packed as closely as can be, without making the picture."""
    packer = zlib.compressobj(9)
    row = b"\0" * (width + 1)
    rows = max(1, 1_000_000 // len(row))
    packed = [packer.compress(row * min(rows, height - at)) for at in range(0, height, rows)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return PNG + header + chunk(b"IDAT", b"".join(packed) + packer.flush()) + chunk(b"IEND", b"")


def png_with(*chunks: bytes) -> bytes:
    """Give a PNG with further chunks before its pixels."""
    plain = picture("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*parts: bytes) -> bytes:
    """Give a JPEG with further segments at its beginning."""
    plain = picture("JPEG")
    return plain[:2] + b"".join(parts) + plain[2:]


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Give a camera's notes with these entries as they stand: tag, type, count, value."""
    packed = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + packed + b"\0\0\0\0"


def gif_with(*blocks: bytes) -> bytes:
    """Give a GIF with these extensions before its picture."""
    plain = picture("GIF")
    at = 13 + (3 << ((plain[10] & 7) + 1))
    return plain[:at] + b"".join(blocks) + plain[at:]


def webp_with(name: bytes, content: bytes, times: int = 1) -> bytes:
    body = picture("WEBP", exif=exif((0x0112, 3, 1, b"\1\0\0\0"))[6:])[12:]
    body += (name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)) * times
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_canvas(width: int, height: int) -> bytes:
    """Give a WebP that claims this size."""
    content = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + content + picture("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def png_that_claims(side: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return PNG + header + chunk(b"IDAT", zlib.compress(b"\0" * 10_000)) + chunk(b"IEND", b"")


def gif_beyond_its_screen() -> bytes:
    screen = struct.pack("<6sHHBBB", b"GIF89a", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02L\x01\x00;"


# Each with what its refusal says.
COSTLY = {
    "a few too many pixels": (lambda: png_that_claims(7_200), "limit is 51000000 pixels"),
    "pixels beyond all": (lambda: png_that_claims(2**31 - 1), "limit is 51000000 pixels"),
    "gif beyond its screen": (gif_beyond_its_screen, "limit is 51000000 pixels"),
    "one column of twelve million pixels": (lambda: png_of(1, 11_990_000), "16383 pixels a side"),
    "a side one too long": (lambda: png_of(16_384, 2), "16383 pixels a side"),
    "jpeg of many Exif segments": (
        lambda: jpeg_with(segment(0xE1, b"Exif\0\0II*\0" + b"x" * 20) * 300_000),
        "more than 16 Exif notes",
    ),
    "jpeg of many comments": (lambda: jpeg_with(segment(0xFE, b"x") * 2_000_000), "more than 2000 comments"),
    "jpeg of long comments": (lambda: jpeg_with(segment(0xFE, b"x" * 65_000) * 400), "bytes of comments"),
    "jpeg of markers": (lambda: jpeg_with(b"\xff\x01" * 5_000_000), "more than 2000 comments"),
    "jpeg of fill bytes": (lambda: jpeg_with(b"\xff" * 20_000_000), "data outside segments"),
    "jpeg of junk": (lambda: jpeg_with(b"\xff\x01" + b"x" * 20_000_000), "data outside segments"),
    "jpeg of escaped bytes": (lambda: jpeg_with(b"\xff\0" * 5_000_000), "data outside segments"),
    "gif of comments": (
        lambda: gif_with((b"!\xfe" + b"\x01x" * 20 + b"\0") * 600_000),
        "more than 20000 metadata blocks",
    ),
    "gif of nothing": (lambda: gif_with(b"\0" * 20_000_000), "data outside segments"),
    "png of many notes": (lambda: png_with(chunk(b"tEXt", b"a\0b") * 500_000), "more than 2000 comments"),
    "png of pieces of pixels": (lambda: png_with(chunk(b"IDAT", b"") * 1_000_000), "more than 50000 pieces"),
    "png of a long Exif note": (lambda: png_with(chunk(b"eXIf", b"II*\0" + b"x" * 2_000_000)), "bytes of Exif"),
    "webp of a long Exif note": (lambda: webp_with(b"EXIF", b"x" * 2_000_000), "bytes of Exif"),
    "webp of many chunks": (lambda: webp_with(b"XMP ", b"x", 500_000), "more than 2000 comments"),
    "webp of an absurd canvas": (lambda: webp_canvas(16_000, 16_000), "the limit is 51000000 pixels"),
}
