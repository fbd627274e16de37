"""resize_image, with real image files: sizes, formats and what a file holds besides its pixels."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageCms

from haulier.kinds import Fail, JobCancelled, StopReason
from haulier.kinds.sdk import turns
from tests.kinds.kinds_tools import Receiver, a_context, perform, run, stopped_soon
from tests.kinds.pictures import BLUE, GREEN, RED, WHITE, data_url, near, opened, picture


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 40, "height": 40}, (40, 20)),
        ({"width": 40, "height": 40, "fit": "contain"}, (40, 20)),
        ({"width": 40, "height": 40, "fit": "cover"}, (40, 40)),
        ({"width": 40, "height": 40, "fit": "stretch"}, (40, 40)),
        ({"width": 400, "height": 400}, (400, 200)),
        ({"width": 50}, (50, 25)),
        ({"width": 50.0}, (50, 25)),
        ({"height": 50}, (100, 50)),
        ({"height": 50, "fit": "cover"}, (100, 50)),
        ({"width": 1, "height": 1}, (1, 1)),
        ({}, (200, 100)),
        ({"width": None, "height": None, "fit": None, "format": None, "quality": None, "target": None}, (200, 100)),
    ],
)
def test_size_follows_from_the_sides_and_the_fit(resize: Callable[..., Any], asked: dict[str, Any], size: Any) -> None:
    result = resize(picture(200, 100), **asked)

    with opened(result["location"]) as image:
        assert image.size == (result["width"], result["height"]) == size


def test_cover_cuts_off_and_stretch_does_not(resize: Callable[..., Any]) -> None:
    image = Image.new("RGB", (300, 100), GREEN)
    image.paste(RED, (100, 0, 200, 100))
    written = io.BytesIO()
    image.save(written, "PNG")

    covered = resize(written.getvalue(), width=50, height=50, fit="cover")
    stretched = resize(written.getvalue(), width=50, height=50, fit="stretch")

    with opened(covered["location"]) as cut, opened(stretched["location"]) as whole:
        assert near(cut.getpixel((1, 25)), RED)
        assert near(whole.getpixel((1, 25)), GREEN)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_result_is_in_the_format_asked_for(resize: Callable[..., Any], name: str) -> None:
    result = resize(picture(20, 10), width=10, format=name)

    with opened(result["location"]) as image:
        assert image.format == name.upper()
        assert near(image.getpixel((1, 1))[:3], RED)
        assert near(image.getpixel((8, 1))[:3], BLUE)
    assert result["format"] == name
    assert result["bytes"] == Path(urlsplit(result["location"]).path).stat().st_size


@pytest.mark.parametrize(
    ("source", "expected"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "png"), ("BMP", "png")]
)
def test_format_is_by_default_the_sources(resize: Callable[..., Any], source: str, expected: str) -> None:
    assert resize(picture(20, 10, name=source), width=10)["format"] == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_the_camera_is_honoured(resize: Callable[..., Any], orientation: int) -> None:
    upright = Image.new("RGB", (400, 200), RED)
    upright.paste(BLUE, (200, 0, 400, 200))
    upright.paste(GREEN, (0, 100, 200, 200))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = io.BytesIO()
    stored.save(written, "JPEG", exif=exif, quality=95)

    result = resize(written.getvalue(), width=100)

    with opened(result["location"]) as image:
        assert image.size == (100, 50)
        assert near(image.getpixel((20, 10)), RED)
        assert near(image.getpixel((80, 25)), BLUE)
        assert near(image.getpixel((20, 40)), GREEN)
        assert 0x0112 not in image.getexif()


def test_place_and_camera_do_not_stay_in_the_file(resize: Callable[..., Any]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Canonikon"
    source = picture(20, 10, name="JPEG", exif=exif, comment=b"at home")

    for name in ("jpeg", "png", "webp"):
        content = Path(urlsplit(resize(source, format=name)["location"]).path).read_bytes()
        assert b"Canonikon" not in content
        assert b"at home" not in content


def test_colour_profile_stays_in_the_file(resize: Callable[..., Any]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = picture(20, 10, name="JPEG", icc_profile=profile)

    for name in ("jpeg", "png", "webp"):
        with opened(resize(source, width=10, format=name)["location"]) as image:
            assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_every_kind_of_pixel_can_be_read_and_written(resize: Callable[..., Any], mode: str, name: str) -> None:
    source = picture(20, 10, mode, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")

    assert resize(source, width=10, format=name)["width"] == 10


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off(resize: Callable[..., Any]) -> None:
    image = Image.new("I;16", (20, 10), 0x8000)
    written = io.BytesIO()
    image.save(written, "PNG")

    with opened(resize(written.getvalue(), width=10)["location"]) as result:
        assert 126 <= result.getpixel((5, 2)) <= 129


def test_transparency_becomes_white_in_a_jpeg_and_stays_elsewhere(resize: Callable[..., Any]) -> None:
    clear = picture(20, 10, "RGBA")
    palette = Image.new("P", (20, 10), 0)
    palette.putpalette([255, 0, 0])
    written = io.BytesIO()
    palette.save(written, "GIF", transparency=0)

    for source in (clear, written.getvalue()):
        with opened(resize(source, format="jpeg")["location"]) as image:
            assert near(image.getpixel((5, 5)), WHITE)
        with opened(resize(source, format="png", width=5)["location"]) as image:
            assert image.convert("RGBA").getpixel((2, 1))[3] == 0


def test_quality_matters(resize: Callable[..., Any]) -> None:
    noise = random.Random(1).randbytes(100 * 100 * 3)
    written = io.BytesIO()
    Image.frombytes("RGB", (100, 100), noise).save(written, "PNG")

    sizes = [resize(written.getvalue(), format="jpeg", quality=quality)["bytes"] for quality in (5, 50, 95)]

    assert sizes == sorted(set(sizes))


def test_big_photograph_is_resized(resize: Callable[..., Any], receiver: Receiver) -> None:
    receiver.replies(200, picture(8064, 6048, name="JPEG", quality=30))

    assert resize(receiver.url, width=800)["height"] == 600


def test_image_of_absurd_proportions_is_final(resize: Callable[..., Any]) -> None:
    with pytest.raises(Fail, match="the image would have 7000 x 7000000 pixels"):
        resize(picture(1, 1000), width=7000)


def test_big_images_take_turns_and_a_waiting_one_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(picture(4000, 3001))
    payload, given = {"source": "file:big.png", "width": 9}, {"storage_url": f"file://{tmp_path}"}
    waiting, started = a_context("resize_image", payload, **given), time.monotonic()

    with turns.turn(a_context()):
        over = stopped_soon(waiting, lambda: time.monotonic() - started > 0.5)
        with over, pytest.raises(JobCancelled):
            perform(waiting)
        assert run("resize_image", {"source": data_url(picture(9, 9))}, **given)["width"] == 9

    assert run("resize_image", payload, **given)["width"] == 9


def test_stopped_job_writes_nothing(tmp_path: Path) -> None:
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}/images")
    context.stop(StopReason.SHUTDOWN)

    with pytest.raises(JobCancelled):
        perform(context)

    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "source"),
        ({"source": 5}, "source"),
        ({"source": "cat.png"}, "source"),
        ({"source": "ftp://a.b/cat.png"}, "source"),
        ({"source": "http://a.b/c\n"}, "source"),
        ({"source": "http://a.b/", "width": "5"}, "width"),
        ({"source": "http://a.b/", "width": 2.9}, "width"),
        ({"source": "http://a.b/", "width": True}, "width"),
        ({"source": "http://a.b/", "width": 0}, "width"),
        ({"source": "http://a.b/", "height": 7001}, "height"),
        ({"source": "http://a.b/", "height": 10**400}, "height"),
        ({"source": "http://a.b/", "fit": "crop"}, "fit"),
        ({"source": "http://a.b/", "format": "gif"}, "format"),
        ({"source": "http://a.b/", "quality": 101}, "quality"),
        ({"source": "http://a.b/", "target": "file:///x"}, "target"),
        ({"source": "http://a.b/", "widht": 5}, "widht"),
    ],
)
def test_payload_that_does_not_fit_is_final_and_names_the_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(Fail, match=f"the payload does not fit resize_image: {field}: "):
        run("resize_image", payload)
