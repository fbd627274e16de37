"""Images made to cost much are refused by their lengths; what is merely odd is read; nothing is tried again in vain."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haulier.kinds.included.image_parts import refusal
from tests.kinds.hostile_images import (
    COSTLY,
    chunk,
    exif,
    gif_with,
    jpeg_with,
    noise,
    picture,
    png_of,
    png_with,
    segment,
)
from tests.kinds.kinds_tools import error_of, run


@pytest.fixture
def resize(tmp_path: Path) -> Callable[..., Any]:
    """Give a function that resizes a file of this content."""
    (tmp_path / "out").mkdir()

    def run_it(content: bytes, **payload: Any) -> Any:
        (tmp_path / "out" / "source").write_bytes(content)
        return run("resize_image", {"source": "file:source", **payload}, storage_url=f"file://{tmp_path}/out")

    return run_it


def test_a_costly_image_is_final_before_anything_is_decoded(resize):
    offenders = []
    for name, (make, says) in COSTLY.items():
        error = error_of(resize, make(), width=10)
        if not re.match(f"Fail: .*{says}", error):
            offenders.append((name, error))

    assert offenders == []


def test_what_programs_write_is_read(resize):
    contents = {
        "wide": png_of(16_383, 3),
        "high": png_of(3, 16_383),
        "long XMP": jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000) * 60),
        "long profile": jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 60_000) * 255),
        "comments": jpeg_with(segment(0xFE, b"a comment") * 100, b"\xff" * 50),
        "texts": png_with(chunk(b"tEXt", b"Comment\0a comment") * 500),
        "gif comments": gif_with((b"!\xfe" + (b"\xff" + b"x" * 255) * 1_000 + b"\0") * 3),
        "gif XMP": gif_with(b"!\xff\x0bXMP DataXMP" + (b"\x20" + b"x" * 32) * 10_000 + b"\0"),
    }

    errors = {name: error_of(resize, each, width=5, height=5, fit="stretch") for name, each in contents.items()}

    assert set(errors.values()) == {""}, errors


def test_every_beginning_of_a_file_can_be_judged():
    for name, whole in {
        "JPEG": jpeg_with(segment(0xE1, exif()) * 3),
        "GIF": gif_with(b"!\xfe\x02ab\0" * 3),
        **{name: noise(20, name) for name in ("PNG", "WEBP", "BMP")},
    }.items():
        assert {refusal(whole[:size]) for size in range(min(len(whole), 2_000))} == {None}, name


def test_odd_notes_of_a_camera_do_not_cost_the_image(resize):
    for entries in (
        [(0x011A, 2, 4, b"abc\0"), (0x0128, 2, 2, b"a\0\0\0")],
        [(0x0112, 2, 4, b"abc\0")],
        [(0x0112, 5, 9, b"\xff\xff\xff\x7f")],
        [(0x8769, 5, 1, b"\x08\0\0\0"), (0x8825, 11, 1, b"abcd")],
        [(0x8769, 4, 1, b"\x08\0\0\0")],
        [(tag, 2, 2**31, b"\xff\xff\xff\xff") for tag in range(0x100, 0x200)],
    ):
        notes = exif((0x0112, 3, 1, b"\6\0\0\0"), *entries)

        for content in (jpeg_with(segment(0xE1, notes)), png_with(chunk(b"eXIf", notes[6:]))):
            result = resize(content)
            assert (result["width"], result["height"]) in ((10, 20), (20, 10)), entries


def test_warnings_about_an_image_are_one_line(resize, caplog):
    caplog.set_level(logging.INFO)

    resize(png_with(chunk(b"acTL", b"\0" * 8) * 1_500), width=5)

    [record] = caplog.records
    assert record.getMessage().startswith("1500 warnings about the image, the first: Invalid APNG")


def test_memory_that_is_not_there_is_distinguished_from_a_broken_image(resize, monkeypatch):
    monkeypatch.setattr("haulier.kinds.included.resize_image._scale", lambda *_, **__: bytearray(2**62))

    with pytest.raises(MemoryError):
        resize(picture("PNG"))
