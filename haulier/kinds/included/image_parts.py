"""Counts and measures the parts of an image file before its pixels, only by their lengths, before a library reads it.

Libraries keep every comment, and join the parts of a camera's notes again for each further part: hostile files can cost
minutes or gigabytes. Files of programs and cameras need a hundredth of these limits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_PARTS = 2_000
# The limits of Exif notes (a JPEG's segment holds 64 KB of one), and of all other notes together.
MAX_EXIF_PARTS = 16
MAX_EXIF = 1024 * 1024
MAX_NOTES = 16 * 1024 * 1024
# A PNG's pixels come in pieces, which the usual library makes 8 KB long.
MAX_PIXEL_PARTS = 50_000
# A GIF's notes come in blocks of at most 255 bytes.
MAX_BLOCKS = 20_000
# Bytes between segments, which belong to none.
MAX_JUNK = 64 * 1024

# One part: its sort and its length. Units: bytes.
Part = tuple[str, int]
NOTE, EXIF, PIXELS = "comments and other metadata", "Exif notes", "pieces of pixel data"
BLOCK, JUNK = "metadata blocks", "data outside segments"
_LIMITS = {
    EXIF: (MAX_EXIF_PARTS, MAX_EXIF),
    PIXELS: (MAX_PIXEL_PARTS, None),
    BLOCK: (MAX_BLOCKS, MAX_NOTES),
    JUNK: (None, MAX_JUNK),
}


def refusal(source: bytes) -> str | None:
    """Return which parts the file has too many of, or None if it may be opened. The limits bound the work."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for what, size in _parts(source):
        counts[what] = counts.get(what, 0) + 1
        sizes[what] = sizes.get(what, 0) + size
        most, longest = _LIMITS.get(what, (MAX_PARTS, MAX_NOTES))
        if most is not None and counts[what] > most:
            return f"more than {most} {what}"
        if longest is not None and sizes[what] > longest:
            return f"more than {longest} bytes of {what}"
    return None


def _parts(source: bytes) -> Iterator[Part]:
    if source.startswith(b"\xff\xd8\xff"):
        return _of_jpeg(source)
    if source.startswith(b"\x89PNG\r\n\x1a\n"):
        return _of_png(source)
    if source.startswith((b"GIF87a", b"GIF89a")):
        return _of_gif(source)
    if source[:4] == b"RIFF" and source[8:12] == b"WEBP":
        return _of_webp(source)
    return iter(())


def _of_jpeg(source: bytes) -> Iterator[Part]:
    at = 2
    # Up to the first scan: only the decoder reads what comes after it.
    while (start := source.find(b"\xff", at)) >= 0 and start + 4 <= len(source):
        if start > at:
            yield JUNK, start - at
        marker = source[start + 1]
        if marker in (0x00, 0xFF):
            yield JUNK, 1
            at = start + 1 + (marker == 0)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:
            yield NOTE, 2
            at = start + 2
        elif marker == 0xDA:
            return
        else:
            length = max(2, int.from_bytes(source[start + 2 : start + 4], "big"))
            is_exif = marker == 0xE1 and source[start + 4 : start + 8] == b"Exif"
            yield EXIF if is_exif else NOTE, length
            at = start + 2 + length


def _of_png(source: bytes) -> Iterator[Part]:
    at = 8
    while at + 8 <= len(source):
        length, name = struct.unpack_from(">I4s", source, at)
        yield {b"IDAT": PIXELS, b"fdAT": PIXELS, b"fcTL": PIXELS, b"eXIf": EXIF}.get(name, NOTE), length
        if name == b"IEND":
            return
        at += 12 + length


def _of_gif(source: bytes) -> Iterator[Part]:
    colours = 3 << ((source[10] & 7) + 1) if len(source) > 10 and source[10] & 128 else 0
    at = 13 + colours
    # Up to the first picture, the only one that is read.
    while at < len(source) and source[at] not in b",;":
        if source[at] != 0x21:
            yield JUNK, 1
            at += 1
            continue
        at += 2
        while at < len(source) and (length := source[at]):
            yield BLOCK, length
            at += 1 + length
        at += 1


def _of_webp(source: bytes) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(source):
        name, length = struct.unpack_from("<4sI", source, at)
        yield EXIF if name == b"EXIF" else NOTE if name in (b"XMP ", b"ICCP") else PIXELS, length
        at += 8 + length + (length & 1)


def webp_canvas(source: bytes) -> tuple[int, int] | None:
    """Return the size that an extended WebP file claims: its decoder takes the memory before Pillow shows the size."""
    if source[:4] != b"RIFF" or source[8:16] != b"WEBPVP8X" or len(source) < 30:
        return None
    return int.from_bytes(source[24:27], "little") + 1, int.from_bytes(source[27:30], "little") + 1
